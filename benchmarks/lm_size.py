"""Measure how the time of `fit` and of the papers' recipes grows with the LM: same demonstrations, several LM sizes.

    python benchmarks/lm_size.py --data-dir DATA --model MODEL

The LMs of --parameters have random weights. Their features are random too, which makes the solve harder than with a
trained LM, and the chosen λ and prior mean nothing. --recipe-steps steps of the recipes are timed, and multiplied up to
the 10 epochs that the papers run. Both use the first --demonstrations of the dataset.
"""

from __future__ import annotations

import gc
import json
import time
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from random_lm import random_lm
from rich.console import Console
from rich.table import Table

from langchain_toolken.cli.progress_bars import progress_bars
from langchain_toolken.evaluation.datasets import ToolDataset, read_dataset
from langchain_toolken.evaluation.methods.papers import TOKENLEARNING, TOOLKENGPT, train_through_lm
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.training.demonstrations.load import gather_demonstrations
from langchain_toolken.training.fit import fit


@dataclass(frozen=True)
class SizeResult:
    """One LM. Seconds are wall clock; `million` counts its parameters, `recipe` has seconds of all epochs by name."""

    lm: str
    million: float
    width: int
    positions: int
    lm_pass: float
    choice: float
    solve: float
    whole: float
    recipe: dict[str, float]
    steps_timed: int
    steps: int

    @property
    def ratio(self) -> float:
        return min(self.recipe.values()) / self.whole


def measure(name: str, lm: LanguageModel, data: ToolDataset, recipe_steps: int, progress: Any) -> SizeResult:
    """Our fit with everything on "auto", in full, and the recipes' first steps."""
    rows = list(data.demonstrations)
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted = fit(lm, data.tools, rows, style="completion", calls_from="answer", progress=progress)
    whole = time.perf_counter() - began
    assert fitted.selection is not None
    assert fitted.features is not None
    loaded = gather_demonstrations(rows, list(data.tools), docstrings=False, strict=False)
    names, prior = [spec.name for spec in data.tools], prior_rows(lm, data.tools, PriorConfig())
    recipe, steps = {}, 0
    for paper in (TOOLKENGPT, TOKENLEARNING):
        took = train_through_lm(
            lm, loaded.demonstrations, names, "completion", prior, paper, max_steps=recipe_steps, progress=progress
        )
        steps = took.total_steps
        recipe[paper.name] = took.seconds / took.steps * steps
    return SizeResult(
        lm=name,
        million=sum(parameter.numel() for parameter in lm.model.parameters()) / 1e6,
        width=lm.hidden_size,
        positions=len(fitted.features),
        lm_pass=fitted.pass_seconds,
        choice=fitted.selection.seconds,
        solve=fitted.solve_seconds,
        whole=whole,
        recipe=recipe,
        steps_timed=min(recipe_steps, steps),
        steps=steps,
    )


def main(
    data_dir: Annotated[Path, typer.Option(help="Folder with the datasets.")],
    model: Annotated[str, typer.Option(help="A trained LM to begin with.")] = "nano",
    parameters: Annotated[str, typer.Option(help="Sizes of the random LMs, in millions.")] = "100,500",
    dataset: Annotated[str, typer.Option(help="Which dataset's train.jsonl.")] = "funcqa",
    demonstrations: Annotated[int, typer.Option(min=20, help="How many demonstrations, from the first.")] = 200,
    recipe_steps: Annotated[int, typer.Option(min=1, help="Steps of each recipe to time.")] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    console = Console(stderr=as_json)
    if not console.is_terminal:  # a file has room for the table
        console = Console(stderr=as_json, width=160)
    data = read_dataset(data_dir / dataset)
    data = ToolDataset(data.tools, data.names, data.demonstrations[:demonstrations])
    table = Table("LM", "d", "positions", "LM pass", "choice", "solve", "all", "toolkengpt", "tokenlearning", "ratio")
    table.title = (
        f"seconds for {len(data.demonstrations)} demonstrations of {dataset}, {torch.get_num_threads()} threads"
    )
    results = []
    with progress_bars(console) as progress:
        for size in (None, *map(int, parameters.split(","))):
            lm = load_language_model(model) if size is None else random_lm(size)
            results.append(r := measure(model if size is None else f"random {size}M", lm, data, recipe_steps, progress))
            seconds = (f"{s:.1f}" for s in (r.lm_pass, r.choice, r.solve, r.whole))
            papers = (f"{s:,.0f} ({r.steps_timed} of {r.steps})" for s in r.recipe.values())
            table.add_row(r.lm, str(r.width), f"{r.positions:,}", *seconds, *papers, f"{r.ratio:.0f}")
            del lm
            gc.collect()
    if as_json:
        print(json.dumps([asdict(r) | {"ratio": r.ratio} for r in results], indent=1))
    else:
        console.print(table)


if __name__ == "__main__":
    typer.run(main)
