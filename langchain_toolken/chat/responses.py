"""What an engine decoded as LangChain messages: the calls, the usage, the toolken and its runners-up (DESIGN §3)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk

from langchain_toolken.chat.answers import Answer, Thought
from langchain_toolken.chat.calls import DecodedCall
from langchain_toolken.decoding.engine import Completion, Judgement, Reasoning, TokenLogprob
from langchain_toolken.prompts.thoughts import OPEN_KEY, THOUGHT_KEY


def response(answer: Answer, reasoning: Reasoning, call: DecodedCall | None, model_name: str) -> AIMessage:
    """The AIMessage of a turn, of the same shape however its call came about.

    Words, the toolken (or the marker and the name behind it) and the arguments count as output; the tool card, and what
    the LM read for a second look at a call, as input.
    """
    trigger = reasoning.trigger
    calls, invalid = [], []
    finish_reason: str = reasoning.finish_reason
    words = len(reasoning.token_ids)
    prompt_tokens = reasoning.prompt_tokens + sum(judgement.extra_tokens for judgement in reasoning.judgements)
    if trigger is not None and call is not None:
        completion = call.completion
        words += call.written_tokens + completion.completion_tokens
        prompt_tokens += call.card_tokens
        call_id = f"call_{uuid.uuid4().hex}"
        if completion.arguments is not None and call.error is None:
            calls.append(tool_call(name=trigger.tool, args=completion.arguments, id=call_id))
        else:
            finish_reason = "length" if completion.arguments is None else finish_reason
            invalid.append(invalid_tool_call(name=trigger.tool, args=completion.text, id=call_id, error=call.error))
    return AIMessage(
        content=answer.text,
        additional_kwargs=answer.thought_kwargs(),
        tool_calls=calls,
        invalid_tool_calls=invalid,
        usage_metadata=_usage(prompt_tokens, words, reasoning.reused_tokens, answer.thought_tokens),
        response_metadata={
            "finish_reason": finish_reason,
            "model_name": model_name,
            "toolken": _toolken_metadata(reasoning, call),
            **({"rerank": [_rerank_metadata(each) for each in reasoning.judgements]} if reasoning.judgements else {}),
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


def chunk_of(piece: str | Thought) -> AIMessageChunk:
    """A piece of the text, or of the thought before it, as it is streamed."""
    if isinstance(piece, Thought):
        return AIMessageChunk(content="", additional_kwargs={THOUGHT_KEY: piece.text} if piece.text else {})
    return AIMessageChunk(content=piece)


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
    left_open = {OPEN_KEY: True} if message.additional_kwargs.get(OPEN_KEY) else {}
    yield AIMessageChunk(
        content="",
        additional_kwargs=left_open,
        usage_metadata=message.usage_metadata,
        response_metadata=message.response_metadata,
        chunk_position="last",
    )


def _usage(prompt_tokens: int, words: int, reused: int, thought: int | None = None) -> UsageMetadata:
    usage = UsageMetadata(
        input_tokens=prompt_tokens,
        output_tokens=words,
        total_tokens=prompt_tokens + words,
        input_token_details=InputTokenDetails(cache_read=reused),
    )
    if thought is not None:
        usage["output_token_details"] = OutputTokenDetails(reasoning=thought)
    return usage


def _toolken_metadata(reasoning: Reasoning, call: DecodedCall | None) -> dict[str, Any] | None:
    trigger = reasoning.trigger
    if trigger is None or reasoning.marker is not None:
        return None
    return {
        "name": trigger.tool,
        "probability": trigger.probability,
        "calibrated": reasoning.calibrated,
        "runners_up": [{"name": other.tool, "probability": other.probability} for other in reasoning.runners_up],
        "backtraced_from": [{"name": one.tool, "error": one.error} for one in (call.backtraced_from if call else ())],
    }


def _rerank_metadata(judgement: Judgement) -> dict[str, Any]:
    """What a second look came to. Reject has the name None, as has what was chosen where the call was rejected."""
    return {
        "method": judgement.method,
        "candidates": [{"name": name, "score": score} for name, score in judgement.scores],
        "chosen": judgement.chosen,
        "extra_tokens": judgement.extra_tokens,
    }


def _logprobs_metadata(logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
    """In the form of OpenAI's API, which LangChain's models hand on as it is."""

    def entry(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "bytes": list(token.encode()), "logprob": logprob}

    return {
        "content": [{**entry(w.token, w.logprob), "top_logprobs": [entry(*other) for other in w.top]} for w in logprobs]
    }
