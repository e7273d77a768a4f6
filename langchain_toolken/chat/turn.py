"""One turn of a chat: reason until the LM ends or calls, then complete the call; or answer in a schema's form (DESIGN
§3).

Plain functions over `TurnSettings`, which hold all that a turn depends on besides its messages and tools.
`ToolkenChat.turn` makes them of its fields and of what a call changes; `agents` runs `reason` and `complete` as nodes
of a graph. Loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage

from langchain_toolken.chat import reranking
from langchain_toolken.chat.answers import Answer, Thought, answer_of, answer_pieces, beginning, closing_ids, with_count
from langchain_toolken.chat.backtracing import Validators, decode_first_valid
from langchain_toolken.chat.calls import Prompt, only_call, prompt_for, with_name
from langchain_toolken.chat.reranking import Reranking
from langchain_toolken.chat.responses import chunk_of, closing_chunks, response, schema_response
from langchain_toolken.chat.settings import CallSettings, ToolMode
from langchain_toolken.decoding.engine import Candidate, DecodingRequest, Engine, Reasoning, Sampling
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.thoughts import thought_of
from langchain_toolken.prompts.tool_cards import tool_card
from langchain_toolken.tools.spec import ToolSpec

if TYPE_CHECKING:
    from langchain_toolken.chat.growing_toolkens import GrowingToolkens
    from langchain_toolken.toolkens.set import ToolkenSet


@dataclass(frozen=True)
class TurnSettings:
    """How a turn is decoded.

    Attributes:
        engine: what decodes.
        prompt_format: how messages are laid out.
        tool_mode: how tools are called.
        toolkens: the toolkens; the hybrid mode describes the tools that have none in the set that was given.
        sampling: how words are chosen.
        stop: strings that end an answer, besides the format's own.
        second_look: when and how calls are judged again.
        max_argument_tokens: most tokens of one call's arguments.
        backtrace: how many runners-up are tried where a call's arguments fail.
    """

    engine: Engine
    prompt_format: PromptFormat
    tool_mode: ToolMode
    toolkens: GrowingToolkens
    sampling: Sampling
    stop: tuple[str, ...]
    second_look: Reranking
    max_argument_tokens: int
    backtrace: int

    def prompt(self, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> Prompt:
        """The prompt for `messages`, and how each of `tools` is called from it."""
        tokenizer, layout = self.engine.tokenizer, self.prompt_format
        return prompt_for(tokenizer, messages, layout, tools, self.tool_mode, self.toolkens.names)

    def toolkens_for(self, tools: Sequence[ToolSpec]) -> ToolkenSet:
        """A set with a toolken for each of `tools`."""
        return self.toolkens.for_tools(self.engine, tools, self.prompt_format.style)


def reason(
    settings: TurnSettings, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec], *, forced: bool
) -> Reasoning:
    """Decode from `messages` until the answer ends or the LM calls one of the `tools`; forced: it calls one at once."""
    prompt = settings.prompt(messages, tools)
    if forced and len(tools) == 1:
        return only_call(tools[0], prompt)
    request = _request(settings, messages, prompt, forced)
    reasoning = reranking.reason(settings.engine, prompt.ids, prompt.by_toolken, settings.second_look, request)
    return with_name(settings.engine, prompt, reasoning)


def stream_reason(
    settings: TurnSettings, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec], *, forced: bool
) -> Iterator[str | Thought | Reasoning]:
    """`reason`, piece by piece: text and thoughts as they come, the Reasoning last. Closing it stops decoding."""
    if forced:  # a call happens at once: there are no words to stream
        yield reason(settings, messages, tools, forced=True)
        return
    engine, prompt = settings.engine, settings.prompt(messages, tools)
    request = _request(settings, messages, prompt, forced)
    pieces = reranking.stream(engine, prompt.ids, prompt.by_toolken, settings.second_look, request)
    begun = beginning(engine.tokenizer, messages, settings.prompt_format)
    for piece in answer_pieces(pieces, begun):
        yield with_name(engine, prompt, piece) if isinstance(piece, Reasoning) else piece


def answer_to(settings: TurnSettings, messages: Sequence[BaseMessage], reasoning: Reasoning) -> Answer:
    """What `reasoning` adds to `messages`: its text, without the space that a new answer begins with, and the thought
    before it."""
    tokenizer = settings.engine.tokenizer
    begun = beginning(tokenizer, messages, settings.prompt_format)
    return with_count(tokenizer, answer_of(reasoning.text, begun), begun.layout, reasoning.token_ids)


def complete(
    settings: TurnSettings,
    messages: Sequence[BaseMessage],
    reasoning: Reasoning,
    tools: Sequence[ToolSpec],
    validators: Validators | None = None,
) -> AIMessage:
    """The message that `reasoning` comes to: its text and, if the LM called a tool, the call with its arguments."""
    answer, call = answer_to(settings, messages, reasoning), None
    if reasoning.trigger is not None:
        reasoning, call = decode_first_valid(
            settings.engine,
            settings.prompt(messages, tools),
            reasoning,
            tools,
            max_tokens=settings.max_argument_tokens,
            budget=settings.sampling.max_tokens - len(reasoning.token_ids),
            runners_up=settings.backtrace,
            validators=validators,
        )
    return response(answer, reasoning, call, settings.engine.model_id)


def rank(settings: TurnSettings, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> tuple[Candidate, ...]:
    """`tools` by the probability that the LM calls them next, likeliest first."""
    ids = settings.prompt(messages, ()).ids
    names = frozenset(spec.name for spec in tools)
    (ranking,) = settings.engine.rank([ids], toolkens=settings.toolkens_for(tools), active=names)
    return ranking


def prompt_length(settings: TurnSettings, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> int:
    """How many tokens the prompt for `messages` and `tools` has.

    Where they make no prompt (whoever trims a history asks for pieces of it, results without their calls among them),
    each message counts as a question of its own, which is some tokens too many.

    Raises:
        ValueError: there are tools to describe, and the tokenizer has no way to call them.
    """
    try:
        return len(settings.prompt(messages, tools).ids) if messages else 0
    except ValueError:
        calls = [message.tool_calls if isinstance(message, AIMessage) else [] for message in messages]
        texts = [
            message.text + "".join(f"{call['name']} {json.dumps(call['args'])}" for call in made)
            for message, made in zip(messages, calls, strict=True)
        ]
        rest = [len(settings.prompt([HumanMessage(text)], ()).ids) for text in texts[1:]]
        return len(settings.prompt([HumanMessage(texts[0])], tools).ids) + sum(rest)


def message_of_turn(settings: TurnSettings, messages: Sequence[BaseMessage], asked: CallSettings) -> AIMessage:
    """The whole turn that a call asks for."""
    reasoning = None
    if asked.answer is None or asked.tools:
        reasoning = reason(settings, messages, asked.tools, forced=asked.forced)
    return _finished(settings, messages, reasoning, asked)


def stream_turn(
    settings: TurnSettings, messages: Sequence[BaseMessage], asked: CallSettings
) -> Iterator[AIMessageChunk]:
    """`message_of_turn`, piece by piece."""
    if asked.answer is not None:
        # Whether the text is the answer or a tool is called instead shows only at its end.
        message = message_of_turn(settings, messages, asked)
        yield chunk_of(Thought(thought_of(message)))
        yield AIMessageChunk(content=message.content)
    else:
        reasoning: Reasoning | None = None
        for piece in stream_reason(settings, messages, asked.tools, forced=asked.forced):
            if isinstance(piece, Reasoning):
                reasoning = piece
            else:
                yield chunk_of(piece)
        message = _finished(settings, messages, reasoning, asked)
    yield from closing_chunks(message)


def _finished(
    settings: TurnSettings, messages: Sequence[BaseMessage], reasoning: Reasoning | None, asked: CallSettings
) -> AIMessage:
    """The message of a turn; where an answer has a schema and no tool was called, it is decoded here."""
    if asked.answer is not None and (reasoning is None or reasoning.trigger is None):
        engine = settings.engine
        closing = closing_ids(engine.tokenizer, beginning(engine.tokenizer, messages, settings.prompt_format))
        # The grammar holds the LM to the schema; only the card tells it what is asked.
        card = encode_content(engine.tokenizer, tool_card(asked.answer), continued=True)
        ids = [*settings.prompt(messages, asked.tools).ids, *closing, *card]
        (answer,) = engine.complete([ids], [asked.answer], max_tokens=settings.sampling.max_tokens)
        return schema_response(answer, engine.model_id)
    assert reasoning is not None
    return complete(settings, messages, reasoning, asked.tools, asked.argument_models)


def _request(settings: TurnSettings, messages: Sequence[BaseMessage], prompt: Prompt, forced: bool) -> DecodingRequest:
    by_toolken, layout = prompt.by_toolken, settings.prompt_format
    return DecodingRequest(
        settings.sampling,
        toolkens=settings.toolkens_for(by_toolken) if by_toolken else None,
        active=frozenset(spec.name for spec in by_toolken) if by_toolken else None,
        stop=(*layout.stop, *settings.stop),
        after_result=layout.reinjection == "inline" and isinstance(messages[-1], ToolMessage),
        markers=frozenset() if prompt.marker is None else frozenset({prompt.marker}),
        must_call=forced,
    )
