"""Features of a few demonstrations, in a folder or in memory."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.features.compute import Features, compute_features

NAMES = ["add", "multiply"]


def demonstrations(count: int = 12) -> list[Demonstration]:
    made = []
    for i in range(count):
        text = f"Q: A box holds {i} pens. How many are in 7 boxes?\nA: There are {'so ' * (i % 4)}{i}*7={i * 7} pens."
        made.append(
            Demonstration(
                text=text, calls=(DemonstratedCall(start=text.index("=") + 1, tool=NAMES[i % 2], result=str(i * 7)),)
            )
        )
    return made


def compute(lm: LanguageModel, folder: Path | None, demos: list[Demonstration] | None = None, **options) -> Features:
    demos = demonstrations() if demos is None else demos
    return compute_features(lm, demos, NAMES, "completion", batch_tokens=100, folder=folder, **options)


def assert_same(one: Features, other: Features) -> None:
    for field in fields(Features):
        if field.name in ("seconds", "lm_passes", "tokens", "dropped"):
            continue
        a, b = getattr(one, field.name), getattr(other, field.name)
        assert torch.equal(a[:], b[:]), field.name
