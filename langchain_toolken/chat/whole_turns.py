"""Whole turns, as `ToolkenChat` runs them: from the messages to the answer's message, at once or piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage

from langchain_toolken.chat.answers import Thought, closing_ids
from langchain_toolken.chat.responses import chunk_of, closing_chunks, schema_response
from langchain_toolken.chat.settings import CallOptions
from langchain_toolken.chat.turn import DecodingSetup, LaidOutTurn, complete, reason, stream_reason
from langchain_toolken.decoding.engine import Reasoning
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.thoughts import thought_of
from langchain_toolken.prompts.tool_cards import tool_card
from langchain_toolken.tools.spec import ToolSpec


def message_of_turn(setup: DecodingSetup, options: CallOptions, messages: Sequence[BaseMessage]) -> AIMessage:
    """Decode the whole turn that a call asks for."""
    return _whole_message(setup.lay_out(messages, options.tools), options)


def stream_turn(
    setup: DecodingSetup, options: CallOptions, messages: Sequence[BaseMessage]
) -> Iterator[AIMessageChunk]:
    """Do what `message_of_turn` does, piece by piece."""
    turn = setup.lay_out(messages, options.tools)
    if options.answer is not None:
        # Only its end shows whether the text is the answer or a tool is called instead.
        message = _whole_message(turn, options)
        yield chunk_of(Thought(thought_of(message)))
        yield AIMessageChunk(content=message.content)
    else:
        reasoning: Reasoning | None = None
        for piece in stream_reason(turn, forced=options.forced):
            if isinstance(piece, Reasoning):
                reasoning = piece
            else:
                yield chunk_of(piece)
        assert reasoning is not None
        message = complete(turn, reasoning, options.argument_models)
    yield from closing_chunks(message)


def _whole_message(turn: LaidOutTurn, options: CallOptions) -> AIMessage:
    if options.answer is None:
        return complete(turn, reason(turn, forced=options.forced), options.argument_models)
    if options.tools:  # the LM may call one instead of answering
        reasoning = reason(turn, forced=options.forced)
        if reasoning.trigger is not None:
            return complete(turn, reasoning, options.argument_models)
    return schema_message(turn, options.answer)


def schema_message(turn: LaidOutTurn, answer: ToolSpec, *, said: str = "") -> AIMessage:
    """Decode the turn's answer under a schema.

    Args:
        turn: The turn.
        answer: The schema.
        said: What the LM answered before in words.
    """
    engine = turn.setup.engine
    closing = closing_ids(engine.tokenizer, turn.beginning)
    words = encode_content(engine.tokenizer, said, continued=True) if said else []
    # The grammar enforces the schema, but only the card tells the LM what is asked for.
    card = encode_content(engine.tokenizer, tool_card(answer), continued=True)
    ids = [*turn.prompt.ids, *closing, *words, *card]
    (completion,) = engine.complete([ids], [answer], max_tokens=turn.setup.generation.max_tokens)
    return schema_response(completion, engine.model_id)
