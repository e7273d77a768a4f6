"""Compare `fit` with the papers' own training: times and right tools, on the same data, LM and machine, in one run.

    python benchmarks/fit.py --data-dir DATA --model MODEL --out results.json

For each dataset it measures our fit with everything on "auto" (LM pass, choice of λ, prior and bias, and solve, timed
separately by the clock, and the whole in processor seconds) and the share of the test's tools that it puts first. The
same share is measured for every λ along the path (to compare the chosen one with the best in hindsight), for priors
without training, for BM25, and for the nearest description by the frozen LM's own states. Where the dataset holds out
demonstrations, the calibrated bias is compared with the papers' constants. Tools that nobody trained get their toolkens
by the map (`toolkens.new_tools`).

What a fit learns besides toolkens and the recipes do not is left out: which worked answers and which form of cards.

The papers' recipes (`evaluation.methods.papers`) run the LM in every step. --recipe-steps of them are timed, in
processor seconds, and multiplied up to the 10 epochs that the papers run: so other programs on the machine do not count
in the ratio. Run with OMP_NUM_THREADS=1. Their right tools come from the same training on cached features (the same
toolkens, as a test shows), up to the checkpoint that the papers evaluate, with --seeds seeds: the mean and the half
width of its 95% interval (Student's t).

Results are written to --out one by one; a run that was stopped continues where it was.
"""

from __future__ import annotations

import json
import statistics
import time
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from fit_datasets import BENCHMARKS, Benchmark
from fit_tables import CONSTANT_BIASES, Result, show
from rank_bm25 import BM25Okapi
from rich.console import Console
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
from langchain_toolken.prompts.call_cards import PLAIN
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

# Student's t at 97.5%, by degrees of freedom: for the intervals over seeds.
T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
EPOCHS_RUN = 10  # by both papers, on every dataset


def measure(
    lm: LanguageModel, benchmark: Benchmark, data_dir: Path, recipe_steps: int, seeds: int, progress: Any
) -> Result:
    """All that is measured on one dataset; with no seeds, the times only."""
    folder = data_dir / benchmark.folder
    data = read_dataset(folder, benchmark.train)
    if benchmark.tools is not None:
        data = data.first(benchmark.tools)
    began = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ToolkenFitWarning)
        fitted = fit(
            lm,
            data.tools,
            data.demonstrations,
            style="completion",
            calls_from="answer",
            worked_answers=0,
            card=PLAIN,
            progress=progress,
        )
    whole = time.process_time() - began
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
    """Steps of the recipe with the LM in each of them: how many were taken, of how many, in how many CPU seconds."""
    loaded = gather_demonstrations(data.demonstrations, list(data.tools), docstrings=False, strict=False)
    names = [spec.name for spec in data.tools]
    took = train_through_lm(lm, loaded.demonstrations, names, "completion", prior, recipe, max_steps=steps)
    return took.steps, took.total_steps, took.processor_seconds


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


if __name__ == "__main__":
    typer.run(main)
