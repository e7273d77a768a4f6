"""Compare `fit` with the papers' own training: times and right tools, on the same data, LM and machine, in one run.

    python benchmarks/fit.py --data-dir DATA --model MODEL --out results.json

For each dataset it measures our fit with everything on "auto" (LM pass, choice of λ, prior and bias, and solve, timed
separately) and the share of the test's tools that it puts first. The same share is measured for every λ along the path
(to compare the chosen one with the best in hindsight), for priors without training, for BM25, and for the nearest
description by the frozen LM's own states. Where the dataset holds out demonstrations, the calibrated bias is compared
with the papers' constants. Tools that nobody trained get their toolkens by the map (`toolkens.new_tools`).

The papers' recipes (`evaluation.methods.papers`) run the LM in every step. --recipe-steps of them are timed, and
multiplied up to the 10 epochs that the papers run. Their right tools come from the same training on cached features
(the same toolkens, as a test shows), up to the checkpoint that the papers evaluate, with --seeds seeds: the mean and
the half width of its 95% interval (Student's t).

Results are written to --out one by one; a run that was stopped continues where it was.
"""

from __future__ import annotations

import json
import statistics
import time
import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rank_bm25 import BM25Okapi
from rich.console import Console
from rich.table import Table
from torch import Tensor

from langchain_toolken.cli.progress_bars import progress_bars
from langchain_toolken.disk.writing import writing
from langchain_toolken.evaluation.datasets import (
    ToolDataset,
    ToolQuestion,
    read_dataset,
    read_tool_questions,
    read_tool_specs,
)
from langchain_toolken.evaluation.methods.papers import (
    TOKENLEARNING,
    TOOLKENGPT,
    Recipe,
    train_on_features,
    train_through_lm,
)
from langchain_toolken.evaluation.tool_choice import (
    DueStates,
    due_tools,
    embedding_scores,
    states_where_due,
    toolken_scores,
    top1,
)
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.new_tools import add_tools
from langchain_toolken.toolkens.priors import PriorConfig, name_words, prior_rows
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.calibration import call_figures
from langchain_toolken.training.demonstrations.load import gather_demonstrations
from langchain_toolken.training.evidence.choose import request_text
from langchain_toolken.training.features.compute import Features, compute_features
from langchain_toolken.training.fit import fit
from langchain_toolken.training.fit_warnings import ToolkenFitWarning
from langchain_toolken.training.result import FitResult
from langchain_toolken.training.selection import LAMS
from langchain_toolken.training.solve.solver import solve

# How a question is laid out, so that it ends where the tool is due: the first is ToolkenGPT's, made for LLaMA and with
# other questions and answers before it. A small LM has forgotten the question by "is"; the second asks and stops.
KAMEL_PROMPTS = {"papers' layout": "Question: {question}\nAnswer: The answer is", "bare question": "{question}"}
# Student's t at 97.5%, by degrees of freedom: for the intervals over seeds.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
EPOCHS_RUN = 10  # by both papers, on every dataset
CONSTANT_BIASES = (0.0, 1.0, 2.7, 3.0, 4.0, 10.0)  # what the papers' scripts set by hand


@dataclass(frozen=True)
class Benchmark:
    """One dataset.

    learning_rate, epochs: the recipes', as the papers' READMEs have them, epochs up to the checkpoint that is evaluated
    (SimpleToolQuestions: as KAMEL; a guess).
    tools: how many of its tools, from the first; None for all. questions: a test file with the right tool. held_out: a
    file of demonstrations that nothing was fitted on. unseen: tools that nobody trained, and questions about them.
    """

    folder: str
    learning_rate: float
    epochs: int
    train: str = "train.jsonl"
    tools: int | None = None
    questions: str | None = None
    prompts: dict[str, str] = field(default_factory=lambda: {"": "{question}"})
    held_out: str | None = None
    unseen: tuple[str, str] | None = None


BENCHMARKS = {
    "FuncQA": Benchmark("funcqa", 1e-4, 8, held_out="dev.jsonl"),
    "GSM8K-XL": Benchmark("gsm8k_xl", 1e-3, 4, held_out="dev.jsonl"),
    **{
        f"KAMEL-{n}": Benchmark(
            "kamel",
            1e-3,
            5,
            "train_synthetic.jsonl",
            n,
            f"test_{n}.jsonl",
            KAMEL_PROMPTS,
            held_out="dev_synthetic.jsonl",
        )
        for n in (30, 60, 100, 234)
    },
    "STQuestions": Benchmark(
        "stquestions", 1e-3, 5, questions="test.jsonl", unseen=("tools_unseen.jsonl", "test_unseen.jsonl")
    ),
}


@dataclass
class Result:
    """What one dataset gave.

    Seconds are wall clock. top1: for each layout of the questions the share whose tool came out likeliest, by method.
    by_lam: the same with the chosen prior at each λ. biases: F1 of held-out calls by bias.
    """

    tools: int
    demonstrations: int
    positions: int
    prior: str
    lam: float
    seconds: dict[str, float] = field(default_factory=dict)
    top1: dict[str, dict[str, float]] = field(default_factory=dict)
    margin: dict[str, dict[str, float]] = field(default_factory=dict)
    losses: dict[str, float] = field(default_factory=dict)
    recipe_steps: dict[str, tuple[int, int]] = field(default_factory=dict)
    by_lam: dict[str, dict[str, float]] = field(default_factory=dict)
    biases: dict[str, float] = field(default_factory=dict)
    unseen_top1: dict[str, float] = field(default_factory=dict)


def measure(
    lm: LanguageModel, benchmark: Benchmark, data_dir: Path, recipe_steps: int, seeds: int, progress: Any
) -> Result:
    """All that is measured on one dataset; with no seeds, the times only."""
    folder = data_dir / benchmark.folder
    data = read_dataset(folder, benchmark.train)
    if benchmark.tools is not None:
        data = data.first(benchmark.tools)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToolkenFitWarning)
        fitted = fit(lm, data.tools, data.demonstrations, style="completion", calls_from="answer", progress=progress)
    whole = time.perf_counter() - began
    assert fitted.selection is not None
    assert fitted.features is not None
    assert fitted.toolkens.provenance.lam is not None
    result = Result(
        tools=len(data.tools),
        demonstrations=fitted.demonstrations,
        positions=len(fitted.features),
        prior=fitted.toolkens.provenance.prior,
        lam=fitted.toolkens.provenance.lam,
        seconds={
            "LM pass": fitted.pass_seconds,
            "choice": fitted.selection.seconds,
            "solve": fitted.solve_seconds,
            "all": whole,
        },
    )
    papers = {
        recipe.name: replace(recipe, learning_rate=benchmark.learning_rate, epochs=benchmark.epochs)
        for recipe in (TOOLKENGPT, TOKENLEARNING)
    }
    name_prior = prior_rows(lm, data.tools, PriorConfig())
    for name, recipe in papers.items():
        timed = replace(recipe, epochs=EPOCHS_RUN)
        taken, of, seconds = recipe_time(lm, data, name_prior, timed, recipe_steps)
        result.recipe_steps[name] = (taken, of)
        result.seconds[name] = seconds / taken * of
    if not seeds:
        return result
    held_out, asked = None, ()
    if benchmark.held_out is not None:
        held_out, asked = held_out_features(lm, data, folder / benchmark.held_out)
    path, priors = along_path(fitted, progress), untrained(lm, data.tools)
    trained = {
        name: [
            train_on_features(fitted.features, name_prior, recipe, seed=seed, progress=progress).matrix
            for seed in range(seeds)
        ]
        for name, recipe in papers.items()
    }

    def judge(layout: str, read: DueStates, due: Tensor, others: dict[str, Tensor]) -> None:
        alone = replace(fitted.toolkens, evidence=None)
        scores = {
            "ours": toolken_scores(fitted.toolkens, read),
            "our rows alone": toolken_scores(alone, read),
            **others,
        }
        states = read.last
        scores |= {name: states @ rows.T for name, rows in priors.items()}
        result.top1[layout] = {name: top1(found, due) for name, found in scores.items()}
        result.margin[layout] = {}
        for name, matrices in trained.items():
            shares = [top1(states @ rows.T, due) for rows in matrices]
            result.top1[layout][name] = statistics.mean(shares)
            result.margin[layout][name] = half_interval(shares)
        result.by_lam[layout] = {f"{lam:g}": top1(states @ rows.T, due) for lam, rows in path.items()}

    if benchmark.questions is not None:
        for layout, prompt in benchmark.prompts.items():
            questions = read_tool_questions(folder / benchmark.questions, data.names, prompt)
            rankings = {
                "BM25": bm25_scores(data.tools, questions),
                "nearest description": embedding_scores(lm, data.tools, questions),
            }
            judge(layout, states_where_due(lm, questions, progress), due_tools(questions, data.tools), rankings)
    else:
        assert held_out is not None
        calls = held_out.subset(held_out.target >= 0)
        judge("held-out calls", where_due(calls, asked), calls.target, {})
    if held_out is not None:
        result.biases = bias_f1(fitted, held_out)
        result.losses = {"ours": held_out_loss(held_out, fitted.toolkens.matrix)}
        result.losses |= {
            name: statistics.mean(held_out_loss(held_out, rows) for rows in matrices)
            for name, matrices in trained.items()
        }
    if benchmark.unseen is not None:
        result.unseen_top1 = unseen(lm, fitted.toolkens, folder, benchmark, progress)
    return result


def recipe_time(
    lm: LanguageModel, data: ToolDataset, prior: Tensor, recipe: Recipe, steps: int
) -> tuple[int, int, float]:
    """Steps of the recipe with the LM in each of them: how many were taken, of how many, in how many seconds."""
    loaded = gather_demonstrations(data.demonstrations, list(data.tools), docstrings=False, strict=False)
    names = [spec.name for spec in data.tools]
    took = train_through_lm(lm, loaded.demonstrations, names, "completion", prior, recipe, max_steps=steps)
    return took.steps, took.total_steps, took.seconds


def half_interval(values: list[float]) -> float:
    """Half of the 95% interval of their mean; 0 for a single one, of which nothing is known."""
    if len(values) < 2:
        return 0.0
    return T_975[len(values) - 2] * statistics.stdev(values) / len(values) ** 0.5


def held_out_loss(held_out: Features, matrix: Tensor) -> float:
    """Mean of -log p(tool), or -log p(no call) where a word follows: the objective less what no toolken changes."""
    logits, words = held_out.hidden @ matrix.T, held_out.word_logsumexp
    own = logits.gather(1, held_out.target.clamp(min=0)[:, None])[:, 0]
    each = torch.logaddexp(words, logits.logsumexp(dim=1)) - torch.where(held_out.target >= 0, own, words)
    return float(held_out.weight @ each / held_out.weight.sum())


def untrained(lm: LanguageModel, tools: tuple[ToolSpec, ...]) -> dict[str, Tensor]:
    """Priors as they are, by method."""
    return {
        f"prior alone ({said})": prior_rows(lm, tools, PriorConfig.parse(prior))
        for said, prior in (("name", "head/name/average"), ("hidden both", "hidden/both/average"))
    }


def along_path(fitted: FitResult, progress: Any) -> dict[float, Tensor]:
    """Toolkens of the chosen prior at every λ that `fit` chooses among, each solve from the one before."""
    assert fitted.features is not None
    rows: dict[float, Tensor] = {}
    start = None
    for lam in sorted(LAMS, reverse=True):
        start = rows[lam] = solve(fitted.features, fitted.toolkens.prior, lam, start=start, progress=progress).matrix
    return rows


def bias_f1(fitted: FitResult, held_out: Features) -> dict[str, float]:
    """F1 of held-out calls with the calibrated biases and with constants in their place."""
    toolkens = fitted.toolkens
    logits = held_out.hidden @ toolkens.matrix.T
    found = {"calibrated": call_figures(held_out, logits, toolkens.biases).f1}
    return found | {f"{bias:g}": call_figures(held_out, logits, bias).f1 for bias in CONSTANT_BIASES}


def where_due(calls: Features, asked: tuple[str, ...]) -> DueStates:
    """Features of calls as what a method is asked."""
    assert calls.requests is not None
    texts = tuple(asked[number] for number in calls.demonstration.tolist())
    return DueStates(calls.hidden[:], calls.requests[calls.demonstration], texts)


def held_out_features(lm: LanguageModel, data: ToolDataset, file: Path) -> tuple[Features, tuple[str, ...]]:
    """Positions of demonstrations that nothing was fitted on, of the dataset's tools; and what each asks."""
    rows = read_dataset(file.parent, file.name).first(len(data.tools)).demonstrations
    loaded = gather_demonstrations(rows, list(data.tools), docstrings=False, strict=False)
    features = compute_features(lm, loaded.demonstrations, [spec.name for spec in data.tools], "completion")
    return features, tuple(map(request_text, loaded.demonstrations))


def unseen(
    lm: LanguageModel, fitted: ToolkenSet, folder: Path, benchmark: Benchmark, progress: Any
) -> dict[str, float]:
    """The choice among tools that nobody trained.

    SimpleToolQuestions' list of 1,836 tools holds these too, without a call; they leave the set before they are added.
    """
    assert benchmark.unseen is not None
    tools, names = read_tool_specs(folder / benchmark.unseen[0])
    questions = read_tool_questions(folder / benchmark.unseen[1], names)
    read, due = states_where_due(lm, questions, progress), due_tools(questions, tools)
    base = fitted.remove([spec.name for spec in tools if spec.name in fitted.names])
    added = add_tools(lm, base, tools).select([spec.name for spec in tools])
    found = {"ours + map": top1(toolken_scores(added, read), due)}
    found |= {name: top1(read.last @ rows.T, due) for name, rows in untrained(lm, tuple(tools)).items()}
    found["BM25"] = top1(bm25_scores(tuple(tools), questions), due)
    found["nearest description"] = top1(embedding_scores(lm, tools, questions), due)
    return found


def bm25_scores(tools: tuple[ToolSpec, ...], questions: list[ToolQuestion]) -> Tensor:
    """BM25 (Okapi, rank-bm25's defaults) of names and descriptions against the questions, (N, K)."""
    index = BM25Okapi([_terms(f"{name_words(spec.name)} {spec.description}") for spec in tools])
    return torch.tensor([index.get_scores(_terms(question.text)).tolist() for question in questions])


def _terms(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


def main(
    data_dir: Annotated[Path, typer.Option(help="Folder with the datasets (funcqa, gsm8k_xl, kamel, stquestions).")],
    model: Annotated[str, typer.Option(help="The LM.")] = "nano",
    datasets: Annotated[str, typer.Option(help="Which, by name.")] = ",".join(BENCHMARKS),
    out: Annotated[Path, typer.Option(help="JSON file; datasets that it holds already are not run again.")] = Path(
        "benchmark_fit.json"
    ),
    recipe_steps: Annotated[int, typer.Option(min=1, help="Steps of each recipe to time, the LM in each.")] = 300,
    seeds: Annotated[int, typer.Option(help="Seeds of what is random; 0: measure times only.")] = 5,
) -> None:
    console = Console()
    if not console.is_terminal:  # a file has room for the tables
        console = Console(width=160)
    if not 0 <= seeds <= len(T_975) + 1:
        raise typer.BadParameter(f"--seeds goes from 0 to {len(T_975) + 1}")
    wanted = datasets.split(",")
    unknown = [name for name in wanted if name not in BENCHMARKS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(BENCHMARKS)}")
    results: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    lm = load_language_model(model)
    for name in wanted:
        if name not in results:
            with progress_bars(console) as progress:
                results[name] = asdict(measure(lm, BENCHMARKS[name], data_dir, recipe_steps, seeds, progress))
            with writing(out):
                out.write_text(json.dumps(results, indent=1), encoding="utf-8")
    show(console, {name: results[name] for name in wanted})


RECIPE_NAMES = (TOOLKENGPT.name, TOKENLEARNING.name)


def show(console: Console, results: dict[str, Any]) -> None:
    """The tables."""
    times = Table("dataset", "tools", "positions", "prior", "λ", title="seconds; a recipe's are of all its steps")
    for phase in ("LM pass", "choice", "solve", "all", *RECIPE_NAMES, "× ours"):
        times.add_column(phase)
    for name, r in results.items():
        seconds = [f"{r['seconds'][phase]:.1f}" for phase in ("LM pass", "choice", "solve", "all", *RECIPE_NAMES)]
        ratio = min(r["seconds"][recipe] for recipe in RECIPE_NAMES) / r["seconds"]["all"]
        row = (str(r["tools"]), f"{r['positions']:,}", r["prior"], f"{r['lam']:g}", *seconds, f"{ratio:.1f}")
        times.add_row(name, *row)
    console.print(times)
    chosen = {(name, layout): found for name, r in results.items() for layout, found in r["top1"].items()}
    margins = {(name, layout): found for name, r in results.items() for layout, found in r["margin"].items()}
    chosen |= {(name, "unseen tools"): r["unseen_top1"] for name, r in results.items() if r["unseen_top1"]}
    methods = list(dict.fromkeys(method for found in chosen.values() for method in found))
    firsts = Table("dataset", "questions", *methods, title="the right tool first")
    for key, found in chosen.items():
        margin = margins.get(key, {})
        shown = [
            f"{found[m]:.3f}" + (f" ±{margin[m]:.3f}" if m in margin else "") if m in found else "–" for m in methods
        ]
        firsts.add_row(*key, *shown)
    console.print(firsts)
    lams = Table("dataset", "questions", *(f"λ={lam:g}" for lam in LAMS), "best − chosen", title="by λ")
    for name, r in results.items():
        for layout, found in r["by_lam"].items():
            gap = max(found.values()) - found[f"{r['lam']:g}"]
            lams.add_row(name, layout, *(f"{found[f'{lam:g}']:.3f}" for lam in LAMS), f"{gap:.3f}")
    console.print(lams)
    losses = Table("dataset", "ours", *RECIPE_NAMES, title="held-out loss (words' own part left out)")
    for name, r in results.items():
        if r["losses"]:
            losses.add_row(name, *(f"{r['losses'][method]:.4f}" for method in ("ours", *RECIPE_NAMES)))
    console.print(losses)
    biases = Table("dataset", "calibrated", *(f"{b:g}" for b in CONSTANT_BIASES), title="F1 of held-out calls, by bias")
    for name, r in results.items():
        if r["biases"]:
            biases.add_row(name, *(f"{value:.3f}" for value in r["biases"].values()))
    console.print(biases)


if __name__ == "__main__":
    typer.run(main)
