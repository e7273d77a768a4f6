"""`Runner`: the one thing that differs between LMs in this process: who runs the tokens, and keeps keys and values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from langchain_toolken.decoding.local.row import Row


@dataclass(frozen=True, eq=False)
class Due:
    """Rows whose next token has to be chosen now.

    Attributes:
        rows: The rows; all their tokens have run.
        hidden: Their last hidden states (n, d), as the output head takes them; meaningless for rows of `words_only`.
        words: Their word logits (n, V), float32.
    """

    rows: list[Row]
    hidden: Tensor
    words: Tensor


class Runner(Protocol):
    """Runs rows through an LM, step by step, and keeps their caches. Only `score` is called by more than one thread.

    A row waits, runs, or is held: taken out to go on later from where it is. A row whose decoding ends leaves its cache
    for prompts that begin alike. If memory runs out, what `short_memory` recognises is raised.
    """

    @property
    def rows(self) -> Sequence[Row]:
        """The rows that run."""
        ...

    def resume(self, row: Row, most: int) -> None:
        """Let a waiting row begin with what is cached of its first `most` tokens (the last of them not included)."""
        ...

    def groups(self, rows: Sequence[Row]) -> list[list[Row]]:
        """Divide rows that start into those that `start` together."""
        ...

    def start(self, rows: list[Row]) -> Due:
        """Run all pending tokens of rows that waited or were held. They run from now on."""
        ...

    def step(self) -> Due:
        """Run pending tokens of every row, all of them in at least one row."""
        ...

    def hold(self, rows: Collection[Row]) -> None:
        """Take rows out, and keep their caches for when they start again."""
        ...

    def end(self, rows: Collection[Row]) -> None:
        """Take rows out wherever they are, and keep what they have run for prompts that begin alike."""
        ...

    def forget(self, rows: Collection[Row]) -> None:
        """Take rows out and drop their caches, which may be damaged; they have to start again."""
        ...

    def clear(self) -> None:
        """Drop what is kept of rows that have ended."""
        ...

    def score(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        """Compute the mean log-probability per token of each continuation, over the words alone.

        The mean, and not the sum, so that a long continuation is not at a disadvantage.

        Raises:
            ValueError: The prompt or a continuation is empty.
        """
        ...
