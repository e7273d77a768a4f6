"""`ServedRow`: one request in a vLLM server, from the hidden states that it needs to the token that ends it.

The classes of the engine in this process (`decoding.local`) choose every token; vLLM runs the LM, keeps the keys and
values, and decides which rows run together.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from langchain_toolken.decoding.copy_source import CopySource
from langchain_toolken.decoding.engine import DecodingRequest
from langchain_toolken.decoding.local.call_evidence import CallEvidence
from langchain_toolken.decoding.local.completer import Completer
from langchain_toolken.decoding.local.copying import SlotReading
from langchain_toolken.decoding.local.placed_toolkens import PlacedToolkens
from langchain_toolken.decoding.local.reasoner import Reasoner
from langchain_toolken.decoding.vllm.served import ServedLM
from langchain_toolken.decoding.vllm.wire import (
    REPORTED,
    Asked,
    Complete,
    Copying,
    Hello,
    Rank,
    Read,
    Reason,
    Report,
    Status,
    mask_of,
)
from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.prompts.requests import Request
from langchain_toolken.toolkens.slots import SlotText
from langchain_toolken.tools.narrowing import narrowed

_log = logging.getLogger(__name__)


class _UnreadError(Exception):
    """vLLM had tokens in its cache whose hidden states are needed."""


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


@dataclass(frozen=True, eq=False)
class _Decided:
    """Tokens that follow now and, if they are the last, how the row ended."""

    tokens: list[int]
    report: Report | None = None
    shown: Tensor | None = None


class _Decoder(Protocol):
    """Decides how one row goes on."""

    def decide(self, hidden: Tensor, words: Tensor) -> _Decided:
        """Continue the row after the state (1, d) and the word logits (1, V) of its last token."""
        ...


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
        self._decoder: _Decoder | None = None
        self._states = _Collected(_span(asked, len(prompt)), whole=isinstance(asked.task, Read))
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
        except _UnreadError:
            self._report = Report(Status.UNREAD)
        except Exception:  # noqa: BLE001 - it may not end the other rows
            _log.exception("a request of langchain-toolken failed")
            self._report = Report(Status.FAILED)
        else:
            self._pending.extend(decided.tokens)
            self._report, self._shown = decided.report, decided.shown

    def _begin(self) -> _Decoder:
        served, task = self._served, self._asked.task
        if isinstance(task, Hello):
            return _Fixed(Report(Status.DONE))
        if isinstance(task, Read):
            served.keep_reading(task.reading, self._states.all())
            return _Fixed(Report(Status.DONE))
        if isinstance(task, Complete):
            return _Completing(served, self.prompt, task)
        placed = served.placed(mask_of(task.active, len(served.toolkens)))
        evidence = self._evidence(placed, task.request)
        if isinstance(task, Rank):
            return _Ranking(served, placed, evidence)
        return _Reasoning(served, self.prompt, task, placed if task.toolkens else None, evidence)

    def _evidence(self, placed: PlacedToolkens, request: Request | None) -> CallEvidence | None:
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
            raise _UnreadError


def _span(asked: Asked, length: int) -> tuple[int, int] | None:
    """Return the tokens whose states are needed."""
    if isinstance(asked.task, Read):
        return asked.task.lead, length
    if isinstance(asked.task, Reason | Rank) and asked.task.request is not None:
        return asked.task.request.span
    return None


@dataclass(frozen=True)
class _Fixed:
    report: Report

    def decide(self, hidden: Tensor, words: Tensor) -> _Decided:
        """End the row."""
        return _Decided([], self.report)


def _with_toolkens(
    placed: PlacedToolkens | None, evidence: CallEvidence | None, hidden: Tensor, words: Tensor
) -> Tensor:
    """Put logits side by side as `Reasoner` and `CallEvidence` take them."""
    if placed is None:
        return words
    toolkens = toolken_logits(hidden, placed.matrix, placed.biases)
    if placed.mask is not None:
        toolkens = toolkens.masked_fill(~placed.mask, float("-inf"))
    parts = [words, toolkens.to(words.device)]
    if evidence is not None and (state := evidence.state_logits(hidden)) is not None:
        parts.append(state.to(words.device))
    return torch.cat(parts, dim=1)


class _Ranking:
    def __init__(self, served: ServedLM, placed: PlacedToolkens, evidence: CallEvidence | None) -> None:
        self._served, self._placed, self._evidence = served, placed, evidence

    def decide(self, hidden: Tensor, words: Tensor) -> _Decided:
        """Rank the tools, and end the row."""
        logits = _with_toolkens(self._placed, self._evidence, hidden, words)[0]
        if self._evidence is None:
            ranking = self._placed.ranked(logits, self._served.vocab_size)
        else:
            ranking = self._evidence.ranked(0, logits)
        number = {name: k for k, name in enumerate(self._placed.names)}
        return _Decided([], Report(Status.DONE, tuple((number[each.tool], each.probability) for each in ranking)))


class _Reasoning:
    def __init__(
        self,
        served: ServedLM,
        prompt: list[int],
        task: Reason,
        placed: PlacedToolkens | None,
        evidence: CallEvidence | None,
    ) -> None:
        self._served, self._task, self._placed = served, task, placed
        self._evidence = None if placed is None else evidence
        request = DecodingRequest(
            task.sampling,
            toolkens=served.toolkens if placed is not None else None,
            stop=task.stop,
            after_result=task.after_result,
            markers=task.markers,
            must_call=task.must_call,
            begun=task.begun,
            must_write=task.must_write,
        )
        self._reasoner = Reasoner(
            served,
            [prompt],
            request,
            limits=[task.sampling.max_tokens],
            toolkens=placed,
            guard=served.guard if task.after_result else None,
            evidence=self._evidence,
        )

    def decide(self, hidden: Tensor, words: Tensor) -> _Decided:
        """Choose the next token."""
        logits = _with_toolkens(self._placed, self._evidence, hidden, words)
        goes_on = bool(self._reasoner.choose([0], logits)[0])
        token = self._reasoner.chosen[0]
        marked = token in self._task.markers
        shown = self._weighed(logits) if self._task.shown or marked else None
        if goes_on:
            return _Decided([token], shown=shown)
        tokens = [] if token in self._served.eos_ids else [token]
        return _Decided(tokens, Report(Status.DONE, self._fired()), shown)

    def _weighed(self, logits: Tensor) -> Tensor:
        """Return (V+1,): the words, and all toolkens together, so that none of them takes a listed word's place."""
        weighed = self._reasoner.weighed(0, logits[0])
        words, toolkens = weighed[: self._served.vocab_size], weighed[self._served.vocab_size :]
        together = toolkens.logsumexp(dim=0) if len(toolkens) else words.new_tensor(float("-inf"))
        return torch.cat([words, together[None]])

    def _fired(self) -> tuple[tuple[int, float], ...]:
        (result,) = self._reasoner.results([0])
        if result.trigger is None or self._placed is None:
            return ()
        number = {name: k for k, name in enumerate(self._placed.names)}
        fired = (result.trigger, *result.runners_up) if result.marker is None else result.runners_up
        return tuple((number[each.tool], each.probability) for each in fired[:REPORTED])


class _Completing:
    def __init__(self, served: ServedLM, prompt: list[int], task: Complete) -> None:
        source, reading = None, None
        spec = task.spec
        if task.copying is not None:
            source, reading = _copying(served, task.copying)
        if reading is not None:
            spec = narrowed(spec, reading.decided)
        self._most = task.max_tokens
        self._completer = Completer(
            *([prompt], [spec], task.max_tokens),
            room=lambda _: task.max_tokens,
            grammars=served.grammars,
            copying=[source],
            readings=[reading],
        )
        self._given = 0
        self._begun = False

    def decide(self, hidden: Tensor, words: Tensor) -> _Decided:
        """Choose the next tokens: one, and those that the grammar then forces."""
        if not self._begun:  # the grammar may force the first ones too, and this state is of the prompt's end
            self._begun = True
            if tokens := self._new():
                return _Decided(tokens, None if self._completer.prompts else Report(Status.DONE))
            if not self._completer.prompts:
                return _Decided([], Report(Status.DONE))
        goes_on = bool(self._completer.choose([0], words)[0])
        return _Decided(self._new(), None if goes_on else Report(Status.DONE))

    def _new(self) -> list[int]:
        written = self._completer.ids[0]
        # One more than the limit tells the client that it was passed.
        new = written[self._given : self._most + 1]
        self._given = len(written)
        return new


def _copying(served: ServedLM, copying: Copying) -> tuple[CopySource, SlotReading | None]:
    examples = served.toolkens.examples
    slots = {} if copying.slots is None or examples.slots is None else examples.slots.of_tool.get(copying.slots, {})
    source = CopySource(copying.text, copying.nats, slots)
    if not slots or copying.reading is None:
        return source, None
    states = served.readings.pop(copying.reading, None)
    if states is None:
        raise _UnreadError
    text = SlotText.of(served.tokenizer, copying.text)
    features = text.features(states)
    return source, SlotReading(text.words, {name: slot.scores(features) for name, slot in slots.items()})
