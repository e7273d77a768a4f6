"""What an engine decoded as LangChain messages: the calls, the usage, the toolken and its runners-up (DESIGN §3)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk

from langchain_toolken.decoding.engine import Candidate, Completion, Reasoning


def response(
    text: str, reasoning: Reasoning, completion: Completion | None, card_tokens: int, model_name: str
) -> AIMessage:
    """The AIMessage of a turn. Words, the toolken and the arguments count as output; the tool card as input."""
    trigger = reasoning.trigger
    calls, invalid = [], []
    finish_reason: str = reasoning.finish_reason
    words = len(reasoning.token_ids)
    if trigger is not None and completion is not None:
        words += 1 + completion.completion_tokens
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
    prompt_tokens = reasoning.prompt_tokens + card_tokens
    return AIMessage(
        content=text,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=UsageMetadata(
            input_tokens=prompt_tokens,
            output_tokens=words,
            total_tokens=prompt_tokens + words,
            input_token_details=InputTokenDetails(cache_read=reasoning.reused_tokens),
        ),
        response_metadata={
            "finish_reason": finish_reason,
            "model_name": model_name,
            "toolken": _toolken_metadata(trigger, reasoning.runners_up),
        },
    )


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


def _toolken_metadata(trigger: Candidate | None, runners_up: Sequence[Candidate]) -> dict[str, Any] | None:
    if trigger is None:
        return None
    return {
        "name": trigger.tool,
        "probability": trigger.probability,
        "runners_up": [{"name": other.tool, "probability": other.probability} for other in runners_up],
    }
