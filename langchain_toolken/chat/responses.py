"""Turn what an engine decoded into LangChain messages, with calls, usage, and the toolken and its runners-up."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Sequence
from functools import reduce
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata, add_usage
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk

from langchain_toolken.chat.answers import Answer, Thought
from langchain_toolken.chat.calls import DecodedCall
from langchain_toolken.decoding.engine import Completion, Judgement, Reasoning, TokenLogprob
from langchain_toolken.decoding.parts import PartCall
from langchain_toolken.prompts.thoughts import OPEN_KEY, THOUGHT_KEY

AMBIGUOUS = 0.5
"""A call is ambiguous if the next likeliest tool has at least this share of its probability."""


def response(answer: Answer, reasoning: Reasoning, call: DecodedCall | None, model_name: str) -> AIMessage:
    """Build the AIMessage of a turn. It has the same shape however the call began.

    Generated text, the toolken (or the marker and the tool's name) and the arguments count as output tokens. The tool
    card, and what the LM read to judge a call again, count as input tokens.

    Args:
        answer: The generated text, split into thought and answer.
        reasoning: What the engine decoded.
        call: The decoded call; None if the LM called no tool.
        model_name: The LM's name, for the metadata.
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


def with_further_calls(message: AIMessage, further: Sequence[AIMessage], parts: Sequence[PartCall]) -> AIMessage:
    """Return a message with the calls of further ones, their cost, and which parts of the request they answer."""
    every = [message, *further]
    usages = [each.usage_metadata for each in every if each.usage_metadata is not None]
    called = [{"name": each.tool.tool, "probability": each.tool.probability, "part": each.text} for each in parts]
    cut = next((each for each in every if each.response_metadata["finish_reason"] == "length"), message)
    return message.model_copy(
        update={
            "tool_calls": [call for each in every for call in each.tool_calls],
            "invalid_tool_calls": [call for each in every for call in each.invalid_tool_calls],
            "usage_metadata": reduce(add_usage, usages),
            "response_metadata": {
                **message.response_metadata,
                "finish_reason": cut.response_metadata["finish_reason"],
                "parallel": called,
            },
        }
    )


def schema_response(completion: Completion, model_name: str) -> AIMessage:
    """Build the AIMessage of an answer that was decoded under a schema. Its text is the JSON."""
    return AIMessage(
        content=completion.text,
        usage_metadata=_usage(completion.prompt_tokens, completion.completion_tokens, completion.reused_tokens),
        response_metadata={"finish_reason": completion.finish_reason, "model_name": model_name, "toolken": None},
    )


def chunk_of(piece: str | Thought) -> AIMessageChunk:
    """Return the chunk that streams a piece of the text or of the thought before it."""
    if isinstance(piece, Thought):
        return AIMessageChunk(content="", additional_kwargs={THOUGHT_KEY: piece.text} if piece.text else {})
    return AIMessageChunk(content=piece)


def closing_chunks(message: AIMessage) -> Iterator[AIMessageChunk]:
    """Yield what follows the text when `message` is streamed: its calls, then its usage and metadata."""
    for number, call in enumerate(message.tool_calls):
        arguments = json.dumps(call["args"], ensure_ascii=False)
        chunk = tool_call_chunk(name=call["name"], args=arguments, id=call["id"], index=number)
        yield AIMessageChunk(content="", tool_call_chunks=[chunk])
    for number, cut in enumerate(message.invalid_tool_calls, start=len(message.tool_calls)):
        # LangChain parses merged chunks leniently and would complete cut-off JSON into a call that the LM never
        # finished. As a JSON string without its closing quote it stays an invalid call, both there and in
        # stream_events(version="v3"), which takes all valid JSON for a call.
        unfinished = json.dumps(cut["args"]).removesuffix('"')
        chunk = tool_call_chunk(name=cut["name"], args=unfinished, id=cut["id"], index=number)
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
        "ambiguous": any(other.probability >= AMBIGUOUS * trigger.probability for other in reasoning.runners_up),
        "runners_up": [{"name": other.tool, "probability": other.probability} for other in reasoning.runners_up],
        "backtraced_from": [{"name": one.tool, "error": one.error} for one in (call.backtraced_from if call else ())],
    }


def _rerank_metadata(judgement: Judgement) -> dict[str, Any]:
    """Return a judgement as metadata. "Reject" has the name None, both among the candidates and as the choice."""
    return {
        "method": judgement.method,
        "candidates": [{"name": name, "score": score} for name, score in judgement.scores],
        "chosen": judgement.chosen,
        "extra_tokens": judgement.extra_tokens,
    }


def _logprobs_metadata(logprobs: Sequence[TokenLogprob]) -> dict[str, Any]:
    """Return log-probabilities in the form of OpenAI's API, as LangChain's other chat models do."""

    def entry(token: str, logprob: float) -> dict[str, Any]:
        return {"token": token, "bytes": list(token.encode()), "logprob": logprob}

    return {
        "content": [{**entry(w.token, w.logprob), "top_logprobs": [entry(*other) for other in w.top]} for w in logprobs]
    }
