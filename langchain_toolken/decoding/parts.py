"""Several requests in one message: which parts of it ask for a call each, so that one answer can make the calls.

A message is parted at ends of sentences and at "and", "then" and "also". Each part is ranked as a message of its own,
by the same toolkens and gate that decide about single requests, and slots (`toolkens.slots`) read its values. A part is
a call

- of the tool that it asks for, if that is another one than the call before has, and all values that it needs are in
  this part;
- of the tool of the call before, if it has another value for one of that call's arguments ("the weather in Oslo and in
  Rome"), and both are likelier as two values than as one ("lunch with Eva and Jo"). Lists take all values in one call.

Any other part belongs to the one before it. The tools have to be the likeliest ones of the whole message too, in any
order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_toolken.decoding.engine import Candidate, Engine, ReadValue, SlotReader
from langchain_toolken.tools.schemas import fields_of
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.tools.value_kinds import json_types

if TYPE_CHECKING:
    from langchain_toolken.toolkens.set import ToolkenSet

_MOST_PARTS = 5
"""A trigger names four runners-up, so no more tools can be the likeliest ones of the whole message."""

# SmolLM2, everyday tools, in nats: a value that a part has scores 1.8 or more, one that it lacks mostly less than 1.3;
# another value of the same argument 3.7 or more, words that are none mostly less than 2.5.
_THERE = 1.5
_ANOTHER = 2.5
_LONGEST = 1_200  # characters, as for slots
_SURE = 0.9  # of p(call) for a tool, with less of which a part may well go on with the call before

_JOINING = r"(?:(?:and|then|also)\b[\s,]*)"
_SEPARATOR = re.compile(
    rf"(?:(?<=[.!?;])\s+|(?<=[。！？；])\s*){_JOINING}*|[\s,]+{_JOINING}+",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w")


@dataclass(frozen=True)
class PartCall:
    """A part of a message and the tool that it asks for.

    Attributes:
        text: The part.
        tool: The tool, with its probability for that part alone.
        changes: What the call has other than the call before, which has all its other arguments; None for a call with
            arguments of its own.
        values: What slots read in the part, by parameter.
    """

    text: str
    tool: Candidate
    changes: Mapping[str, Any] | None = None
    values: Mapping[str, ReadValue] = field(default_factory=dict)


def parts_of(message: str) -> list[str]:
    """Part a message; a single part if nothing in it says that there are more, or if there are too many."""
    parts = [part.strip() for part in _SEPARATOR.split(message) if _WORD.search(part)]
    return parts if 1 < len(parts) <= _MOST_PARTS else [message]


def calls_of(
    message: str,
    parts: Sequence[str],
    rankings: Sequence[Sequence[Candidate]],
    whole: Sequence[Candidate],
    threshold: float,
    values: Values,
) -> list[PartCall]:
    """Choose the calls that parts of a message ask for.

    Args:
        message: The message.
        parts: From `parts_of`, in order.
        rankings: The tools of each part, likeliest first, with their probabilities over words and tools.
        whole: The tools of the whole message, likeliest first.
        threshold: The log odds of a call above which a part asks for one.
        values: Reads the parts.

    Returns:
        At least two calls, in the parts' order; or none, where the message is one request.
    """
    found: list[PartCall] = []
    begin = stop = 0
    for text, ranking in zip(parts, rankings, strict=True):
        start = message.index(text, stop)
        stop = start + len(text)
        call = _call_of(message[begin if not found else start : stop], ranking, found, threshold, values)
        if call is not None:
            found.append(call)
            begin = start if len(found) > 1 else begin
        elif found:
            found[-1] = values.longer(found[-1], message[begin:stop])
    tools = {each.tool.tool for each in found}
    likeliest = {each.tool for each in whole[: len(tools)]}
    return found if len(found) > 1 and tools == likeliest else []


def _call_of(
    text: str, ranking: Sequence[Candidate], found: Sequence[PartCall], threshold: float, values: Values
) -> PartCall | None:
    called = math.fsum(each.probability for each in ranking)
    if not ranking or log_odds(called) <= threshold:
        return None
    tool, last = ranking[0], found[-1] if found else None
    if last is None or (tool.tool != last.tool.tool and tool.probability >= _SURE * called):
        read = values.of(tool.tool, text)
        if values.least_sure(tool.tool, read) > _THERE:
            return PartCall(text, tool, values=read or {})
    return None if last is None else values.again(last, text, called)


@dataclass(frozen=True)
class Values:
    """Reads the values in parts of a message, where the engine and the toolkens can.

    Attributes:
        engine: The engine.
        toolkens: The toolkens, with their slots.
        specs: The tools.
    """

    engine: Engine
    toolkens: ToolkenSet
    specs: Mapping[str, ToolSpec]

    def of(self, tool: str, text: str, begin: int = 0) -> dict[str, ReadValue] | None:
        """Return what a text from `begin` on says of a tool's parameters; None where that can't be read."""
        slots = None if self.toolkens.examples.slots is None else self.toolkens.examples.slots.of_tool.get(tool)
        if not slots or not isinstance(self.engine, SlotReader) or len(text) > _LONGEST:
            return None
        return self.engine.read_values(text, begin, slots, lists_of(self.specs[tool]))

    def least_sure(self, tool: str, read: Mapping[str, ReadValue] | None) -> float:
        """Return the score of the least sure of the values that a call needs; infinity where slots can't tell."""
        spec = self.specs[tool]
        needed = {name: value for name, value in (read or {}).items() if name in spec.json_schema.get("required", ())}
        scores = (
            value.score if value.numbers or not _is_number(spec, name) else min(value.score, 0.0)
            for name, value in needed.items()
        )
        return min(scores, default=math.inf)

    def again(self, last: PartCall, text: str, called: float) -> PartCall | None:
        """Return the call of the same tool with other values that a part asks for, if it does."""
        before, spec = f"{last.text} ", self.specs[last.tool.tool]
        new = self.of(spec.name, before + text, len(before))
        both = self.of(spec.name, before + text)
        if not new or both is None:
            return None
        changes = {
            name: value
            for name, read in new.items()
            if name in last.values and name not in lists_of(spec)
            if (value := value_of(read, None, spec, name)) is not None
            if _two_values(last.values[name], read, both[name])
        }
        # What is new beside another value, such as a day that the call before does not have.
        beside = {
            name: value
            for name, read in new.items()
            if changes and name not in changes and read.score > _ANOTHER
            if (value := value_of(read, None, spec, name)) is not None
        }
        tool = Candidate(last.tool.tool, called)
        return PartCall(text, tool, {**changes, **beside}, {**last.values, **new}) if changes else None

    def longer(self, call: PartCall, text: str) -> PartCall:
        """Return a call whose part has become longer."""
        if call.changes is not None:
            return call
        return PartCall(text, call.tool, values=self.of(call.tool.tool, text) or {})


def lists_of(spec: ToolSpec) -> list[str]:
    """Return the parameters of a tool that take lists."""
    root = spec.json_schema
    return [name for name, field in fields_of(root, root).schemas.items() if json_types(field, root) == {"array"}]


def value_of(read: ReadValue, earlier: Any, spec: ToolSpec, name: str) -> Any:
    """Return what is read as a value of the parameter's kind, None where it is none or the earlier one."""
    if not read.texts or read.score <= 0:
        return None
    value: Any = read.texts[0]
    if isinstance(earlier, list) or name in lists_of(spec):
        value = list(read.texts)
    elif isinstance(earlier, int | float) or _is_number(spec, name):
        if not read.numbers:
            return None
        value = int(read.numbers[0]) if read.numbers[0].is_integer() else read.numbers[0]
    return None if value == earlier else value


def _is_number(spec: ToolSpec, name: str) -> bool:
    root = spec.json_schema
    types = json_types(fields_of(root, root).schemas.get(name), root)
    return bool(types) and types <= {"integer", "number"}


def _two_values(old: ReadValue, new: ReadValue, both: ReadValue) -> bool:
    """Whether a parameter has two values, the old and the new one, rather than one that reaches over both parts."""
    if min(old.score, new.score) <= _ANOTHER or old.texts == new.texts:
        return False
    whole = both.texts[0] if both.texts else ""
    reaches = whole not in (*old.texts, *new.texts) and any(text in whole for text in new.texts)
    return old.score + new.score - (both.score if reaches else 0.0) > _ANOTHER


def log_odds(probability: float) -> float:
    """Return the log odds of a probability, infinite for 0 and 1."""
    if probability >= 1:
        return math.inf
    return math.log(probability) - math.log1p(-probability) if probability > 0 else -math.inf
