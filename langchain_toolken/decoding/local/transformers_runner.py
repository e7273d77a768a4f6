"""`TransformersRunner`: rows in a batch of transformers, with `DynamicCache`s."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from transformers import DynamicCache

from langchain_toolken.decoding.local.batch import Batch
from langchain_toolken.decoding.local.cache import PrefixCache
from langchain_toolken.decoding.local.row import Row
from langchain_toolken.decoding.local.runner import Due
from langchain_toolken.decoding.local.scoring import score_continuations
from langchain_toolken.decoding.local.short_memory import is_out_of_memory
from langchain_toolken.lm.transformers_model import TransformersModel


class TransformersRunner:
    """A `Runner` for an LM of transformers.

    Rows that start run in a batch of their own up to their first choice, since they are padded to the longest. They
    join the other rows at the next step, if they have not ended by then.

    Args:
        lm: The LM.
        cached_prefixes: How many caches of ended rows to keep; 0 for none.

    Raises:
        ValueError: `cached_prefixes` is negative.
    """

    def __init__(self, lm: TransformersModel, cached_prefixes: int) -> None:
        self._lm = lm
        self._prefixes = PrefixCache(cached_prefixes)
        self._batch = Batch(lm)
        self._started: list[Batch] = []
        self._apart: dict[Row, DynamicCache] = {}  # of rows that do not run

    @property
    def rows(self) -> Sequence[Row]:
        """The rows that run."""
        return [row for batch in (self._batch, *self._started) for row in batch.rows]

    def resume(self, row: Row, most: int) -> None:
        """Take what is cached of a row's beginning; see `Runner.resume`."""
        self._apart[row], row.fed = self._prefixes.take(row.ids[:most])

    def groups(self, rows: Sequence[Row]) -> list[list[Row]]:
        """Divide rows so that no group has more padding than tokens; see `Runner.groups`."""
        rows, groups = list(rows), []
        while rows:
            longest = max(row.pending for row in rows)
            groups.append([row for row in rows if 2 * row.pending >= longest])
            rows = [row for row in rows if row not in groups[-1]]
        return groups

    def start(self, rows: list[Row]) -> Due:
        """Run all pending tokens of new rows; see `Runner.start`."""
        batch = Batch(self._lm, {row: self._apart.pop(row) if row in self._apart else DynamicCache() for row in rows})
        hidden = batch.start()
        self._started.append(batch)
        return Due(rows, hidden, self._lm.head.word_logits(hidden))

    def step(self) -> Due:
        """Run a step of all rows; see `Runner.step`."""
        while self._started:
            self._batch.join(self._started.pop(0))
        rows, hidden = self._batch.step()
        return Due(rows, hidden, self._lm.head.word_logits(hidden))

    def hold(self, rows: Collection[Row]) -> None:
        """Take rows out with their caches; see `Runner.hold`."""
        for batch in (self._batch, *self._started):
            leaving = [row for row in batch.rows if row in rows]
            for row in leaving:
                self._apart[row] = batch.cache_of(row)
            batch.drop(leaving)
        self._started = [batch for batch in self._started if batch.rows]

    def end(self, rows: Collection[Row]) -> None:
        """Take rows out, and put their caches into the prefix cache; see `Runner.end`."""
        for batch in (self._batch, *self._started):
            leaving = [row for row in batch.rows if row in rows]
            for row in leaving:
                try:
                    self._prefixes.put(row.ids[: row.fed], batch.cache_of(row))
                except RuntimeError as error:
                    if not is_out_of_memory(error):
                        raise
                    self._prefixes.clear()  # the row's answer counts; only the next prompt starts without a cache
            batch.drop(leaving)
        self._started = [batch for batch in self._started if batch.rows]
        for row in rows:
            cache = self._apart.pop(row, None)
            if cache is not None and row.fed:
                self._prefixes.put(row.ids[: row.fed], cache)

    def forget(self, rows: Collection[Row]) -> None:
        """Take rows out and drop their caches; see `Runner.forget`."""
        for row in rows:
            self._apart.pop(row, None)
        batches = [self._batch, *self._started]
        for index, batch in enumerate(batches):
            if all(row in rows for row in batch.rows):  # the cache itself may be what is damaged
                batches[index] = Batch(self._lm)
            else:
                batch.drop(rows)
        self._batch, self._started = batches[0], [batch for batch in batches[1:] if batch.rows]

    def clear(self) -> None:
        """Drop the prefix cache; see `Runner.clear`."""
        self._prefixes.clear()

    def score(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        """Score continuations of a prompt; see `Runner.score`."""
        return score_continuations(self._lm, self._prefixes, prompt, continuations)
