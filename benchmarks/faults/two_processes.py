"""Two and more processes on one folder: fits on new features, saves, and saves while others load.

    python benchmarks/faults/two_processes.py

Fits that start together on one new features folder must all give the toolkens of a fit alone; in every second round the
moment between creating the folder and opening it is made longer. Saves to one folder must all succeed and leave one
whole set. A load during saves must give a set that was saved, whole.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from tally import Tally
from work import NAMES, rows, specs, the_lm

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.features.store import FeatureStore
from langchain_toolken.training.fit import fit


def forked(function: Callable[[], str]) -> tuple[int, int]:
    """Start `function` in a fork; return its process id and where what it returns or raises can be read."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status, text = 0, ""
        try:
            text = function()
        except BaseException as error:  # noqa: BLE001 - told, whatever it is
            status, text = 1, f"{type(error).__name__}: {error}"
        os.write(writing, text.encode(errors="replace")[:60_000])
        os._exit(status)
    os.close(writing)
    return child, reading


def joined(started: tuple[int, int]) -> tuple[int, str]:
    """Wait for a fork; return its exit status and what it said."""
    child, reading = started
    with os.fdopen(reading, "rb") as said:
        text = said.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


def left_over(folder: Path, *names: str) -> str:
    extra = sorted({entry.name for entry in folder.iterdir()} - set(names))
    return f"left over: {', '.join(extra)}" if extra else ""


def fits(lm: LanguageModel, rounds: int, rng: random.Random, tally: Tally) -> None:
    options = {"lam": 1e-3, "bias": 0.0, "prior": PriorConfig(), "batch_tokens": 200}

    def fitted(features: Path | None, delay: float, widened: bool) -> str:
        create = FeatureStore.create

        def slow(*args: object, **keywords: object) -> FeatureStore:
            time.sleep(0.2)  # after the look whether there is a manifest
            made = create(*args, **keywords)  # type: ignore[arg-type]
            time.sleep(0.1)
            return made

        if widened:
            FeatureStore.create = slow  # type: ignore[method-assign]
        time.sleep(delay)
        result = fit(lm, specs(*NAMES[:2]), rows(*NAMES[:2]), features_dir=features, **options)  # type: ignore[arg-type]
        return result.toolkens.fingerprint

    alone = fitted(None, 0, False)
    for number in range(rounds):
        with tempfile.TemporaryDirectory(prefix="two-processes-") as root:
            widened = number % 2 == 1
            delays = (0.0, rng.random() * 0.4)
            started = [forked(partial(fitted, Path(root, "features"), delay, widened)) for delay in delays]
            for status, said in map(joined, started):
                right = status == 0 and said == alone
                wrong = "" if right else f"round {number}: {said if status else 'other toolkens, exit status 0'}"
                tally.add("two fits on new features", "right" if right else "wrong", wrong)


def saves(sets: list[ToolkenSet], processes: int, each: int, tally: Tally) -> None:
    known = {one.fingerprint for one in sets}
    with tempfile.TemporaryDirectory(prefix="two-processes-") as root:
        folder = Path(root, "set")

        def save_all(first: int) -> str:
            failures = []
            for number in range(each):
                one = sets[(first + number) % len(sets)]
                try:
                    one.save(folder, extra_files={"report.html": one.fingerprint, "README.md": f"# {number}"})
                except Exception as error:  # noqa: BLE001 - told, whatever it is
                    failures.append(f"{type(error).__name__}: {error}")
            return "\n".join(failures)

        started = [forked(partial(save_all, first)) for first in range(processes)]
        failures = [line for _, said in map(joined, started) for line in said.splitlines()]
        for number in range(processes * each):
            failed = number < len(failures)
            tally.add("saves at once", "failed" if failed else "saved", failures[number] if failed else "")
        found = ToolkenSet.load(folder).fingerprint
        wrong = "" if found in known else f"the set is {found}"
        tally.add("the set after them", "whole", wrong or left_over(Path(root), "set"))


def loads(sets: list[ToolkenSet], each: int, tally: Tally) -> None:
    known = {one.fingerprint for one in sets}
    with tempfile.TemporaryDirectory(prefix="two-processes-") as root:
        folder = Path(root, "set")
        sets[0].save(folder)

        def save_all() -> str:
            for number in range(each):
                sets[number % len(sets)].save(folder)
            return ""

        def load_all() -> str:
            failures = []
            for _ in range(each):
                try:
                    found = ToolkenSet.load(folder).fingerprint
                    failures += [] if found in known else [f"the set is {found}"]
                except Exception as error:  # noqa: BLE001 - told, whatever it is
                    failures.append(f"{type(error).__name__}: {error}")
            return "\n".join(failures)

        started = [forked(save_all), forked(load_all), forked(load_all)]
        (status, said), *loaded = map(joined, started)
        for _ in range(each):
            tally.add("saves while others load", "saved" if status == 0 else "failed", said)
        failures = [line for _, text in loaded for line in text.splitlines()]
        for number in range(2 * each):
            failed = number < len(failures)
            tally.add("loads during saves", "failed" if failed else "whole", failures[number] if failed else "")
        tally.add("the folder after them", "clean", left_over(Path(root), "set"))


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of two fits.")] = 30,
    each: Annotated[int, typer.Option(min=1, help="Saves, or loads, of each process.")] = 45,
    seed: Annotated[int, typer.Option(help="Draws the delays.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Start them together, and look."""
    lm = the_lm()
    tally = Tally(f"several processes on one folder (seed {seed})")
    fits(lm, rounds, random.Random(seed), tally)
    options = {"lam": 1e-3, "bias": 0.0, "prior": PriorConfig()}
    sets = [
        fit(lm, specs(*NAMES[:2]), rows(*NAMES[:2], count=count), **options).toolkens  # type: ignore[arg-type]
        for count in (3, 4, 5)
    ]
    saves(sets, 4, each, tally)
    loads(sets, each, tally)
    tally.close(as_json=as_json)


if __name__ == "__main__":
    typer.run(main)
