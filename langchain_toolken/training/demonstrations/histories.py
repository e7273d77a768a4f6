"""Read chat histories with tool calls: OpenAI-style messages, `messages_to_dict` JSON, live LangChain messages.

Each choice of the LM becomes one demonstration: each assistant message, as the answer to the messages before it, and
each call in it. ToolkenChat makes one call at a time and continues once it has the result, so an assistant message with
several calls is read in that order: the text and the first call, its result, the second call, and so on. That calls of
different tools were made together is kept (`Demonstration.parallel`), so that a set knows it. If a result is missing,
whatever follows it can't be placed and the history is rejected. Calls that are written in an assistant message's text
(`written_calls`) are read like those in `tool_calls`; results without an id answer the calls in order.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolCall,
    ToolMessage,
    convert_to_messages,
    messages_from_dict,
)
from pydantic import ValidationError

from langchain_toolken.prompts.turns import turns_of
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.demonstrations.written_calls import (
    is_written_result,
    mark_of_a_call,
    written_calls,
    written_results,
)

_RESULT_ROLES = ("ipython", "observation", "tool_response")  # Llama's, GLM's, and that of some data sets


def is_history(row: object) -> bool:
    """Return whether a row is a list of messages, live or as dicts."""
    if isinstance(row, str) or not isinstance(row, Sequence) or not row:
        return False
    return all(_is_message(item) for item in row)


def history_demonstrations(
    messages: Sequence[object], tools: Mapping[str, Sequence[str] | None] | None = None
) -> list[Demonstration]:
    """Return the demonstrations in a history, in order, each with the messages before it.

    Assistant messages with `"weight": 0` (OpenAI's fine-tuning format) are context only. So is an assistant message
    that opens the history, because it answers nothing.

    Args:
        messages: The history.
        tools: Each tool's argument names in order, None if unknown, by tool name; to know written calls by.

    Raises:
        ValueError: A message can't be read or has content other than text, a result belongs to no call, a call without
            a result is followed by another message or call, or there is no assistant message to learn from.
    """
    read, learnt, places = _with_calls_read(messages, tools or {})
    demonstrations: list[Demonstration] = []
    before: list[BaseMessage] = []
    at = 0
    while at < len(read):
        message, taught, place = read[at], learnt[at] and bool(before), places[at]
        at += 1
        if isinstance(message, ToolMessage):
            raise ValueError(f"message {place}, a tool result, belongs to no call of the assistant message before it")
        if not isinstance(message, AIMessage):
            before.append(message)
            continue
        if message.invalid_tool_calls:
            bad = message.invalid_tool_calls[0]
            raise ValueError(
                f"message {place}: the arguments of '{bad['name']}' are not a JSON object: {bad['args']!r}"
            )
        if not message.tool_calls and _has_call_blocks(message):
            raise ValueError(f"message {place} has tool calls only in its content; give them as 'tool_calls' too")
        results: dict[str, ToolMessage] = {}
        while at < len(read) and isinstance(result := read[at], ToolMessage):
            results[result.tool_call_id] = result
            at += 1
        text = turns_of([AIMessage(content=message.content)], "turn")[0].text
        if not message.tool_calls and (text or results):
            if taught:
                demonstrations.append(Demonstration(text=text, calls=(), before=tuple(before)))
            before.append(AIMessage(text))
        for number, call in enumerate(message.tool_calls):
            said = text if number == 0 else ""
            if taught:
                made = DemonstratedCall(start=len(said), tool=call["name"], args=call["args"])
                beside = any(each["name"] != call["name"] for each in message.tool_calls[:number])
                demonstrations.append(Demonstration(text=said, calls=(made,), before=tuple(before), parallel=beside))
            answered = results.pop(str(call["id"]), None)
            if answered is not None:
                before += [AIMessage(said, tool_calls=[call]), answered]
            elif number + 1 < len(message.tool_calls) or at < len(read):
                what = "the parallel call after it" if number + 1 < len(message.tool_calls) else "what follows"
                raise ValueError(
                    f"message {place}: the call of '{call['name']}' ({call['id']!r}) has no result, and {what} can't "
                    "be placed without it; add its tool message right after the assistant message"
                )
        if results:
            raise ValueError(f"the tool result {next(iter(results))!r} belongs to no call of message {place}")
    if before:
        turns_of(before, "turn")  # raises for roles that can't be in a prompt
    for message in read:
        if isinstance(message, HumanMessage):
            turns_of([message], "turn")  # raises for an image: an answer to it teaches nothing about its words
    if not demonstrations:
        raise ValueError("it has no assistant message to learn from that answers another message")
    return demonstrations


def _with_calls_read(
    messages: Sequence[object], tools: Mapping[str, Sequence[str] | None]
) -> tuple[list[BaseMessage], list[bool], list[int]]:
    """Read the messages, those with written calls and results included.

    Returns:
        The messages, whether each is learnt, and its place in the history, counted from 1.
    """
    read: list[BaseMessage] = []
    learnt: list[bool] = []
    places: list[int] = []
    open_calls: list[str] = []  # ids of calls that wait for a result
    written = False  # whether they were written as text
    for place, given in enumerate(messages, start=1):
        message = _message(given, place)
        parts: list[BaseMessage] = [message]
        if isinstance(message, AIMessage):
            message, written = _with_written_calls(message, place, tools)
            parts, open_calls = [message], [str(call["id"]) for call in message.tool_calls]
        elif isinstance(message, ToolMessage) and message.tool_call_id:
            open_calls = [one for one in open_calls if one != message.tool_call_id]
        elif isinstance(message, ToolMessage) or (written and is_written_result(message.text)):
            results = written_results(message.text)
            if len(results) > len(open_calls):
                raise ValueError(
                    f"message {place}, a tool result without a tool_call_id, belongs to no call of the assistant "
                    "message before it"
                )
            parts = [ToolMessage(result, tool_call_id=open_calls.pop(0)) for result in results]
        read += parts
        learnt += [not (isinstance(given, Mapping) and given.get("weight") == 0)] * len(parts)
        places += [place] * len(parts)
    return read, learnt, places


def _with_written_calls(
    message: AIMessage, place: int, tools: Mapping[str, Sequence[str] | None]
) -> tuple[AIMessage, bool]:
    """Turn calls that a message writes in its text into `tool_calls`; return it, and whether there were any."""
    text = message.text
    if message.tool_calls or message.invalid_tool_calls:
        if mark := mark_of_a_call(text):
            raise ValueError(f"message {place} has tool_calls and writes {mark!r} in its text too; keep one of the two")
        return message, False
    try:
        found = written_calls(text, tools)
    except ValueError as error:
        raise ValueError(f"message {place}: {error}") from error
    if found is None:
        return message, False
    calls = [
        ToolCall(name=call.tool, args=call.args, id=f"written_{place}_{number}")
        for number, call in enumerate(found.calls, start=1)
    ]
    return AIMessage(found.text, tool_calls=calls), True


def _is_message(item: object) -> bool:
    if isinstance(item, BaseMessage):
        return True
    return isinstance(item, Mapping) and (
        "role" in item or ("type" in item and bool({"data", "content", "kwargs"} & {*item}))
    )


def _has_call_blocks(message: AIMessage) -> bool:
    blocks = message.content if isinstance(message.content, list) else []
    return any(isinstance(block, Mapping) and block.get("type") in ("tool_use", "tool_call") for block in blocks)


def _message(message: object, place: int) -> BaseMessage:
    if isinstance(message, BaseMessage):
        return message
    if not isinstance(message, Mapping):
        raise ValueError(f"message {place} is not a message but {type(message).__name__}")
    try:
        if isinstance(message.get("data"), Mapping):
            return messages_from_dict([dict(message)])[0]
        return convert_to_messages([_without_legacy(message)])[0]
    except json.JSONDecodeError as error:
        raise ValueError(f"message {place}: a tool call's arguments are not JSON ({error})") from error
    except ValidationError as error:
        reason = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ValueError(f"message {place} can't be read ({reason})") from error
    except (ValueError, TypeError, KeyError, AttributeError, NotImplementedError) as error:
        reason = str(error).split("\n", 1)[0]
        raise ValueError(f"message {place} can't be read ({type(error).__name__}: {reason})") from error


def _without_legacy(message: Mapping[str, Any]) -> dict[str, Any]:
    """Convert OpenAI's deprecated `function_call` and role "function" to `tool_calls` and role "tool"."""
    fields = {name: value for name, value in message.items() if name != "weight"}
    fields.setdefault("content", None)
    if fields.get("tool_calls") is None:
        fields.pop("tool_calls", None)
    function_call = fields.pop("function_call", None)
    if function_call is not None and "tool_calls" not in fields:
        fields["tool_calls"] = [{"id": f"function_{function_call['name']}", "function": function_call}]
    if isinstance(fields.get("tool_calls"), list):
        fields["tool_calls"] = [
            {"id": f"call_{number}", **call} for number, call in enumerate(fields["tool_calls"], start=1)
        ]
    if fields.get("role") == "function":
        fields |= {"role": "tool", "tool_call_id": f"function_{fields.get('name')}"}
    if fields.get("role") in ("tool", *_RESULT_ROLES):
        fields = {"tool_call_id": "", **fields, "role": "tool"}
    return fields
