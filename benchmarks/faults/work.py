"""What the fault runs do to a folder: fit, save, update, on a small LM with random weights; and whether it is whole."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.fit import fit
from langchain_toolken.training.result import FitResult
from langchain_toolken.training.update import update

sys.path.insert(0, str(Path(__file__).parents[1]))
from random_lm import random_lm

NAMES = ("add", "multiply", "divide")


def the_lm() -> LanguageModel:
    """A small LM, with one thread, so that forks can use it."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    return random_lm(1, context=512)


def specs(*names: str) -> list[ToolSpec]:
    return [ToolSpec(name=name, description=f"Do {name}.", json_schema={"type": "object"}) for name in names]


def rows(*names: str, count: int = 6) -> list[dict[str, object]]:
    made: list[dict[str, object]] = []
    for number in range(count):
        for name in names:
            text = f"Q: What is {number} {name} 7?\nA: That is {number} {name} 7={number * 7}."
            made.append({"text": text, "calls": [{"start": text.index("=") + 1, "tool": name}]})
    return made


@dataclass(frozen=True)
class Work:
    """One thing to do in a folder, again and again.

    Attributes:
        name: What it is.
        prepare: Puts into the folder what is there before.
        do: Does it; returns a few words.
    """

    name: str
    prepare: Callable[[Path], None]
    do: Callable[[Path], str]


def works(lm: LanguageModel) -> list[Work]:
    """A save over a set, a fit with features and its save, a fit from those features, and an update in place."""
    options = {"lam": 1e-3, "bias": 0.0, "prior": PriorConfig(), "batch_tokens": 200}
    old = fit(lm, specs(*NAMES[:2]), rows(*NAMES[:2], count=4), **options)  # type: ignore[arg-type]
    new = fit(lm, specs(*NAMES[:2]), rows(*NAMES[:2]), **options)  # type: ignore[arg-type]

    def nothing(folder: Path) -> None:
        folder.mkdir()

    def an_old_set(folder: Path) -> None:
        folder.mkdir()
        old.save(folder / "set")

    def save(folder: Path) -> str:
        new.save(folder / "set")
        return "saved"

    def fit_here(folder: Path) -> str:
        made: FitResult = fit(
            lm,
            specs(*NAMES[:2]),
            rows(*NAMES[:2]),
            features_dir=folder / "features",
            **options,  # type: ignore[arg-type]
        )
        made.save(folder / "set")
        return f"fitted, {made.lm_passes} passes"

    def features_only(folder: Path) -> None:
        folder.mkdir()
        fit_here(folder)
        old.save(folder / "set")

    def update_here(folder: Path) -> str:
        made = update(
            lm,
            ToolkenSet.load(folder / "set"),
            specs(*NAMES),
            rows(*NAMES),
            lam=1e-3,
            prior=PriorConfig(),
        )
        made.save(folder / "set")
        return "updated"

    return [
        Work("first save", nothing, save),
        Work("save over a set", an_old_set, save),
        Work("fit with --features, and save", nothing, fit_here),
        Work("fit from --features, and save", features_only, fit_here),
        Work("update, and save over the set", an_old_set, update_here),
    ]


def set_in(folder: Path) -> str:
    """Name the set that is in the folder: its fingerprint, "none", or what is wrong with it."""
    try:
        return ToolkenSet.load(folder / "set").fingerprint
    except ToolkenSetError as error:
        return "none" if "does not exist" in str(error) else f"damaged: {error}"


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in the folder: the content of each file by its path."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if not file.is_dir()}


def unlike(found: dict[str, bytes], expected: dict[str, bytes]) -> str:
    """Say how two folders differ, reports left out, which hold times; empty if they don't."""
    timed = ("report.json", "report.html", "README.md", "toolkens.json")
    names = sorted(set(found) ^ set(expected))
    changed = [n for n in expected if n in found and found[n] != expected[n] and not n.endswith(timed)]
    return ", ".join([*(f"{name} is left over or missing" for name in names), *(f"{name} differs" for name in changed)])


def repeat(work: Work, folder: Path) -> Callable[[], str]:
    """The work as a function without arguments, for a fork."""
    return partial(work.do, folder)
