"""What demonstrations show of calls in the course of an answer: after words, and made again after their result."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from langchain_core.messages import AIMessage, HumanMessage

from langchain_toolken.training.demonstrations.demonstration import Demonstration


def repeats_calls(demonstrations: Iterable[Demonstration]) -> bool:
    """Return whether a demonstration calls a tool twice with the same arguments for one question."""
    return any(_repeats(list(_calls(one))) for one in demonstrations)


def calls_after_words(demonstrations: Iterable[Demonstration]) -> bool:
    """Return whether a demonstration calls a tool after words of the same answer."""
    return any(one.text[: call.start].strip() for one in demonstrations for call in one.calls)


def _repeats(calls: list[str]) -> bool:
    return len(set(calls)) < len(calls)


def _calls(demonstration: Demonstration) -> Iterator[str]:
    asked = [i for i, message in enumerate(demonstration.before) if isinstance(message, HumanMessage)]
    for message in demonstration.before[asked[-1] if asked else 0 :]:
        if isinstance(message, AIMessage):
            yield from (_written(call["name"], call["args"]) for call in message.tool_calls)
    yield from (_written(call.tool, call.args) for call in demonstration.calls if isinstance(call.args, dict))


def _written(tool: str, arguments: Mapping[str, Any]) -> str:
    return json.dumps([tool, arguments], sort_keys=True, default=str)
