"""Change one byte of each file of a set and of a features folder, 200 times, and read it.

    python benchmarks/faults/mutations.py

A byte is replaced, put in or taken out, at a random place. No change of a file of the set may load: each must be a
ToolkenSetError that names the file. A change of a report or model card must give a warning that names it. A change in a
features folder must be a FeatureStoreError, or the batch is computed again and the features are as they were.
"""

from __future__ import annotations

import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import torch
import typer
from tally import Tally
from work import NAMES, rows, specs, the_lm

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.errors import ToolkenSetError, ToolkenSetWarning
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.features.manifest import FeatureStoreError
from langchain_toolken.training.fit import fit
from langchain_toolken.training.result import FitResult


def mutated(content: bytes, rng: random.Random) -> bytes:
    """`content` with one byte more, less or another."""
    while True:
        place, byte = rng.randrange(len(content)), bytes([rng.randrange(256)])
        kind = rng.choice(("replace", "replace", "insert", "delete"))
        put = b"" if kind == "delete" else byte
        changed = content[:place] + put + content[place + (kind != "insert") :]
        if changed != content:
            return changed


def read_set(folder: Path, name: str) -> tuple[str, str]:
    """Load the set; return (outcome, what is wrong with it)."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            ToolkenSet.load(folder)
        except ToolkenSetError as error:
            return "refused", "" if name in str(error) else f"{name} is not named: {error}"
        except Exception as error:  # noqa: BLE001 - a raw error is what is looked for
            return "raw error", f"{name}: {type(error).__name__}: {error}"
    if any(one.category is ToolkenSetWarning and name in str(one.message) for one in said):
        return "warned", "" if name in ("report.json", "report.html", "README.md") else f"{name} loads"
    return "loads silently", f"{name} loads silently"


def read_features(again: Callable[[], FitResult], whole: ToolkenSet, name: str) -> tuple[str, str]:
    """Fit from the features; return (outcome, what is wrong with it)."""
    try:
        made = again()
    except FeatureStoreError:
        return "refused", ""
    except Exception as error:  # noqa: BLE001 - a raw error is what is looked for
        return "raw error", f"{name}: {type(error).__name__}: {error}"
    if not torch.equal(made.toolkens.matrix, whole.matrix):
        return "other toolkens", f"{name}: other toolkens, silently"
    return "computed again" if made.lm_passes else "read", "" if made.lm_passes else f"{name} is read silently"


def mutate_each(
    folder: Path, number: int, rng: random.Random, what: str, read: Callable[[str], tuple[str, str]], tally: Tally
) -> None:
    for file in sorted(folder.iterdir()):
        content = file.read_bytes()
        kept = {each.name: each.read_bytes() for each in folder.iterdir()}
        for _ in range(number):
            changed = mutated(content, rng)
            file.write_bytes(changed)
            outcome, wrong = read(file.name)
            tally.add(f"{what}/{file.name}", outcome, wrong)
            for name, before in kept.items():
                (folder / name).write_bytes(before)


def main(
    number: Annotated[int, typer.Option(min=1, help="Changes of each file.")] = 200,
    seed: Annotated[int, typer.Option(help="Draws the changes.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Change a byte, read, put it back."""
    lm: LanguageModel = the_lm()
    rng = random.Random(seed)
    tally = Tally(f"one byte changed (seed {seed})")
    with TemporaryDirectory(prefix="mutations-") as root:
        features, folder = Path(root, "features"), Path(root, "set")

        def fitted() -> FitResult:
            return fit(
                lm,
                specs(*NAMES[:2]),
                rows(*NAMES[:2]),
                features_dir=features,
                batch_tokens=200,
                lam=1e-3,
                bias=0.0,
                prior=PriorConfig(),
                calls_from="answer",
                evidence=False,  # descriptions have features of their own, in a folder there
            )

        result = fitted()
        result.save(folder)
        mutate_each(folder, number, rng, "set", lambda name: read_set(folder, name), tally)
        mutate_each(features, number, rng, "features", lambda name: read_features(fitted, result.toolkens, name), tally)
        shutil.rmtree(folder)
    tally.close(as_json=as_json)


if __name__ == "__main__":
    typer.run(main)
