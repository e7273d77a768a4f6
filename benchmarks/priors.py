"""What priors are worth, untrained and with few demonstrations: how often each kind puts the right tool first.

    python benchmarks/priors.py --data-dir DATA --model MODEL

For each dataset the questions of its test file end where their tool is due. "Untrained": the prior rows as they are,
for each source, text and pooling. "Names that say nothing": the same tools under their Wikidata numbers (P1408), with
the number as the name's text and with the description in its place. "Few demonstrations": with --shots of them a tool,
λ chosen by cross-validation for each of the priors that `fit` chooses among, and for its own choice.

Nothing here is random but the order of folds (seed 0). Results are written to --out as they come.
"""

from __future__ import annotations

import itertools
import json
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from langchain_toolken.cli.progress_bars import progress_bars
from langchain_toolken.disk.writing import writing
from langchain_toolken.evaluation.datasets import ToolDataset, read_dataset, read_tool_questions, read_tool_specs
from langchain_toolken.evaluation.tool_choice import due_tools, states_where_due, top1
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.priors import Pooling, PriorConfig, PriorSource, PriorText, prior_rows
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.load import gather_demonstrations
from langchain_toolken.training.features.compute import compute_features
from langchain_toolken.training.options import AUTO_PRIORS
from langchain_toolken.training.selection import select_lam
from langchain_toolken.training.solve.solver import solve

SOURCES: tuple[PriorSource, ...] = get_args(PriorSource)
TEXTS: tuple[PriorText, ...] = get_args(PriorText)
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)
PRIORS = [PriorConfig(source, text, pooling) for source, text, pooling in itertools.product(SOURCES, TEXTS, POOLINGS)]


@dataclass(frozen=True)
class Questions:
    """Test questions of one dataset. tools: the first so many of the file's. train: its demonstrations, if any."""

    folder: str
    questions: str
    tools_file: str = "tools.jsonl"
    tools: int | None = None
    train: str | None = None


DATASETS = {
    **{
        f"KAMEL-{n}": Questions("kamel", f"test_{n}.jsonl", tools=n, train="train_synthetic.jsonl")
        for n in (30, 60, 100, 234)
    },
    "STQuestions": Questions("stquestions", "test.jsonl", train="train.jsonl"),
    "STQuestions, unseen": Questions("stquestions", "test_unseen.jsonl", "tools_unseen.jsonl"),
}


def few(data: ToolDataset, shots: int) -> ToolDataset:
    """The first `shots` demonstrations of every tool."""
    taken: Counter[str] = Counter()
    rows = []
    for row in data.demonstrations:
        called = {call["tool"] for call in row["calls"]}
        if called and all(taken[tool] < shots for tool in called):
            taken.update(called)
            rows.append(row)
    return replace(data, demonstrations=tuple(rows))


def coded(tools: list[ToolSpec], names: dict[str, str], described: bool) -> list[ToolSpec]:
    """The tools under the numbers that their file knows them by; without descriptions the number is all there is."""
    numbers = {name: own.strip("<>") for own, name in names.items()}
    return [
        spec.model_copy(update={"name": numbers[spec.name], "description": spec.description if described else ""})
        for spec in tools
    ]


def trained(
    lm: LanguageModel, data: ToolDataset, states: Tensor, due: Tensor, progress: Any
) -> dict[str, dict[str, Any]]:
    """Top-1 with each prior that `fit` chooses among, at the λ that suits it, and with the prior that it chooses."""
    loaded = gather_demonstrations(data.demonstrations, list(data.tools), docstrings=False, strict=False)
    names = [spec.name for spec in data.tools]
    features = compute_features(
        lm, loaded.demonstrations, names, "completion", negatives_per_demonstration=16, progress=progress
    )
    priors = {str(config): prior_rows(lm, data.tools, config, progress=progress) for config in AUTO_PRIORS}
    found: dict[str, dict[str, Any]] = {}
    for label, candidates in {**{name: {name: rows} for name, rows in priors.items()}, "auto": priors}.items():
        choice = select_lam(features, candidates, folds=2, progress=progress)
        matrix = solve(features, priors[choice.prior], choice.lam, progress=progress).matrix
        loss = min(point.loss for point in choice.path) if choice.path else None
        found[label] = {"prior": choice.prior, "lam": choice.lam, "loss": loss, "top1": top1(states @ matrix.T, due)}
    return found


def main(
    data_dir: Annotated[Path, typer.Option(help="Folder with the datasets (kamel, stquestions).")],
    model: Annotated[str, typer.Option(help="The LM.")] = "nano",
    datasets: Annotated[str, typer.Option(help="Which, by name, with ; between.")] = ";".join(DATASETS),
    shots: Annotated[int, typer.Option(help="Demonstrations a tool to train with; 0 to leave that out.")] = 5,
    trained_on: Annotated[str, typer.Option(help="Which datasets to train on.")] = "KAMEL-30;KAMEL-60",
    out: Annotated[Path, typer.Option(help="JSON file for the results.")] = Path("benchmark_priors.json"),
) -> None:
    console = Console()
    wanted = datasets.split(";")
    unknown = [name for name in (*wanted, *trained_on.split(";")) if name not in DATASETS]
    if unknown:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(DATASETS)}")
    lm = load_language_model(model)
    untrained: dict[str, dict[str, float]] = {}
    numbered: dict[str, dict[str, float]] = {}
    learnt: dict[str, dict[str, dict[str, Any]]] = {}
    for name in wanted:
        dataset, began = DATASETS[name], time.perf_counter()
        tools, names = read_tool_specs(data_dir / dataset.folder / dataset.tools_file)
        tools = tools[: dataset.tools]
        names = {own: new for own, new in names.items() if new in {spec.name for spec in tools}}
        with progress_bars(console) as progress:
            questions = read_tool_questions(data_dir / dataset.folder / dataset.questions, names)
            states, due = states_where_due(lm, questions, progress).last, due_tools(questions, tools)
            untrained[name] = {
                str(config): top1(states @ prior_rows(lm, tools, config, progress=progress).T, due) for config in PRIORS
            }
            if dataset.folder == "kamel":
                numbered[name] = {
                    label: top1(states @ prior_rows(lm, coded(tools, names, described), PriorConfig()).T, due)
                    for label, described in (("the number itself", False), ("noticed", True))
                } | {"function name": untrained[name][str(PriorConfig())]}
            if shots and dataset.train and name in trained_on.split(";"):
                data = read_dataset(data_dir / dataset.folder, dataset.train)
                data = few(data if dataset.tools is None else data.first(dataset.tools), shots)
                learnt[name] = trained(lm, data, states, due, progress)
        results = {"untrained": untrained, "names that say nothing": numbered, f"{shots} a tool": learnt}
        with writing(out):
            out.write_text(json.dumps(results, indent=1), encoding="utf-8")
        console.print(f"{name}: {time.perf_counter() - began:.0f} s")
    show(console, "untrained: the right tool first", untrained)
    show(console, "names that say nothing", numbered)
    figures = {
        name: {label: f"{row['top1']:.3f} (λ={row['lam']:g})" for label, row in rows.items()}
        for name, rows in learnt.items()
    }
    show(console, f"{shots} demonstrations a tool", figures)


def show(console: Console, title: str, columns: dict[str, Any]) -> None:
    """A table of one column per dataset."""
    if not columns:
        return
    table = Table("", *columns, title=title)
    for row in next(iter(columns.values())):
        cells = [found[row] for found in columns.values()]
        table.add_row(row, *(cell if isinstance(cell, str) else f"{cell:.3f}" for cell in cells))
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
