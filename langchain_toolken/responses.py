"""What an engine decoded as LangChain messages: the calls, the usage, the toolken and its runners-up (DESIGN §3)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk

from langchain_toolken.calls import DecodedCall
from langchain_toolken.decoding.engine import Completion, Reasoning, TokenLogprob


def response(text: str, reasoning: Reasoning, call: DecodedCall | None, model_name: str) -> AIMessage:
    """The AIMessage of a turn, of the same shape however its call came about.

    Words, the toolken (or the marker and the name behind it) and the arguments count as output; the tool card as input.
    """
    trigger = reasoning.trigger
    calls, invalid = [], []
    finish_reason: str = reasoning.finish_reason
    words = len(reasoning.token_ids)
    prompt_tokens = reasoning.prompt_tokens
    if trigger is not None and call is not None:
        completion = call.completion
        words += call.written_tokens + completion.completion_tokens
        prompt_tokens += call.card_tokens
        call_id = f"call_{uuid.uuid4().hex}"
        if completion.arguments is not None:
            calls.append(tool_call(name=trigger.tool, args=completion.arguments, id=call_id))
        else:
            finish_reason = "length"
            invalid.append(
                invalid_tool_call(
                    name=trigger.tool,
                    args=completion.text,
                    id=call_id,
                    error=f"The arguments were cut off after {completion.completion_tokens} tokens "
                    "(max_argument_tokens, or the LM's context).",
                )
            )
    return AIMessage(
        content=text,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=_usage(prompt_tokens, words, reasoning.reused_tokens),
        response_metadata={
            "finish_reason": finish_reason,
            "model_name": model_name,
            "toolken": _toolken_metadata(reasoning),
            **({"logprobs": _logprobs_metadata(reasoning.logprobs)} if reasoning.logprobs else {}),
        },
    )


def schema_response(completion: Completion, model_name: str) -> AIMessage:
    """The AIMessage of an answer that was decoded under a schema: its JSON is the text."""
    return AIMessage(
        content=completion.text,
        usage_metadata=_usage(completion.prompt_tokens, completion.completion_tokens, completion.reused_tokens),
        response_metadata={"finish_reason": completion.finish_reason, "model_name": model_name, "toolken": None},
    )


def without_lead(pieces: Iterator[str | Reasoning], lead: str | None) -> Iterator[str | Reasoning]:
    """`pieces` of a text without the whitespace `lead` that it may begin with; None takes nothing off."""
    held = ""
    for piece in pieces:
        if isinstance(piece, Reasoning):
            if held and held != lead:
                yield held
            yield piece
        elif lead is None:
            yield piece
        else:
            held += piece
            if len(held) >= len(lead):
                if rest := held.removeprefix(lead):
                    yield rest
                held, lead = "", None


def closing_chunks(message: AIMessage) -> Iterator[AIMessageChunk]:
    """What comes after the text when `message` is streamed: its calls, and its usage and metadata last."""
    for call in message.tool_calls:
        arguments = json.dumps(call["args"], ensure_ascii=False)
        chunk = tool_call_chunk(name=call["name"], args=arguments, id=call["id"], index=0)
        yield AIMessageChunk(content="", tool_call_chunks=[chunk])
    for cut in message.invalid_tool_calls:
        # Chunks are parsed leniently when they are put together: cut JSON would be mended into a call that the LM
        # never finished. As a JSON string it stays an invalid call.
        chunk = tool_call_chunk(name=cut["name"], args=json.dumps(cut["args"]), id=cut["id"], index=0)
        yield AIMessageChunk(content="", tool_call_chunks=[chunk])
    yield AIMessageChunk(
        content="",
        usage_metadata=message.usage_metadata,
        response_metadata=message.response_metadata,
        chunk_position="last",
    )


def _usage(prompt_tokens: int, words: int, reused: int) -> UsageMetadata:
    return UsageMetadata(
        input_tokens=prompt_tokens,
        output_tokens=words,
        total_tokens=prompt_tokens + words,
        input_token_details=InputTokenDetails(cache_read=reused),
    )


def _toolken_metadata(reasoning: Reasoning) -> dict[str, Any] | None:
    trigger = reasoning.trigger
    if trigger is None or reasoning.marker is not None:
        return None
    return {
        "name": trigger.tool,
        "probability": trigger.probability,
        "runners_up": [{"name": other.tool, "probability": other.probability} for other in reasoning.runners_up],
    }


def _logprobs_metadata(logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
    """In the form of OpenAI's API, which LangChain's models hand on as it is."""

    def entry(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "bytes": list(token.encode()), "logprob": logprob}

    return {
        "content": [{**entry(w.token, w.logprob), "top_logprobs": [entry(*other) for other in w.top]} for w in logprobs]
    }
