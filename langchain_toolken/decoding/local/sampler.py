"""`Sampler`: the next token of each row, greedy or drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.generation.logits_process import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from langchain_toolken.decoding.engine import Sampling


class Sampler:
    """Chooses next tokens from logits (n, V+K): greedily, or with transformers' own warpers.

    With a seed every row has a generator of its own, so that what it draws does not depend on the rows beside it.
    """

    def __init__(self, sampling: Sampling) -> None:
        self._greedy = sampling.temperature == 0
        self._seed = sampling.seed
        self._generators: dict[int, torch.Generator] = {}
        self._warpers = LogitsProcessorList()
        if not self._greedy:
            self._warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
            if sampling.top_k:
                self._warpers.append(TopKLogitsWarper(sampling.top_k))
            if sampling.top_p < 1:
                self._warpers.append(TopPLogitsWarper(float(sampling.top_p)))

    def __call__(self, rows: Sequence[int], logits: Tensor) -> list[int]:
        """The next token of each of `rows` of the call."""
        if self._greedy:
            chosen: list[int] = logits.argmax(dim=-1).tolist()
            return chosen
        # The warpers read scores only; they take input ids because all of transformers' processors do.
        unread: Any = torch.empty(len(logits), 0, dtype=torch.long, device=logits.device)
        probabilities = self._warpers(unread, logits).softmax(dim=-1)
        return [
            int(torch.multinomial(row_probabilities, 1, generator=self._generator(row, logits.device)))
            for row, row_probabilities in zip(rows, probabilities, strict=True)
        ]

    def _generator(self, row: int, device: torch.device) -> torch.Generator | None:
        if self._seed is None:
            return None
        if row not in self._generators:
            self._generators[row] = torch.Generator(device=device).manual_seed(self._seed)
        return self._generators[row]
