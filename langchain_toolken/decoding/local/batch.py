"""`Batch`: sequences that go through the LM together, and may join and leave between two steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor
from transformers import DynamicCache

from langchain_toolken.decoding.local.cache import row_of, select, stack
from langchain_toolken.decoding.local.row import Row
from langchain_toolken.lm.transformers_model import TransformersModel


class Batch:
    """Rows that share one cache, aligned at its last column.

    Shorter rows are padded on the left and nowhere else: padding inside a sequence would count against a sliding
    window.

    Args:
        lm: Runs the rows.
        caches: The rows, each with what has run of it. The batch takes the caches over.

    Attributes:
        rows: The rows, in the order of the cache.
        cache: The cache of all rows.
    """

    def __init__(self, lm: TransformersModel, caches: Mapping[Row, DynamicCache] | None = None) -> None:
        caches = caches or {}
        self.lm = lm
        self.rows = list(caches)
        width = max((row.pending for row in caches), default=0)
        for row, cache in caches.items():
            # If another row has more new tokens, the end of a long prefix is run again, so that all rows run equally
            # many.
            if again := min(row.fed, width - row.pending):
                cache.crop(-again)
                row.fed -= again
        self.cache = stack([(cache, 1) for cache in caches.values()]) if caches else DynamicCache()

    def start(self) -> Tensor:
        """Run all pending tokens and return the rows' last hidden states (n, d)."""
        return self._run(max(row.pending for row in self.rows))

    def step(self) -> tuple[list[Row], Tensor]:
        """Run as many tokens of each row as the row with the fewest has.

        Returns:
            The rows with no tokens left, and their last hidden states (n, d).
        """
        hidden = self._run(min(row.pending for row in self.rows))
        due = [index for index, row in enumerate(self.rows) if not row.pending]
        return [self.rows[index] for index in due], hidden if len(due) == len(self.rows) else hidden[due]

    def join(self, other: Batch) -> None:
        """Take over the rows of another batch, which must not be used afterwards."""
        if not self.rows:
            self.cache = other.cache
        elif other.rows:
            self.cache = stack([(self.cache, len(self.rows)), (other.cache, len(other.rows))])
        self.rows += other.rows

    def cache_of(self, row: Row) -> DynamicCache:
        """Return the cache of one row; a copy, unless the row is alone in the batch."""
        if len(self.rows) == 1 and self.cache.get_seq_length() == row.fed:
            return self.cache
        return row_of(self.cache, self.rows.index(row), row.fed)

    def drop(self, rows: Collection[Row]) -> None:
        """Remove rows, and the columns that only they needed."""
        kept = [index for index, row in enumerate(self.rows) if row not in rows]
        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[index] for index in kept]
        if kept:
            select(self.cache, kept, max(row.fed for row in self.rows))
        else:
            self.cache = DynamicCache()

    def _run(self, width: int) -> Tensor:
        """Run up to `width` tokens of every row. A row may have fewer only if nothing of it is in the cache."""
        columns = self.cache.get_seq_length() + width
        ids, positions, starts = [], [], []
        for row in self.rows:
            chunk = row.ids[row.fed : row.fed + width]
            padding = width - len(chunk)
            ids.append([0] * padding + chunk)
            positions.append([0] * padding + list(range(row.fed, row.fed + len(chunk))))
            starts.append(columns - row.fed - len(chunk))
        device = self.lm.device
        mask = None
        if any(starts):
            mask = (torch.arange(columns, device=device) >= torch.tensor(starts, device=device)[:, None]).long()
        hidden = self.lm.hidden_states(
            torch.tensor(ids, device=device),
            attention_mask=mask,
            position_ids=torch.tensor(positions, device=device),
            cache=self.cache,
        )
        for states, row in zip(hidden, self.rows, strict=True):
            fed = min(row.fed + width, len(row.ids))
            if row.span is not None and row.mean is None:
                # All of the span runs at once: a row starts with all that it has, and nothing after the span's start
                # was taken out of the prefix cache.
                start, stop = (place - fed + width for place in row.span)
                row.mean = states[start:stop].float().mean(dim=0)
            row.fed = fed
        return hidden[:, -1]
