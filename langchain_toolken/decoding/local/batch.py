"""`Batch`: sequences that go through the LM together; they may join and leave between two steps."""

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
        ids: the prompt, and what was chosen so far.
        fed: how many of them the LM has seen: those are in the cache of the batch the row is in, or in its own.
        cache: its own cache, while it is in no batch.
        reused: how many of the prompt's tokens came out of the prefix cache.
    """

    def __init__(self, prompt: Sequence[int]) -> None:
        self.ids = list(prompt)
        self.cache: DynamicCache | None = None
        self.fed = 0
        self.reused = 0

    @property
    def pending(self) -> int:
        """How many tokens the LM has yet to see."""
        return len(self.ids) - self.fed

    def forget(self) -> None:
        """Begin anew: all tokens are to be run again."""
        self.cache, self.fed, self.reused = None, 0, 0


class Batch:
    """Rows whose tokens stand in one cache and all end in its last column.

    Shorter rows have padding on the left and nowhere else: inside a sequence it would count against a sliding window.

    Args:
        lm: runs the rows.
        rows: each with its own cache, which is taken over; none: an empty batch.
    """

    def __init__(self, lm: LanguageModel, rows: Sequence[Row] = ()) -> None:
        self.lm = lm
        self.rows = list(rows)
        width = max((row.pending for row in rows), default=0)
        for row in rows:
            # Some tokens of a long prefix are run again where another row has more new ones, so that all have as many.
            again = min(row.fed, width - row.pending)
            if row.cache is not None and again:
                row.cache.crop(-again)
                row.fed -= again
        self.cache = stack([(row.cache or DynamicCache(), 1) for row in rows]) if rows else DynamicCache()
        for row in rows:
            row.cache = None

    def start(self) -> Tensor:
        """Run all tokens that are pending. Gives the rows' last hidden states (n, d)."""
        return self._run(max(row.pending for row in self.rows))

    def step(self) -> tuple[list[Row], Tensor]:
        """Run as many tokens as the row with the fewest has. Gives the rows that have none left, and their last hidden
        states (n, d)."""
        hidden = self._run(min(row.pending for row in self.rows))
        due = [index for index, row in enumerate(self.rows) if not row.pending]
        return [self.rows[index] for index in due], hidden if len(due) == len(self.rows) else hidden[due]

    def join(self, other: Batch) -> None:
        """Take over the rows of another batch, which is not to be used any more."""
        if not self.rows:
            self.cache = other.cache
        elif other.rows:
            self.cache = stack([(self.cache, len(self.rows)), (other.cache, len(other.rows))])
        self.rows += other.rows

    def cache_of(self, row: Row) -> DynamicCache:
        """The cache of one row; a copy, unless it is the only one."""
        if len(self.rows) == 1 and self.cache.get_seq_length() == row.fed:
            return self.cache
        return row_of(self.cache, self.rows.index(row), row.fed)

    def drop(self, rows: Collection[Row]) -> None:
        """Let rows go, and with them the columns that only they needed."""
        kept = [index for index, row in enumerate(self.rows) if row not in rows]
        if len(kept) == len(self.rows):
            return
        self.rows = [self.rows[index] for index in kept]
        if kept:
            select(self.cache, kept, max(row.fed for row in self.rows))
        else:
            self.cache = DynamicCache()

    def _run(self, width: int) -> Tensor:
        """Run up to `width` tokens of every row, fewer only where a row has no more and nothing in the cache."""
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
        )[:, -1]
        for row in self.rows:
            row.fed = min(row.fed + width, len(row.ids))
        return hidden
