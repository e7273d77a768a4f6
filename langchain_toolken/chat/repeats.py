"""Calls that would only repeat themselves: the same tool with the same arguments, again and again.

After a result that adds no word to the text, the LM is where it was, and it would call again without end. So a call is
refused, and the LM goes on with words, if the history shows that it brings nothing new:

- it was answered just now, and nothing but the result is between;
- it was made for this question already, and its result was empty;
- it was made for this question already, no other call was answered since, and no demonstration repeats a call;
- it was made for this question `MOST_ALIKE` times, with the same result.

A call that failed may be tried again at once. All of this is read from the messages, so it holds in any agent, from any
checkpoint. A forced call is never refused, because the caller insists on one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, ToolMessage

from langchain_toolken.decoding.engine import DecodingRequest, Reasoning
from langchain_toolken.prompts.blocks import message_text

MOST_ALIKE = 2
"""Calls with the same arguments and the same result for one question, where demonstrations repeat calls, or others are
between. A sentence may need a number twice; a loop never ends."""

_MOST_REFUSALS = 3
"""Refusals in one answer until the tool can't be called any more in it, since each costs decoding its arguments."""


@dataclass(frozen=True)
class AnsweredCall:
    """A call and its result.

    Attributes:
        tool: The tool.
        arguments: Its arguments, as JSON with sorted keys.
        result: The result's text.
        failed: Whether the tool reported an error.
        just_now: Whether nothing follows the result.
        message: Which of the messages with calls made it, counted from 0. Several calls of one message go together.
    """

    tool: str
    arguments: str
    result: str
    failed: bool
    just_now: bool
    message: int = 0

    @property
    def added_nothing(self) -> bool:
        """Whether the result has no word."""
        return not self.failed and not self.result.strip()


def answered_calls(messages: Sequence[BaseMessage]) -> tuple[AnsweredCall, ...]:
    """Return the calls with a result since the user last said something."""
    made: dict[str, tuple[str, str, int]] = {}
    found: list[AnsweredCall] = []
    for message in messages:
        if isinstance(message, HumanMessage) or (isinstance(message, ChatMessage) and message.role == "user"):
            made, found = {}, []
        elif isinstance(message, AIMessage):
            if message_text(message).strip() or message.tool_calls:
                found = [replace(call, just_now=False) for call in found]
            number = 1 + max((number for _, _, number in made.values()), default=-1)
            made |= {str(call["id"]): (call["name"], canonical(call["args"]), number) for call in message.tool_calls}
        elif isinstance(message, ToolMessage) and message.tool_call_id in made:
            tool, arguments, number = made[message.tool_call_id]
            failed = message.status == "error"
            found.append(AnsweredCall(tool, arguments, message_text(message), failed, True, number))
    return tuple(found)


def canonical(arguments: Mapping[str, Any]) -> str:
    """Return arguments as JSON that is the same for the same arguments."""
    return json.dumps(arguments, sort_keys=True, default=str)


class RepeatGuard:
    """Refuses the calls of one answer that would only repeat others.

    Args:
        calls: The calls that were answered for this question.
        decode: Returns the tool and the arguments of a reasoning's call; None if there are none to read.
        shown: Whether demonstrations make a call again that was answered.
    """

    def __init__(
        self,
        calls: Sequence[AnsweredCall],
        decode: Callable[[Reasoning], tuple[str, Mapping[str, Any]] | None],
        *,
        shown: bool = False,
    ) -> None:
        self._calls = tuple(calls)
        self._decode = decode
        self._shown = shown
        self._refused: Counter[str] = Counter()

    @property
    def idle(self) -> bool:
        """Whether no call was answered yet, so that none can be a repeat."""
        return not self._calls

    def refuses(self, reasoning: Reasoning) -> bool:
        """Return whether the call that `reasoning` ended in is to be refused.

        Its arguments are decoded only if the tool has been called in a way that could be repeated.
        """
        if reasoning.trigger is None:
            return False
        at_once = not any(character.isalnum() for character in reasoning.text)
        suspects = [call for call in self._calls if self._suspect(call, at_once)]
        if not suspects or (reasoning.marker is None and reasoning.trigger.tool not in {c.tool for c in suspects}):
            return False
        decoded = self._decode(reasoning)
        if decoded is None:
            return False
        tool, arguments = decoded[0], canonical(decoded[1])
        refused = any((call.tool, call.arguments) == (tool, arguments) for call in suspects)
        self._refused[reasoning.trigger.tool] += refused
        return refused

    def _suspect(self, call: AnsweredCall, at_once: bool) -> bool:
        if call.added_nothing or (at_once and call.just_now and not call.failed):
            return True
        same = [each for each in self._calls if (each.tool, each.arguments) == (call.tool, call.arguments)]
        alike = [each for each in same if (each.result, each.failed) == (call.result, call.failed)]
        if len(alike) >= MOST_ALIKE:
            return True
        # Another call since then may have changed what this one tells.
        newest = call.message == max(each.message for each in self._calls)
        return newest and len(alike) == len(same) and not call.failed and not self._shown

    def narrowed(self, request: DecodingRequest, refused: Reasoning) -> DecodingRequest:
        """Return how decoding goes on after a refused call: without the tool, if it was refused too often."""
        assert refused.trigger is not None
        if self._refused[refused.trigger.tool] < _MOST_REFUSALS:
            return request
        if refused.marker is not None:
            return replace(request, markers=frozenset())
        return replace(request, active=(request.active or frozenset()) - {refused.trigger.tool})
