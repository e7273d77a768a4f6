"""`Batch`: sequences that go through the LM together, and may join and leave between two steps."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor
from transformers import DynamicCache

from langchain_toolken.decoding.local.cache import row_of, select, stack
from langchain_toolken.lm.model import LanguageModel


class Row:
    """One sequence.

    Attributes:
        ids: The prompt, and the tokens chosen so far.
        fed: How many of `ids` the LM has seen. Their keys and values are in the batch's cache, or in `cache`.
        cache: The row's own cache while it is in no batch.
        reused: How many of the prompt's tokens came out of the prefix cache.
        span: The tokens of the prompt, as (start, stop), whose mean state is wanted; None for none.
        mean: The mean hidden state (d,) of the span, float32; None until it is known.
    """

    def __init__(self, prompt: Sequence[int], span: tuple[int, int] | None = None) -> None:
        self.ids = list(prompt)
        self.span = span
        self.mean: Tensor | None = None
        self.cache: DynamicCache | None = None
        self.fed = 0
        self.reused = 0

    @property
    def pending(self) -> int:
        """How many tokens the LM has not seen."""
        return len(self.ids) - self.fed

    def forget(self) -> None:
        """Drop the cache, so that all tokens are run again."""
        self.cache, self.fed, self.reused = None, 0, 0


class Batch:
    """Rows that share one cache, aligned at its last column.

    Shorter rows are padded on the left and nowhere else: padding inside a sequence would count against a sliding
    window.

    Args:
        lm: Runs the rows.
        rows: The rows. The batch takes over their caches.

    Attributes:
        rows: The rows, in the order of the cache.
        cache: The cache of all rows.
    """

    def __init__(self, lm: LanguageModel, rows: Sequence[Row] = ()) -> None:
        self.lm = lm
        self.rows = list(rows)
        width = max((row.pending for row in rows), default=0)
        for row in rows:
            # If another row has more new tokens, the end of a long prefix is run again, so that all rows run equally
            # many.
            again = min(row.fed, width - row.pending)
            if row.cache is not None and again:
                row.cache.crop(-again)
                row.fed -= again
        self.cache = stack([(row.cache or DynamicCache(), 1) for row in rows]) if rows else DynamicCache()
        for row in rows:
            row.cache = None

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
