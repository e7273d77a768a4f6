"""Decide whether one answer may make several calls (`decoding.parts`): does that help with two requests, and hurt none?

Demonstrations of two requests in one message are rare, so they are made of single ones. The demonstrations that look as
if they had several parts, and single ones beside a plain sentence, are the other side: they are to get one call. All
their tools and slots were fitted to the single requests, but neither to the parts nor to the whole messages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from langchain_core.messages import HumanMessage

from langchain_toolken.decoding.engine import Candidate, Engine
from langchain_toolken.decoding.local.engine import local_engine
from langchain_toolken.decoding.parts import Values, calls_of, log_odds, parts_of
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.blocks import message_text
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.requests import request_of
from langchain_toolken.prompts.turns import turns_of
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.arguments import BATCH
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.negatives import plain_requests

_PAIRS = 24  # messages of two requests
_BESIDE = 12  # requests beside a plain sentence
_MOST = 40  # requests of several parts
_FEWEST = 6  # pairs, with fewer of which nothing is decided
_RIGHT = 0.5  # of the pairs that have to get their two calls
_HURT = 0.02  # of the single requests that may get another one


@dataclass(frozen=True)
class Message:
    """A message, and the tools that it asks for."""

    text: str
    tools: tuple[str, ...]


@dataclass(frozen=True)
class ParallelTrial:
    """How messages did with several calls in an answer.

    Attributes:
        right: How many messages of two requests got a call of each tool.
        pairs: Of how many.
        hurt: How many single or plain requests got several calls.
        singles: Of how many, those of one part included.
    """

    right: int
    pairs: int
    hurt: int
    singles: int

    @property
    def pays(self) -> bool:
        """Whether several calls should be the default."""
        enough = self.pairs >= _FEWEST and self.right >= _RIGHT * self.pairs
        return enough and self.hurt <= _HURT * self.singles


def with_parallel_calls(
    lm: LanguageModel,
    toolkens: ToolkenSet,
    demonstrations: Sequence[Demonstration],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> ToolkenSet:
    """Make several calls in an answer a set's default, if demonstrations make them or a trial says that it pays."""
    shown = any(one.parallel for one in demonstrations)
    engine = local_engine(lm, max_batch_size=BATCH)
    trial = None if shown else parallel_trial(engine, toolkens, demonstrations, seed=seed, progress=progress)
    if not shown and (trial is None or not trial.pays):
        return toolkens
    return replace(toolkens, provenance=toolkens.provenance.model_copy(update={"parallel_calls": True}))


def parallel_trial(
    engine: Engine,
    toolkens: ToolkenSet,
    demonstrations: Sequence[Demonstration],
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> ParallelTrial | None:
    """Try several calls in an answer; None where a set can't tell the parts of a message, or has too few requests.

    Args:
        engine: The engine that ranks the tools and reads the values.
        toolkens: The whole set.
        demonstrations: What it was fitted on.
        seed: Decides which messages are made.
        progress: Called with (done, total, what).
    """
    gate = None if toolkens.evidence is None else toolkens.evidence.gate
    if gate is None or toolkens.provenance.style != "chat" or toolkens.provenance.reinjection == "inline":
        return None
    singles = single_requests(demonstrations)
    calling = [one for one in singles if one.tools]
    pairs = made_pairs(calling, seed)
    if len(pairs) < _FEWEST:
        return None
    plain = [Message(text, ()) for text in plain_requests("default")]
    looked_at = [one for one in [*singles, *plain] if len(parts_of(one.text)) > 1]
    rng = Random(f"requests of several parts {seed}")
    looked_at = rng.sample(looked_at, min(_MOST, len(looked_at)))
    beside = [
        Message(_joined(one.text, other.text, place), one.tools)
        for place, (one, other) in enumerate(
            zip(rng.choices(calling, k=_BESIDE), rng.sample(plain, min(_BESIDE, len(plain))), strict=False)
        )
    ]
    messages = [*pairs, *looked_at, *beside]
    texts = list(dict.fromkeys(text for one in messages for text in (one.text, *parts_of(one.text))))
    ranked = _ranked(engine, toolkens, texts, progress)
    values = Values(engine, toolkens, {spec.name: spec for spec in toolkens.specs})

    def made(message: Message) -> tuple[str, ...]:
        whole, parts = ranked[message.text], parts_of(message.text)
        if log_odds(math.fsum(each.probability for each in whole)) <= gate.threshold:
            return ()
        rankings = [ranked[part] for part in parts]
        return tuple(each.tool.tool for each in calls_of(message.text, parts, rankings, whole, gate.threshold, values))

    right = sum(made(one) == one.tools for one in pairs)
    hurt = sum(bool(made(one)) for one in [*looked_at, *beside])
    return ParallelTrial(right, len(pairs), hurt, len(singles) + len(looked_at) + len(beside))


def single_requests(demonstrations: Sequence[Demonstration]) -> list[Message]:
    """Return the requests of one message that demonstrations answer with one call at once, or with none."""
    found = []
    for one in demonstrations:
        alone = len(one.before) == 1 and isinstance(one.before[0], HumanMessage)
        at_once = not one.calls or not one.text[: one.calls[0].start].strip()
        if alone and at_once and len(one.calls) < 2:
            found.append(Message(message_text(one.before[0]).strip(), tuple(call.tool for call in one.calls)))
    return [one for one in dict.fromkeys(found) if one.text]


def made_pairs(requests: Sequence[Message], seed: int = 0) -> list[Message]:
    """Make messages of two requests for different tools, all tools in turn."""
    rng = Random(f"two requests in one message {seed}")
    shuffled = rng.sample(requests, len(requests))
    pairs = []
    for place, one in enumerate(shuffled[:_PAIRS]):
        others = [other for other in shuffled if other.tools != one.tools]
        if others:
            other = rng.choice(others)
            pairs.append(Message(_joined(one.text, other.text, place), (*one.tools, *other.tools)))
    return pairs


def _joined(one: str, other: str, place: int) -> str:
    """Join two requests, in one of three ways in turn."""
    ended = one if one[-1] in ".!?" else f"{one}."
    # "I" and names keep their capitals.
    later = other[0].lower() + other[1:] if other[1:2].islower() else other
    return (f"{one.rstrip('.!?')} and {later}", f"{ended} Also, {later}", f"{ended} {other}")[place % 3]


def _ranked(
    engine: Engine, toolkens: ToolkenSet, texts: Sequence[str], progress: Progress | None
) -> dict[str, tuple[Candidate, ...]]:
    """Rank the tools for each text, as a request of its own."""
    layout, found = PromptFormat("chat", "turn"), dict[str, tuple[Candidate, ...]]()
    ordered = sorted(texts, key=len)
    for start in range(0, len(ordered), BATCH):
        some = ordered[start : start + BATCH]
        asked = [[HumanMessage(text)] for text in some]
        prompts = [render(engine.tokenizer, messages, layout) for messages in asked]
        requests = [request_of(engine.tokenizer, turns_of(messages, "turn"), layout) for messages in asked]
        found |= zip(some, engine.rank(prompts, toolkens=toolkens, requests=requests), strict=True)
        if progress is not None:
            progress(len(found), len(texts), "try two requests in one message")
    return found
