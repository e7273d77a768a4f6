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
    """Chooses next tokens from logits (n, V+K): greedily, or with transformers' warpers.

    With a seed every row has a separate generator, so that what it draws does not depend on the other rows.

    Args:
        sampling: Temperature (0 for greedy), top-k, top-p and seed.
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
        """Choose the next token of each row.

        Args:
            rows: Which of the call's rows they are.
            logits: Their logits (n, V+K).
        """
        if self._greedy:
            chosen: list[int] = logits.argmax(dim=-1).tolist()
            return chosen
        # The warpers only read scores; input ids are part of the signature of every logits processor.
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
