"""Demonstrations that answer one message with several calls, as one request for each call.

ToolkenChat parts such messages (`decoding.parts`) and asks each part for its tool and its arguments, so that is what is
learnt. From whole messages each tool would learn the other's words too: with ten such demonstrations beside 92 single
ones SmolLM2 then made both calls for 8 of 16 everyday messages, and 13 from parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, pairwise, permutations

from langchain_core.messages import HumanMessage

from langchain_toolken.decoding.local.copying import value_spans
from langchain_toolken.decoding.parts import parts_of
from langchain_toolken.prompts.blocks import message_text
from langchain_toolken.prompts.format import Reinjection, Style
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.demonstrations.load import LoadedDemonstrations


def with_parted_requests(
    loaded: LoadedDemonstrations, style: Style, reinjection: Reinjection | None
) -> LoadedDemonstrations:
    """Part the messages that got calls of different tools, where parts and calls can be told to belong together.

    Nothing is parted for answers that go on in the same text after a result, which make one call after the other.
    """
    if style != "chat" or reinjection == "inline":
        return loaded
    demonstrations, at = loaded.demonstrations, 0
    parted: list[Demonstration] = []
    while at < len(demonstrations):
        made = _made_together(demonstrations, at)
        parts = requests_of(message_text(made[0].before[-1]), [one.calls[0] for one in made]) if made else None
        if parts is None:
            parted.append(demonstrations[at])
            at += 1
            continue
        before = made[0].before[:-1]
        for one, part in zip(made, parts, strict=True):
            parted.append(one.model_copy(update={"before": (*before, HumanMessage(part))}))
        at += len(made)
    return replace(loaded, demonstrations=tuple(parted))


def requests_of(message: str, calls: Sequence[DemonstratedCall]) -> list[str] | None:
    """Return the part of a message that each of its calls is for; None where that can't be told.

    The parts are those that have most of their calls' values. Where there are as many parts as calls and none has any,
    they belong together in their order.
    """
    parts, spans, stop = parts_of(message), [], 0
    for part in parts:
        start = message.index(part, stop)
        stop = start + len(part)
        spans.append((start, stop))
    best, most = None, 0 if len(parts) == len(calls) else 1
    for cuts in combinations(range(1, len(parts)), len(calls) - 1):
        texts = [message[spans[a][0] : spans[b - 1][1]] for a, b in pairwise((0, *cuts, len(parts)))]
        for order in permutations(texts):
            found = sum(_values_in(text, call) for text, call in zip(order, calls, strict=True))
            if found > most or (best is None and found == most):
                best, most = [*order], found
    return best


def _values_in(text: str, call: DemonstratedCall) -> int:
    values = call.args.values() if isinstance(call.args, dict) else ()
    return sum(len(value_spans(value, text)) for value in values)


def _made_together(demonstrations: Sequence[Demonstration], at: int) -> list[Demonstration]:
    """Return the demonstrations, from one on, whose calls were made in the same message, of different tools.

    Empty where it is its only call, or a tool is called twice.
    """
    group = [*_group(demonstrations, at)]
    tools = {one.calls[0].tool for one in group}
    return group if len(group) > 1 and len(tools) == len(group) else []


def _group(demonstrations: Sequence[Demonstration], at: int) -> Iterator[Demonstration]:
    first = demonstrations[at]
    if first.parallel or not first.before or not isinstance(first.before[-1], HumanMessage):
        return
    for number in range(len(demonstrations) - at):
        one = demonstrations[at + number]
        # Each call before it and that call's result
        follows = len(one.before) == len(first.before) + 2 * number and one.before[: len(first.before)] == first.before
        if len(one.calls) != 1 or one.text.strip() or not follows or one.parallel != (number > 0):
            return
        yield one
