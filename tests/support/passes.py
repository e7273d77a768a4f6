"""Counting an LM's forward passes, and doing something before one: tests count passes and no seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.transformers_model import TransformersModel


class Passes:
    """All forward passes while it is installed: their (rows, tokens), in order.

    `before` is called with the number of the pass (from 1), in the thread that runs it.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.shapes: list[tuple[int, int]] = []
        self.before: Callable[[int], None] | None = None
        hidden_states = TransformersModel.hidden_states

        def counted(lm: LanguageModel, input_ids: torch.Tensor, *others: Any, **more: Any) -> torch.Tensor:
            self.shapes.append((input_ids.shape[0], input_ids.shape[1]))
            if self.before is not None:
                self.before(len(self.shapes))
            return hidden_states(lm, input_ids, *others, **more)

        monkeypatch.setattr(TransformersModel, "hidden_states", counted)

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def most_rows(self) -> int:
        return max(rows for rows, _ in self.shapes)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for other threads to get somewhere; a minute is a failure."""
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the other threads did not get there")
        time.sleep(0.001)
