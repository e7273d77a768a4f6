"""What `fit.py` found, and its tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.table import Table

from langchain_toolken.evaluation.methods.papers import TOKENLEARNING, TOOLKENGPT
from langchain_toolken.training.selection import LAMS

CONSTANT_BIASES = (0.0, 1.0, 2.7, 3.0, 4.0, 10.0)  # what the papers' scripts set by hand
RECIPE_NAMES = (TOOLKENGPT.name, TOKENLEARNING.name)


@dataclass
class Result:
    """What one dataset gave.

    Seconds are processor seconds of the whole fit and of recipes, and wall clock of the fit's phases. top1: for each
    layout of the questions the share whose tool came out likeliest, by method.
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


def show(console: Console, results: dict[str, Any]) -> None:
    """The tables."""
    title = "seconds: phases by the clock; all, and all steps of a recipe, of the processor"
    times = Table("dataset", "tools", "positions", "prior", "λ", title=title)
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
