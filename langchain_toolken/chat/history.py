"""What a history says of the question that is being answered: its calls, its tokens, the last results."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage


def calls_since_question(messages: Sequence[BaseMessage], direct: Collection[str]) -> int:
    """Count the calls since the user's last message.

    A human message right after a result was added by the tool, and is no new question, unless the tool's result was
    itself the answer (`direct`).
    """
    return sum(len(message.tool_calls) for message in _answers_since_question(messages, direct))


def tokens_since_question(messages: Sequence[BaseMessage], direct: Collection[str]) -> int:
    """Count the tokens that the LM wrote since the user's last message, as `calls_since_question` finds it."""
    answers = _answers_since_question(messages, direct)
    return sum(message.usage_metadata["output_tokens"] for message in answers if message.usage_metadata)


def last_results(messages: Sequence[BaseMessage]) -> list[tuple[ToolCall, ToolMessage]]:
    """Return the calls of the last assistant message that makes some, each with its result.

    A Command may add other messages, and may leave the result out.
    """
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if isinstance(message, AIMessage) and message.tool_calls:
            results = {each.tool_call_id: each for each in messages[place:] if isinstance(each, ToolMessage)}
            return [(call, results[str(call["id"])]) for call in message.tool_calls if call["id"] in results]
    return []


def pending_calls(messages: Sequence[BaseMessage]) -> tuple[AIMessage | None, list[ToolCall]]:
    """Return the assistant's last message, None if there is none, and those of its calls that have no result."""
    for place in range(len(messages) - 1, -1, -1):
        message = messages[place]
        if isinstance(message, AIMessage):
            done = {each.tool_call_id for each in messages[place:] if isinstance(each, ToolMessage)}
            return message, [call for call in message.tool_calls if call["id"] not in done]
    return None, []


def _answers_since_question(messages: Sequence[BaseMessage], direct: Collection[str]) -> Iterator[AIMessage]:
    start = 0
    for place, (before, message) in enumerate(zip([None, *messages], messages, strict=False)):
        by_tool = isinstance(before, ToolMessage) and before.name not in direct
        if isinstance(message, HumanMessage) and not by_tool:
            start = place
    return (message for message in messages[start:] if isinstance(message, AIMessage))
