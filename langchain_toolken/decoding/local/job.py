"""`Job`: the sequences of one caller, and how far they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from torch import Tensor

from langchain_toolken.decoding.local.call_evidence import CallEvidence
from langchain_toolken.decoding.local.placed_toolkens import PlacedToolkens
from langchain_toolken.decoding.local.row import Row

# Rows that are due for a choice (indices into the job's prompts) and their logits (n, V+K), or as `CallEvidence` takes
# them -> the tokens that each continues with; none when it has ended.
Choose = Callable[[list[int], Tensor], list[list[int]]]

_AHEAD = 32  # steps that a stream may be ahead of its reader before it makes room for others


class Job:
    """The sequences of one caller.

    Args:
        prompts: Token ids, each with at least one token.
        choose: Decides how rows continue. It is called in the scheduler's thread.
        toolkens: The toolkens; None for words alone.
        evidence: What else is known of the prompts; None for the toolkens alone.
        read_by_steps: The caller follows the steps (`Scheduler.steps`), so the job waits when it is far ahead.

    Attributes:
        rows: One for each prompt.
        open: How many rows have not ended.
        error: What the caller's wait raises; None for a job that ended normally.
        ended: Set once no row will run any more.
        moved: Set after every step and at the end.
        steps: Steps so far.
        steps_read: Steps that the caller has seen; None if it does not follow them.
        tried_again: Whether a lack of memory has already sent it back once.
    """

    def __init__(
        self,
        prompts: Sequence[Sequence[int]],
        choose: Choose,
        toolkens: PlacedToolkens | None,
        *,
        evidence: CallEvidence | None = None,
        read_by_steps: bool = False,
    ) -> None:
        spans = [None] * len(prompts) if evidence is None else evidence.spans
        self.rows = [
            Row(prompt, span, words_only=toolkens is None) for prompt, span in zip(prompts, spans, strict=True)
        ]
        self.choose = choose
        self.toolkens = toolkens
        self.evidence = evidence
        self.open = len(self.rows)
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self.moved = threading.Event()
        self.steps = 0
        self.steps_read: int | None = 0 if read_by_steps else None
        self.tried_again = False
        if not self.rows:
            self.end(None)

    @property
    def reused(self) -> list[int]:
        """How many tokens of each prompt came out of the prefix cache."""
        return [row.reused for row in self.rows]

    @property
    def held_back(self) -> bool:
        """Whether its reader is so far behind that the job has to wait."""
        return self.steps_read is not None and self.steps - self.steps_read >= _AHEAD

    def end(self, error: BaseException | None) -> None:
        """Wake the caller. Only the first call has an effect."""
        if not self.ended.is_set():
            self.error = error
            self.ended.set()
            self.moved.set()
