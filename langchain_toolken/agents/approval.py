"""Asking a person before calls, as LangChain's `HumanInTheLoopMiddleware` asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, ToolCall, ToolMessage
from langchain_core.tools import BaseTool
from langgraph.types import interrupt

from langchain_toolken.agents.state import Step


@dataclass(frozen=True)
class Refusal:
    """What a person's refusal of a call comes to.

    Attributes:
        why: What the run ends with.
        results: A result of status "error" for each call that has none.
    """

    why: str
    results: list[ToolMessage]


@dataclass(frozen=True)
class Leave:
    """Calls that may run.

    Attributes:
        message: The message with the calls as edited, or None where none was.
        steps: The calls that were edited.
    """

    message: AIMessage | None
    steps: list[Step]


def ask_for(
    message: AIMessage, pending: Sequence[ToolCall], approve: Callable[[BaseTool], bool], tools: Mapping[str, BaseTool]
) -> Refusal | Leave:
    """Interrupt the run for the calls that need leave, and go on with what the person decides.

    Args:
        message: The message that makes the calls.
        pending: Those of its calls that have no result yet.
        approve: Says which tools a person is asked about.
        tools: The tools by name.
    """
    calls = {
        place: call for place, call in enumerate(message.tool_calls) if call in pending and approve(tools[call["name"]])
    }
    if not calls:
        return Leave(None, [])
    requests = [
        {"name": each["name"], "args": each["args"], "description": tools[each["name"]].description}
        for each in calls.values()
    ]
    allowed = ["approve", "edit", "reject"]
    names = dict.fromkeys(each["name"] for each in calls.values())
    reviews = [{"action_name": name, "allowed_decisions": allowed} for name in names]
    decisions = interrupt({"action_requests": requests, "review_configs": reviews})["decisions"]
    edited, steps = [*message.tool_calls], list[Step]()
    for (place, call), decision in zip(calls.items(), decisions, strict=True):
        if decision["type"] == "reject":
            why = f"Stopped: the call of {call['name']!r} was not approved. {decision.get('message') or ''}".rstrip()
            results = [
                ToolMessage(why, name=each["name"], tool_call_id=str(each["id"]), status="error") for each in pending
            ]
            return Refusal(why, results)
        if decision["type"] == "edit":
            edited[place] = ToolCall(**{**call, **decision["edited_action"]})
            changed = edited[place]
            steps.append(Step(kind="complete", tool=changed["name"], arguments=changed["args"]))
    return Leave(message.model_copy(update={"tool_calls": edited}) if steps else None, steps)
