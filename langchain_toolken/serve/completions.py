"""Answers to /v1/chat/completions: one ToolkenChat decodes the requests of all clients together.

Which tools a request may call: those in its `tools` that the toolken set knows by name. What happens to others is for
`ToolPolicy` to say. Without `tools` nothing is called, as in OpenAI's API, unless the policy binds the whole set.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.runnables import Runnable

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.cancellation import in_thread
from langchain_toolken.serve.conversion import (
    call_settings,
    langchain_messages,
    openai_call_deltas,
    openai_delta,
    openai_message,
    openai_usage,
    tool_of,
)
from langchain_toolken.serve.errors import RequestError
from langchain_toolken.serve.protocol import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatRequest,
    Choice,
    ChunkChoice,
    Tool,
)
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec, tool_specs
from langchain_toolken.training.report.records import Confusion

MOST_NEW_TOOLS = 512
"""Most tools that get a toolken while the server runs, since each is kept: clients must not fill the memory."""


@dataclass(frozen=True)
class ToolPolicy:
    """What to do where a request's tools and the toolken set differ.

    Attributes:
        unknown: "refuse": tools without a toolken are an error that names them. "grow": they get one from their names
            and descriptions, as tools bound to a ToolkenChat do, which fires less reliably than a fitted one.
        without_tools: "none": a request without `tools` calls nothing, as in OpenAI's API. "all": it may call every
            tool of the set, for clients that leave the tools to the server.
    """

    unknown: Literal["refuse", "grow"] = "refuse"
    without_tools: Literal["none", "all"] = "none"


@dataclass(eq=False)
class Served:
    """The chat model that is served.

    Attributes:
        chat: The chat model, with a toolken set.
        toolkens: Its toolken set.
        model_id: The name that clients give.
        policy: What to do where a request's tools and the set differ.
        confusions: Which tools were called for which when the set was fitted, for the page.
        created: When the server started, in seconds since 1970.
        grown: Names of the tools that got a toolken since.
    """

    chat: ToolkenChat
    toolkens: ToolkenSet
    model_id: str
    policy: ToolPolicy = ToolPolicy()
    confusions: list[Confusion] = field(default_factory=list)
    created: int = field(default_factory=lambda: int(time.time()))
    grown: set[str] = field(default_factory=set)

    @cached_property
    def specs(self) -> dict[str, ToolSpec]:
        """The tools of the set, by name."""
        return {spec.name: spec for spec in self.toolkens.specs}


async def complete(served: Served, body: ChatRequest) -> ChatCompletion:
    """Answer a request as a whole. If the awaiting task is cancelled, decoding stops.

    Raises:
        RequestError: The request can't be answered.
        ToolkenError: Likewise; `errors.request_error` turns it into one.
    """
    model, messages = await in_thread(partial(_bound, served, body))
    message = await model.ainvoke(messages)
    choice = Choice(
        message=openai_message(message),
        finish_reason=message.response_metadata["finish_reason"],
        logprobs=message.response_metadata.get("logprobs"),
        toolken=message.response_metadata.get("toolken"),
    )
    return ChatCompletion(**_head(served), created=int(time.time()), choices=[choice], usage=openai_usage(message))


async def stream(served: Served, body: ChatRequest) -> AsyncGenerator[ChatCompletionChunk, None]:
    """Answer a request piece by piece. If the generator is closed, decoding stops.

    Raises:
        RequestError: The request can't be answered.
        ToolkenError: Likewise; `errors.request_error` turns it into one.
    """
    model, messages = await in_thread(partial(_bound, served, body))
    head, created = _head(served), int(time.time())
    first, end = True, AIMessageChunk(content="")  # what is to be sent at the end: calls, usage, metadata

    def chunk(delta: dict[str, Any], **end: Any) -> ChatCompletionChunk:
        return ChatCompletionChunk(**head, created=created, choices=[ChunkChoice(delta=delta, **end)])

    async with aclosing(_chunks(model, messages)) as pieces:
        async for piece in pieces:
            if delta := openai_delta(piece, first=first):
                first = False
                yield chunk(delta)
            if piece.tool_call_chunks or piece.response_metadata or piece.usage_metadata:
                end += piece
    for delta in openai_call_deltas(end):
        yield chunk(delta)
    said = end.response_metadata
    yield chunk({}, finish_reason=said["finish_reason"], logprobs=said.get("logprobs"), toolken=said.get("toolken"))
    if body.stream_options is not None and body.stream_options.include_usage:
        yield ChatCompletionChunk(**head, created=created, choices=[], usage=openai_usage(end))


async def _chunks(
    model: Runnable[LanguageModelInput, AIMessage], messages: Sequence[BaseMessage]
) -> AsyncGenerator[AIMessageChunk, None]:
    async for piece in model.astream(list(messages)):
        assert isinstance(piece, AIMessageChunk)
        yield piece


def _bound(served: Served, body: ChatRequest) -> tuple[Runnable[LanguageModelInput, AIMessage], list[BaseMessage]]:
    """Read a request: the chat model with its tools and settings, and the messages."""
    if body.model != served.model_id:
        raise RequestError(
            404,
            f"there is no model {body.model[:100]!r} here; this server has {served.model_id!r}",
            code="model_not_found",
            param="model",
        )
    messages = langchain_messages(body.messages)
    settings = call_settings(body)
    if tools := _tools(served, body):
        settings["tools"] = tools
    if body.tool_choice is not None:
        settings["tool_choice"] = body.tool_choice
    return served.chat.bind(**settings), messages


def _tools(served: Served, body: ChatRequest) -> Sequence[ToolSpec]:
    """Return the tools that a request may call.

    Raises:
        ToolError: One of its tools can't be called, or two have one name.
        RequestError: See `_known`.
    """
    if body.tools is not None:
        return tool_specs(tool_of(tool, served.specs.get(tool.function.name)) for tool in _known(served, body.tools))
    return served.toolkens.specs if served.policy.without_tools == "all" else ()


def _known(served: Served, tools: Sequence[Tool]) -> Sequence[Tool]:
    """Return the tools of a request, all of which have a toolken or may get one.

    Raises:
        RequestError: One has none, and the policy refuses it, or too many have got one already.
    """
    unknown = {tool.function.name for tool in tools} - served.specs.keys()
    if not unknown:
        return tools
    named = ", ".join(repr(name) for name in sorted(unknown)[:5]) + (" …" if len(unknown) > 5 else "")
    if served.policy.unknown == "refuse":
        raise RequestError(
            400,
            f"there is no toolken for {named}: leave these tools out, fit the set with them (`toolken fit --update`), "
            "or start the server with --new-tools",
            code="unknown_tool",
            param="tools",
        )
    if len(served.grown | unknown) > MOST_NEW_TOOLS:
        raise RequestError(
            400,
            f"there is no toolken for {named}, and {MOST_NEW_TOOLS} tools have got one since the server started: fit "
            "the set with them (`toolken fit --update`)",
            code="too_many_new_tools",
            param="tools",
        )
    served.grown |= unknown
    return tools


def _head(served: Served) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "model": served.model_id}
