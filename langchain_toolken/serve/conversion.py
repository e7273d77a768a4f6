"""Requests in OpenAI's form to what a ToolkenChat takes, and its messages back to OpenAI's form.

LangChain's own converters do the work. What they would refuse or lose is taken care of here: calls whose arguments are
no JSON, which an answer that was cut off has and which clients send back; and thoughts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_messages
from langchain_core.messages.tool import invalid_tool_call
from langchain_core.messages.utils import convert_to_openai_messages

from langchain_toolken.prompts.thoughts import OPEN_KEY, THOUGHT_KEY
from langchain_toolken.serve.errors import RequestError
from langchain_toolken.serve.protocol import ChatRequest, Message, Tool, ToolCall, Usage
from langchain_toolken.tools.spec import ToolSpec, tool_spec

_PASSED_ON = ("temperature", "top_p", "top_k", "seed", "logprobs", "top_logprobs", "parallel_tool_calls")
_KEPT_LENGTH = 8_000  # characters; a tool with a longer schema is read anew each time


def langchain_messages(messages: Sequence[Message]) -> list[BaseMessage]:
    """Turn a conversation into LangChain's messages.

    Raises:
        RequestError: A tool message does not say which call it answers, or LangChain refuses a message.
    """
    found: list[BaseMessage] = []
    for place, message in enumerate(messages):
        if message.role == "tool" and message.tool_call_id is None:
            raise RequestError(
                400,
                f"messages.{place}: a tool's result needs the tool_call_id of the call that it answers",
                code="invalid_value",
                param=f"messages.{place}.tool_call_id",
            )
        whole = [call for call in message.tool_calls or () if _arguments(call) is not None]
        given = {
            **message.model_dump(exclude={"tool_calls", "reasoning_open"}, exclude_none=True),
            "content": message.content,
            **({"tool_calls": [call.model_dump() for call in whole]} if whole else {}),
        }
        try:
            (converted,) = convert_to_messages([given])
        except ValueError as error:
            param = f"messages.{place}"
            raise RequestError(400, f"{param}: {error}"[:500], code="invalid_value", param=param) from error
        if isinstance(converted, AIMessage):
            converted.invalid_tool_calls = [_invalid(call) for call in message.tool_calls or () if call not in whole]
            if message.reasoning_open:
                converted.additional_kwargs[OPEN_KEY] = True
        found.append(converted)
    return found


def tool_of(tool: Tool, known: ToolSpec | None) -> ToolSpec:
    """Read a tool. What the request does not say of it is taken from the toolken set.

    Raises:
        ToolError: It is no tool that can be called.
    """
    function = tool.function
    if known is not None and function.description is None and function.parameters is None:
        return known
    described = function.description or (known.description if known is not None else "")
    parameters: Mapping[str, Any] | None = function.parameters
    if parameters is None:
        parameters = known.json_schema if known is not None else {"type": "object", "properties": {}}
    schema = json.dumps(parameters)
    return (_read if len(schema) <= _KEPT_LENGTH else _read.__wrapped__)(function.name, described, schema)


# Agents send the same tools with every request, and reading a thousand takes longer than answering.
@lru_cache(maxsize=8192)
def _read(name: str, description: str, schema: str) -> ToolSpec:
    return tool_spec({"name": name, "description": description, "parameters": json.loads(schema)})


def call_settings(body: ChatRequest) -> dict[str, Any]:
    """Return the settings of a ToolkenChat's call: only those that the request gives."""
    most = body.max_completion_tokens if body.max_completion_tokens is not None else body.max_tokens
    given = {
        **{name: getattr(body, name) for name in _PASSED_ON},
        "max_tokens": most,
        "response_format": body.response_format,
        "stop": [body.stop] if isinstance(body.stop, str) else body.stop,
    }
    return {name: value for name, value in given.items() if value is not None}


def openai_message(message: AIMessage) -> dict[str, Any]:
    """Return an answer in OpenAI's form. A call that was cut off has the arguments as far as they go."""
    (converted,) = convert_to_openai_messages([_without_invalid(message)])
    calls = [*converted.get("tool_calls", ()), *(_openai_call(call) for call in message.invalid_tool_calls)]
    text = message.text
    return {
        "role": "assistant",
        "content": text if text or not calls else None,
        **({"tool_calls": calls} if calls else {}),
        **_thought(message),
    }


def openai_delta(chunk: AIMessageChunk, *, first: bool) -> dict[str, Any]:
    """Return what a piece of an answer adds, in OpenAI's form; without anything, {}."""
    delta: dict[str, Any] = {"role": "assistant"} if first else {}
    if chunk.text:
        delta["content"] = chunk.text
    elif first:
        delta["content"] = ""
    return {**delta, **_thought(chunk)}


def openai_call_deltas(message: AIMessage) -> list[dict[str, Any]]:
    """Return the calls of a streamed answer as pieces of a stream: each call's name, then its arguments.

    Args:
        message: The answer's chunks, put together. In them, a call that was cut off has its arguments as a JSON string
            without the closing quote (`chat.responses.closing_chunks` says why).
    """
    cut = [{**call, "args": json.loads(f'{call["args"]}"')} for call in message.invalid_tool_calls]
    whole = AIMessage(content="", tool_calls=message.tool_calls, invalid_tool_calls=cut)
    deltas = []
    for index, call in enumerate(openai_message(whole).get("tool_calls", ())):
        named = {**call, "index": index, "function": {"name": call["function"]["name"], "arguments": ""}}
        rest = {"index": index, "function": {"arguments": call["function"]["arguments"]}}
        deltas += [{"tool_calls": [named]}, {"tool_calls": [rest]}]
    return deltas


def openai_usage(message: AIMessage) -> Usage | None:
    """Return how many tokens an answer took."""
    used = message.usage_metadata
    if used is None:
        return None
    cached = used.get("input_token_details", {}).get("cache_read")
    thought = used.get("output_token_details", {}).get("reasoning")
    return Usage(
        prompt_tokens=used["input_tokens"],
        completion_tokens=used["output_tokens"],
        total_tokens=used["total_tokens"],
        prompt_tokens_details=None if cached is None else {"cached_tokens": cached},
        completion_tokens_details=None if thought is None else {"reasoning_tokens": thought},
    )


def _arguments(call: ToolCall) -> dict[str, Any] | None:
    """Return a call's arguments; None if they are no JSON object."""
    try:
        arguments = json.loads(call.function.arguments, strict=False)
    except (ValueError, RecursionError):
        return None
    return arguments if isinstance(arguments, dict) else None


def _invalid(call: ToolCall) -> Any:
    function = call.function
    return invalid_tool_call(name=function.name, args=function.arguments, id=call.id, error="it was cut off")


def _without_invalid(message: AIMessage) -> AIMessage:
    return AIMessage(content=message.text, tool_calls=message.tool_calls)


def _openai_call(call: Any) -> dict[str, Any]:
    function = {"name": call["name"], "arguments": call["args"]}
    return {"type": "function", "id": call["id"], "function": function}


def _thought(message: AIMessage) -> dict[str, Any]:
    kept = {THOUGHT_KEY: message.additional_kwargs.get(THOUGHT_KEY), OPEN_KEY: message.additional_kwargs.get(OPEN_KEY)}
    return {name: value for name, value in kept.items() if value}
