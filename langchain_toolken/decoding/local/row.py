"""`Row`: one sequence that is decoded."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


class Row:
    """One sequence.

    Attributes:
        ids: The prompt, and the tokens chosen so far.
        fed: How many of `ids` the LM has seen. Their keys and values are in the runner's cache.
        reused: How many of the prompt's tokens came out of the prefix cache.
        span: The tokens of the prompt, as (start, stop), whose mean state is wanted; None for none.
        words_only: Whether word logits are all that is wanted, and no states.
        mean: The mean hidden state (d,) of the span, float32; None until it is known.
    """

    def __init__(self, prompt: Sequence[int], span: tuple[int, int] | None = None, *, words_only: bool = False) -> None:
        self.ids = list(prompt)
        self.span = span
        self.words_only = words_only
        self.mean: Tensor | None = None
        self.fed = 0
        self.reused = 0

    @property
    def pending(self) -> int:
        """How many tokens the LM has not seen."""
        return len(self.ids) - self.fed

    def restart(self) -> None:
        """Let all tokens run again."""
        self.fed = self.reused = 0
