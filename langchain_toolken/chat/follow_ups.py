"""Follow-ups: "And in Milan?" after the weather in Rome asks for the same call, with another city.

After a turn that called a tool, slots of that tool (`toolkens.slots`) read the last request and the new message as one
text. A value in the new message that the last call did not have speaks for a call; what the message does not name is
taken over from that call. Whether the message asks for a call at all is judged on it alone, by the gate that judges
single requests: after a result, all that was said before would speak against one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_toolken.decoding.engine import Engine, ReadValue, SlotReader
from langchain_toolken.decoding.parts import value_of
from langchain_toolken.prompts.blocks import message_text
from langchain_toolken.tools.spec import ToolSpec, schema_fault

if TYPE_CHECKING:
    from langchain_toolken.toolkens.evidence import Gate
    from langchain_toolken.toolkens.set import ToolkenSet

# SmolLM2, everyday tools, messages after a call, written for this and of the dev split: with the log odds of a call
# added, 31 of 34 follow-ups and 1 of 26 plain messages are above this.
_ENOUGH = 1.85
_ANOTHER = 3.0  # nats of a second value in the same message
_LONGEST = 1_200  # characters of both messages, as for slots


@dataclass(frozen=True)
class FollowUp:
    """A call that a message may ask for after another one.

    Attributes:
        spec: The tool of the last call.
        arguments: Its arguments with what the message changes.
        score: How sure the change is, in nats.
    """

    spec: ToolSpec
    arguments: dict[str, Any]
    score: float

    def wanted(self, probability: float, gate: Gate) -> bool:
        """Whether the message asks for the call.

        Args:
            probability: That the message alone asks for a call. If it surely does, it is a request of its own.
            gate: The gate that it is from.
        """
        odds = math.log(max(probability, 1e-9)) - math.log(max(1 - probability, 1e-9))
        alone = gate.threshold_at(0.0)
        return odds + self.score > _ENOUGH and (alone is None or odds <= max(alone, _ENOUGH))


def follow_up(
    engine: Engine, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec], given: ToolkenSet | None
) -> FollowUp | None:
    """Find the call that the last message asks for if it follows up on the call before it.

    Args:
        engine: The engine; one that reads no slots finds nothing.
        messages: The history.
        tools: The tools that can be called.
        given: The toolkens, with their slots.

    Returns:
        None if the turn before made no call or several, or if the message names no new value.
    """
    made = _last_call(messages)
    if made is None or given is None or given.examples.slots is None or not isinstance(engine, SlotReader):
        return None
    before, call = made
    slots = given.examples.slots.of_tool.get(call["name"], {})
    spec = next((spec for spec in tools if spec.name == call["name"]), None)
    asked = message_text(messages[-1]).strip()
    if spec is None or not slots or not asked or len(before) + len(asked) >= _LONGEST:
        return None
    earlier: dict[str, Any] = dict(call["args"])
    lists = [name for name, value in earlier.items() if isinstance(value, list)]
    read = engine.read_values(f"{before} {asked}", len(before) + 1, slots, lists)
    new = {
        name: value
        for name, each in read.items()
        if (value := value_of(each, earlier.get(name), spec, name)) is not None
        and not any(_names(text, earlier) for text in each.texts)
    }
    if not new:
        return None
    ranked = sorted(new, key=lambda name: -read[name].score)
    kept = [name for name in ranked if name == ranked[0] or _apart(read[name], read[ranked[0]])]
    arguments = {**earlier, **{name: new[name] for name in kept}}
    if schema_fault(spec, arguments) is not None:
        return None
    return FollowUp(spec, arguments, read[ranked[0]].score)


def _last_call(messages: Sequence[BaseMessage]) -> tuple[str, Mapping[str, Any]] | None:
    """Return the request before the last message, and the one call that it got."""
    asked = [i for i, message in enumerate(messages) if isinstance(message, HumanMessage)]
    if len(asked) < 2 or asked[-1] != len(messages) - 1:
        return None
    turn = messages[asked[-2] + 1 : asked[-1]]
    calls = [call for message in turn if isinstance(message, AIMessage) for call in message.tool_calls]
    failed = any(isinstance(message, ToolMessage) and message.status == "error" for message in turn)
    return (message_text(messages[asked[-2]]).strip(), calls[0]) if len(calls) == 1 and not failed else None


def _names(text: str, earlier: Mapping[str, Any]) -> bool:
    """Whether a text has one of the earlier values in it: it is about what was asked, and asks for nothing new."""
    known = [item for value in earlier.values() for item in (value if isinstance(value, list) else [value])]
    written = [f"{item:g}" if isinstance(item, float) else str(item) for item in known if not isinstance(item, bool)]
    return any(re.search(rf"(?<!\w){re.escape(each)}(?!\w)", text, re.IGNORECASE) for each in written if each)


def _apart(one: ReadValue, best: ReadValue) -> bool:
    """Whether a second value is sure, and made of other words."""
    words = {word for text in best.texts for word in text.lower().split()}
    return one.score > _ANOTHER and not any(word in words for text in one.texts for word in text.lower().split())
