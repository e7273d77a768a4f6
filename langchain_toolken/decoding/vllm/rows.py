"""`ServedRow`: one request in a vLLM server, from the hidden states that it needs to the token that ends it.

The classes of the engine in this process (`decoding.local`) choose every token; vLLM runs the LM, keeps the keys and
values, and decides which rows run together.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.decoding.local.call_evidence import CallEvidence
from langchain_toolken.decoding.local.placed_toolkens import PlacedToolkens
from langchain_toolken.decoding.vllm.chat_decoder import ChatDecoder, request_in
from langchain_toolken.decoding.vllm.decoders import (
    CompletingDecoder,
    Decoder,
    FixedDecoder,
    RankingDecoder,
    ReasoningDecoder,
    UnreadError,
)
from langchain_toolken.decoding.vllm.served import ServedLM
from langchain_toolken.decoding.vllm.wire import (
    Asked,
    Chat,
    Complete,
    Hello,
    Rank,
    Read,
    Reason,
    Report,
    Status,
    mask_of,
)
from langchain_toolken.prompts.requests import Request

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Chosen:
    """What a row continues with.

    Attributes:
        token: The token.
        shown: Logits by token id, all others minus infinity, or a whole row of them: what the token's log-probability
            and those beside it are to be computed from. None for the LM's own.
    """

    token: int
    shown: dict[int, float] | Tensor | None = None


class ServedRow:
    """One request.

    Args:
        served: The LM and the toolkens.
        prompt: Token ids.
        asked: What is wanted.

    Attributes:
        prompt: Token ids.
        written: How many tokens were chosen so far.
    """

    def __init__(self, served: ServedLM, prompt: list[int], asked: Asked) -> None:
        self.prompt = prompt
        self.written = 0
        self._served = served
        self._asked = asked
        self._pending: deque[int] = deque()
        self._report: Report | None = None
        self._shown: Tensor | None = None
        self._decoder: Decoder | None = None
        self._request = _request(served, prompt, asked)
        span = None if self._request is None else self._request.span
        if isinstance(asked.task, Read):
            span = asked.task.lead, len(prompt)
        self._states = _Collected(span, whole=isinstance(asked.task, Read))
        if asked.toolkens not in (None, served.fingerprint):
            self._report = Report(Status.OTHER_TOOLKENS)

    @property
    def length(self) -> int:
        """How many tokens have run once the next one can be chosen."""
        return len(self.prompt) + self.written

    def collect(self, start: int, states: Tensor) -> None:
        """Take hidden states (n, d) of the tokens from `start` on."""
        if not self.written:
            self._states.take(start, states)

    def choose(self, hidden: Tensor, words: Tensor) -> Chosen:
        """Choose the next token after a state (1, d) and its word logits (1, V), float32."""
        if not self._pending and self._report is None:
            self._decide(hidden, words)
        self.written += 1
        if self._pending:
            return Chosen(self._pending.popleft(), self._shown)
        assert self._report is not None
        return Chosen(self._served.end, self._report.logits(self._served.vocab_size))

    def _decide(self, hidden: Tensor, words: Tensor) -> None:
        try:
            if self._decoder is None:
                self._decoder = self._begin()
            decided = self._decoder.decide(hidden, words)
        except UnreadError:
            self._report = Report(Status.UNREAD)
        except Exception:  # noqa: BLE001 - it may not end the other rows
            _log.exception("a request of langchain-toolken failed")
            self._report = Report(Status.FAILED)
        else:
            self._pending.extend(decided.tokens)
            self._report, self._shown = decided.report, decided.shown

    def _begin(self) -> Decoder:
        served, task = self._served, self._asked.task
        if isinstance(task, Hello):
            return FixedDecoder(Report(Status.DONE))
        if isinstance(task, Read):
            served.keep_reading(task.reading, self._states.all())
            return FixedDecoder(Report(Status.DONE))
        if isinstance(task, Complete):
            return CompletingDecoder(served, self.prompt, task)
        if isinstance(task, Chat):
            named = {spec.name for spec in task.tools} if task.choice in ("auto", "required") else {task.choice}
            placed = served.placed([name in named for name in served.toolkens.names])
            return ChatDecoder(served, self.prompt, task, placed, self._evidence(placed))
        placed = served.placed(mask_of(task.active, len(served.toolkens)))
        evidence = self._evidence(placed)
        if isinstance(task, Rank):
            return RankingDecoder(served, placed, evidence)
        return ReasoningDecoder(served, self.prompt, task, placed if task.toolkens else None, evidence)

    def _evidence(self, placed: PlacedToolkens) -> CallEvidence | None:
        request = self._request
        if placed.evidence is None or request is None:
            return None
        evidence = CallEvidence(placed, placed.evidence, [request], self._served.vocab_size)
        mean = self._served.means.get(self.prompt, request.span)
        if mean is None:
            mean = self._states.mean()
            self._served.means.put(self.prompt, request.span, mean)
        evidence.read(0, mean)
        return evidence


class _Collected:
    """The states of some tokens of a prompt, which may come in parts."""

    def __init__(self, span: tuple[int, int] | None, *, whole: bool) -> None:
        self._span = span
        self._whole = whole
        self._sum: Tensor | None = None
        self._parts: list[Tensor] = []
        self._next = -1

    def take(self, start: int, states: Tensor) -> None:
        """Take the states (n, d) of the tokens from `start` on."""
        if self._span is None:
            return
        first, last = max(start, self._span[0]), min(start + len(states), self._span[1])
        if first >= last:
            return
        if first == self._span[0]:  # vLLM may begin again
            self._sum, self._parts, self._next = None, [], first
        if first != self._next:
            return
        part = states[first - start : last - start].float()
        self._next = last
        if self._whole:
            self._parts.append(part.cpu())
        else:
            self._sum = part.sum(dim=0) if self._sum is None else self._sum + part.sum(dim=0)

    def mean(self) -> Tensor:
        """Return the mean (d,)."""
        self._check()
        assert self._sum is not None
        assert self._span is not None
        return self._sum / (self._span[1] - self._span[0])

    def all(self) -> Tensor:
        """Return all of them (n, d)."""
        self._check()
        return torch.cat(self._parts)

    def _check(self) -> None:
        if self._span is None or self._next != self._span[1]:
            raise UnreadError


def _request(served: ServedLM, prompt: list[int], asked: Asked) -> Request | None:
    """Return what the user asked, where toolkens with evidence need it."""
    if isinstance(asked.task, Reason | Rank):
        return asked.task.request
    return request_in(served, prompt, asked.task) if isinstance(asked.task, Chat) else None
