"""`Batch`: sequences that go through the LM together, padded on the left, each with its queue of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from langchain_toolken.decoding.lm import LanguageModel


class Batch:
    """Sequences that go through the LM together.

    Every row has a queue of tokens the LM has not seen. Prompts are padded on the left, so that all end in the same
    column; afterwards a step runs as many tokens as the shortest queue has, so no padding ever comes to stand inside a
    sequence (it would count against a sliding window). Rows whose queue is then empty are due to choose.
    """

    def __init__(self, lm: LanguageModel, prompts: Sequence[Sequence[int]], cache: DynamicCache, reused: int) -> None:
        self.lm = lm
        self.prompts = prompts
        self.cache = cache
        self.reused = reused
        self.live = list(range(len(prompts)))  # rows of the cache, as indices into prompts
        self.fed = [list(prompt[:reused]) for prompt in prompts]
        self.intact = True
        self._queues = [list(prompt[reused:]) for prompt in prompts]
        self._mask: Tensor | None = None
        self._started = False

    def advance(self) -> tuple[list[int], Tensor]:
        """Run the LM once. Gives the rows that are due and their last hidden states (n, d)."""
        lengths = [len(self._queues[row]) for row in self.live]
        width = min(lengths) if self._started else max(lengths)
        ids, positions = [], []
        for row in self.live:
            queue, seen = self._queues[row], len(self.fed[row])
            chunk = queue[:width]
            padding = width - len(chunk)
            ids.append([0] * padding + chunk)
            positions.append([0] * padding + list(range(seen, seen + len(chunk))))
        if not self._started and min(lengths) < width:
            columns = torch.arange(width, device=self.lm.device)
            starts = torch.tensor([width - length for length in lengths], device=self.lm.device)
            self._mask = (columns >= starts[:, None]).long()
        elif self._mask is not None:
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(self.live), width)], dim=1)
        self.intact = False
        hidden = self.lm.hidden_states(
            torch.tensor(ids, device=self.lm.device),
            attention_mask=self._mask,
            position_ids=torch.tensor(positions, device=self.lm.device),
            cache=self.cache,
        )[:, -1]
        due = []
        for index, row in enumerate(self.live):
            self.fed[row] += self._queues[row][:width]
            del self._queues[row][:width]
            if not self._queues[row]:
                due.append(index)
        self.intact = self._started = True
        rows = [self.live[index] for index in due]
        return rows, hidden if len(due) == len(self.live) else hidden[due]

    def extend(self, rows: list[int], tokens: list[list[int]]) -> None:
        """Queue what the rows chose; rows that chose nothing leave the batch."""
        for row, chosen in zip(rows, tokens, strict=True):
            self._queues[row] = chosen
        keep = [index for index, row in enumerate(self.live) if self._queues[row]]
        if len(keep) < len(self.live):
            self.live = [self.live[index] for index in keep]
            if self.live:
                selected = torch.tensor(keep, device=self.lm.device)
                self.cache.batch_select_indices(selected)
                self._mask = None if self._mask is None else self._mask[selected]
