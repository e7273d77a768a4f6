"""Handoffs between agents that share one history, as langgraph-supervisor and langgraph-swarm write them.

One agent hands a request over by calling a tool `transfer_to_NAME`, whose result says "Successfully transferred to
NAME". To the agent that takes over this is no answer: it would talk about the transfer instead of doing what was asked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

_TOOLS = ("transfer_to_", "transfer_back_to_")
_RESULT = "Successfully transferred"


def without_handoffs(messages: Sequence[BaseMessage], own: Collection[str]) -> list[BaseMessage]:
    """Leave out other agents' handoffs: the call, what was said with it, and its result.

    Args:
        messages: The history.
        own: Names of the tools that the reader can call. Its own handoffs stay: they were its answer so far.
    """
    made = {call["id"]: call["name"] for each in messages if isinstance(each, AIMessage) for call in each.tool_calls}
    left_out = {
        each.tool_call_id
        for each in messages
        if isinstance(each, ToolMessage)
        and (name := made.get(each.tool_call_id, "")).startswith(_TOOLS)
        and name not in own
        and each.text.startswith(_RESULT)
    }
    if not left_out:
        return [*messages]
    kept: list[BaseMessage] = []
    for each in messages:
        if isinstance(each, ToolMessage):
            if each.tool_call_id not in left_out:
                kept.append(each)
        elif isinstance(each, AIMessage) and (calls := each.tool_calls):
            others = [call for call in calls if call["id"] not in left_out]
            if others:
                kept.append(each.model_copy(update={"tool_calls": others}) if len(others) < len(calls) else each)
        else:
            kept.append(each)
    return kept
