"""How one request in a vLLM server goes on: with a ranking, with words until a toolken fires, or with arguments."""

from __future__ import annotations

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
from langchain_toolken.decoding.vllm.wire import REPORTED, Complete, Copying, Reason, Report, Status
from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.toolkens.slots import SlotText
from langchain_toolken.tools.narrowing import narrowed


class UnreadError(Exception):
    """vLLM had tokens in its cache whose hidden states are needed."""


@dataclass(frozen=True, eq=False)
class Decided:
    """Tokens that follow now and, if they are the last, how the row ended."""

    tokens: list[int]
    report: Report | None = None
    shown: Tensor | None = None


class Decoder(Protocol):
    """Decides how one row goes on."""

    def decide(self, hidden: Tensor, words: Tensor) -> Decided:
        """Continue the row after the state (1, d) and the word logits (1, V) of its last token."""
        ...


@dataclass(frozen=True)
class FixedDecoder:
    """Ends a row at once, with a report."""

    report: Report

    def decide(self, hidden: Tensor, words: Tensor) -> Decided:
        """End the row."""
        return Decided([], self.report)


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


class RankingDecoder:
    """Ranks the tools after the prompt.

    Args:
        served: The LM and the toolkens.
        placed: The toolkens that are ranked.
        evidence: What else says when to call and which tool.
    """

    def __init__(self, served: ServedLM, placed: PlacedToolkens, evidence: CallEvidence | None) -> None:
        self._served, self._placed, self._evidence = served, placed, evidence

    def decide(self, hidden: Tensor, words: Tensor) -> Decided:
        """Rank the tools, and end the row."""
        logits = _with_toolkens(self._placed, self._evidence, hidden, words)[0]
        if self._evidence is None:
            ranking = self._placed.ranked(logits, self._served.vocab_size)
        else:
            ranking = self._evidence.ranked(0, logits)
        number = {name: k for k, name in enumerate(self._placed.names)}
        return Decided([], Report(Status.DONE, tuple((number[each.tool], each.probability) for each in ranking)))


class ReasoningDecoder:
    """Writes words until the LM ends or a toolken fires.

    Args:
        served: The LM and the toolkens.
        prompt: Token ids.
        task: What is wanted.
        placed: The toolkens that may fire; None for words alone.
        evidence: What else says when to call and which tool.
    """

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
            calls_first=task.calls_first,
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

    def decide(self, hidden: Tensor, words: Tensor) -> Decided:
        """Choose the next token."""
        logits = _with_toolkens(self._placed, self._evidence, hidden, words)
        goes_on = bool(self._reasoner.choose([0], logits)[0])
        token = self._reasoner.chosen[0]
        marked = token in self._task.markers
        shown = self._weighed(logits) if self._task.shown or marked else None
        if goes_on:
            return Decided([token], shown=shown)
        tokens = [] if token in self._served.eos_ids else [token]
        return Decided(tokens, Report(Status.DONE, self._fired()), shown)

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


class CompletingDecoder:
    """Writes a tool's arguments under its grammar.

    Args:
        served: The LM and the toolkens.
        prompt: Token ids.
        task: What is wanted.

    Raises:
        UnreadError: The text that slots need was not read.
    """

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

    def decide(self, hidden: Tensor, words: Tensor) -> Decided:
        """Choose the next tokens: one, and those that the grammar then forces."""
        if not self._begun:  # the grammar may force the first ones too, and this state is of the prompt's end
            self._begun = True
            if tokens := self._new():
                return Decided(tokens, None if self._completer.prompts else Report(Status.DONE))
            if not self._completer.prompts:
                return Decided([], Report(Status.DONE))
        goes_on = bool(self._completer.choose([0], words)[0])
        return Decided(self._new(), None if goes_on else Report(Status.DONE))

    def _new(self) -> list[int]:
        written = self._completer.ids[0]
        # One more than the limit tells the client that it was passed.
        new = written[self._given : self._most + 1]
        self._given = len(written)
        return new


def _copying(served: ServedLM, copying: Copying) -> tuple[CopySource, SlotReading | None]:
    examples = served.toolkens.examples
    slots = {} if copying.slots is None or examples.slots is None else examples.slots.of_tool.get(copying.slots, {})
    source = CopySource(copying.text, copying.nats, slots, copying.choices)
    if not slots or copying.reading is None:
        return source, None
    states = served.readings.pop(copying.reading, None)
    if states is None:
        raise UnreadError
    text = SlotText.of(served.tokenizer, copying.text)
    features = text.features(states)
    return source, SlotReading(text.words, {name: slot.scores(features) for name, slot in slots.items()})
