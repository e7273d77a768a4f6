"""`LlamaCppRunner`: rows as sequences in a context of llama.cpp."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from typing import TypeVar

import torch

from langchain_toolken.decoding.local.row import Row
from langchain_toolken.decoding.local.runner import Due
from langchain_toolken.lm.llama_cpp.library import NoRoomError, Part
from langchain_toolken.lm.llama_cpp.model import LlamaCppModel
from langchain_toolken.lm.prefix import common_prefix

T = TypeVar("T")
_SEQUENCES = 64
# The end of a prompt for which word logits are computed, though only the last are needed: it costs less than to go
# through all weights once more for one token.
_END = 16


class LlamaCppRunner:
    """A `Runner` for an LM in llama.cpp.

    All rows, running or not, and the beginnings that are kept are sequences in one context. Sequences that begin alike
    share what they have in common, so nothing is copied. If the context is full, kept beginnings make room.

    Args:
        lm: The LM.
        cached_prefixes: How many ended rows to keep; 0 for none.

    Raises:
        ValueError: `cached_prefixes` is negative.
        UnsupportedModelError: There is not enough memory for the context.
    """

    def __init__(self, lm: LlamaCppModel, cached_prefixes: int) -> None:
        if cached_prefixes < 0:
            raise ValueError(f"cached_prefixes must be 0 (off) or more, got {cached_prefixes}")
        self._context = lm.context(_SEQUENCES)
        self._most_kept = min(cached_prefixes, _SEQUENCES // 2)
        self._free = list(range(_SEQUENCES))
        self._sequences: dict[Row, int] = {}
        self._running: list[Row] = []
        self._kept: list[tuple[tuple[int, ...], int]] = []  # token ids and sequence, least recently used first
        self._lock = threading.RLock()

    @property
    def rows(self) -> Sequence[Row]:
        """The rows that run."""
        return self._running

    def resume(self, row: Row, most: int) -> None:
        """Begin with what is kept of a row's beginning; see `Runner.resume`."""
        with self._lock:
            shared = [common_prefix(row.ids[:most], ids) for ids, _ in self._kept]
            length = min(max(shared, default=0), most - 1)
            if length > 0:
                entry = self._kept.pop(max(range(len(shared)), key=shared.__getitem__))
                self._kept.append(entry)
                self._context.share(entry[1], self._sequence_of(row), length)
                row.fed = length

    def groups(self, rows: Sequence[Row]) -> list[list[Row]]:
        """Part rows of which states are wanted from others; see `Runner.groups`."""
        groups = [[row for row in rows if row.words_only is words_only] for words_only in (False, True)]
        return [group for group in groups if group]

    def start(self, rows: list[Row]) -> Due:
        """Run all pending tokens of new rows; see `Runner.start`."""
        with self._lock:
            for row in rows:
                wanted = max(row.fed, len(row.ids) - _END)
                if row.span is not None and row.mean is None:
                    wanted = min(wanted, row.span[0])
                if not row.words_only:
                    self._feed(row, wanted)
            due = self._run(rows)
            self._running += rows
            return due

    def step(self) -> Due:
        """Run all pending tokens of all rows; see `Runner.step`."""
        with self._lock:
            return self._run(list(self._running))

    def hold(self, rows: Collection[Row]) -> None:
        """Take rows out; see `Runner.hold`."""
        self._running = [row for row in self._running if row not in rows]

    def end(self, rows: Collection[Row]) -> None:
        """Take rows out, and keep what they have read; see `Runner.end`."""
        with self._lock:
            self._running = [row for row in self._running if row not in rows]
            for row in rows:
                if (sequence := self._sequences.pop(row, None)) is not None:
                    self._keep(tuple(row.ids[: row.fed]), sequence)

    def forget(self, rows: Collection[Row]) -> None:
        """Take rows out and drop what they have read; see `Runner.forget`."""
        with self._lock:
            self._running = [row for row in self._running if row not in rows]
            for row in rows:
                if (sequence := self._sequences.pop(row, None)) is not None:
                    self._release(sequence)

    def clear(self) -> None:
        """Drop what is kept of rows that have ended; see `Runner.clear`."""
        with self._lock:
            while self._kept:
                self._release(self._kept.pop()[1])

    def score(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        """Score continuations of a prompt; see `Runner.score`."""
        if not prompt or not all(continuations):
            raise ValueError("a prompt and each of its continuations need at least one token to be scored")
        row, branch = Row(prompt), Row(())
        with self._lock:
            try:
                self.resume(row, len(row.ids))
                self._feed(row, len(row.ids) - 1)
                first = self._run([row]).words[0].log_softmax(dim=-1)
                totals = []
                for tokens in continuations:
                    total = float(first[tokens[0]])
                    self._context.share(self._sequence_of(row), self._sequence_of(branch), row.fed)
                    for start in range(0, len(tokens) - 1, self._context.most_states):
                        part = tokens[start : min(start + self._context.most_states, len(tokens) - 1)]
                        _, words = self._states([(branch, part, row.fed + start)])
                        following = torch.tensor(tokens[start + 1 : start + 1 + len(part)])
                        total += float(words.log_softmax(dim=-1).gather(1, following[:, None]).sum())
                    totals.append(total / len(tokens))
                    self.forget([branch])
                self.end([row])
                return totals
            finally:
                self.forget([row, branch])

    def _run(self, rows: list[Row]) -> Due:
        """Run all pending tokens of rows together, as far as they fit; with their states, if any row wants them."""
        if all(row.words_only for row in rows):
            return self._run_for_words(rows)
        hidden: list[torch.Tensor] = []
        words: list[torch.Tensor] = []
        sums: dict[Row, torch.Tensor] = {}
        for pack in self._packs(rows, self._context.most_states):
            parts = [(rows[i], rows[i].ids[start:stop], start) for i, start, stop in pack]
            states, logits = self._states(parts)
            at, last = 0, []
            for i, start, stop in pack:
                row = rows[i]
                if row.span is not None and row.mean is None and start < row.span[1]:
                    begin, end = max(row.span[0], start) - start, min(row.span[1], stop) - start
                    sums[row] = sums.get(row, 0.0) + states[at + begin : at + end].sum(dim=0)
                row.fed = stop
                at += stop - start
                if not row.pending:
                    last.append(at - 1)
            # Copied, since llama.cpp writes over them; in the order of the rows, which is that of the packs.
            hidden.append(states[last])
            words.append(logits[last])
        for row, total in sums.items():
            assert row.span is not None
            row.mean = total / (row.span[1] - row.span[0])
        return Due(rows, torch.cat(hidden), torch.cat(words)) if len(words) > 1 else Due(rows, hidden[0], words[0])

    def _run_for_words(self, rows: list[Row]) -> Due:
        words: list[torch.Tensor] = []
        for pack in self._packs(rows, self._context.most_tokens):
            logits = self._with_room(self._context.words, [(rows[i], rows[i].ids[a:b], a) for i, a, b in pack])
            for i, _, stop in pack:
                rows[i].fed = stop
            words.append(logits[[at for at, (i, *_) in enumerate(pack) if not rows[i].pending]])
        return Due(rows, torch.empty(len(rows), 0), torch.cat(words))

    def _packs(self, rows: Sequence[Row], most: int) -> list[list[tuple[int, int, int]]]:
        """Divide the rows' pending tokens, as (row, start, stop), into parts of `most` that run together."""
        packs: list[list[tuple[int, int, int]]] = []
        room = 0
        for i, row in enumerate(rows):
            start = row.fed
            while start < len(row.ids):
                if not room or len(packs[-1]) == self._context.most_states:
                    packs.append([])
                    room = most
                stop = min(len(row.ids), start + room)
                packs[-1].append((i, start, stop))
                room -= stop - start
                start = stop
        return packs

    def _feed(self, row: Row, length: int) -> None:
        """Run a row's tokens up to `length`, without their states."""
        if row.fed < length:
            sequence, tokens = self._sequence_of(row), row.ids[row.fed : length]
            while True:
                try:
                    self._context.feed(sequence, tokens, row.fed)
                    break
                except NoRoomError as error:
                    self._context.crop(sequence, row.fed)
                    self._make_room(error)
            row.fed = length

    def _states(self, parts: Sequence[tuple[Row, Sequence[int], int]]) -> tuple[torch.Tensor, torch.Tensor]:
        return self._with_room(self._context.states, parts)

    def _with_room(
        self,
        run: Callable[[Sequence[Part]], T],
        parts: Sequence[tuple[Row, Sequence[int], int]],
    ) -> T:
        numbered = [(self._sequence_of(row), tokens, start) for row, tokens, start in parts]
        while True:
            try:
                return run(numbered)
            except NoRoomError as error:
                self._make_room(error)

    def _make_room(self, error: NoRoomError) -> None:
        """Drop the least recently used beginning that is kept; without any left, memory is short."""
        if not self._kept:
            raise MemoryError(f"{error}; a larger n_ctx (in model_kwargs) has more room") from error
        self._release(self._kept.pop(0)[1])

    def _sequence_of(self, row: Row) -> int:
        if row not in self._sequences:
            if not self._free:
                if not self._kept:
                    raise MemoryError(f"more than {_SEQUENCES} texts are in use")
                self._release(self._kept.pop(0)[1])
            self._sequences[row] = self._free.pop()
        return self._sequences[row]

    def _keep(self, ids: tuple[int, ...], sequence: int) -> None:
        """Keep a sequence in the place of those that it covers, unless another covers it."""
        covered = [entry for entry in self._kept if common_prefix(ids, entry[0]) == len(ids)]
        if covered or not ids or not self._most_kept:
            self._release(sequence)
            for entry in covered[-1:]:
                self._kept.remove(entry)
                self._kept.append(entry)
            return
        for entry in [entry for entry in self._kept if common_prefix(entry[0], ids) == len(entry[0])]:
            self._kept.remove(entry)
            self._release(entry[1])
        self._kept.append((ids, sequence))
        while len(self._kept) > self._most_kept:
            self._release(self._kept.pop(0)[1])

    def _release(self, sequence: int) -> None:
        self._context.crop(sequence, 0)
        self._free.append(sequence)
