"""`Sampler`: the next token of each row, greedy or drawn."""

from __future__ import annotations

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
    """Chooses next tokens from logits (n, V+K): greedily, or with transformers' own warpers."""

    def __init__(self, sampling: Sampling) -> None:
        self._greedy = sampling.temperature == 0
        self._seed = sampling.seed
        self._generator: torch.Generator | None = None
        self._warpers = LogitsProcessorList()
        if not self._greedy:
            self._warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
            if sampling.top_k:
                self._warpers.append(TopKLogitsWarper(sampling.top_k))
            if sampling.top_p < 1:
                self._warpers.append(TopPLogitsWarper(float(sampling.top_p)))

    def __call__(self, logits: Tensor) -> list[int]:
        if self._greedy:
            chosen = logits.argmax(dim=-1)
        else:
            if self._seed is not None and self._generator is None:
                self._generator = torch.Generator(device=logits.device).manual_seed(self._seed)
            # The warpers read scores only; they take input ids because all of transformers' processors do.
            unread: Any = torch.empty(len(logits), 0, dtype=torch.long, device=logits.device)
            scores = self._warpers(unread, logits)
            chosen = torch.multinomial(scores.softmax(dim=-1), 1, generator=self._generator)[:, 0]
        ids: list[int] = chosen.tolist()
        return ids
