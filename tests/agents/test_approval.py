"""create_toolken_agent asks a person before calls, and goes on with what the person decides."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.tools.spec import tool_spec
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import divide, multiply

QUESTION = {"messages": [("user", "How many pens do 27 boxes hold?")]}
THREAD: Any = {"configurable": {"thread_id": "1"}}


def agent(**options: Any) -> tuple[Any, ScriptedEngine]:
    engine = ScriptedEngine(
        [reasoning(" They hold 2*27=", "multiply"), reasoning(" pens in total.")],
        [completion('{"a":2,"b":27}', {"a": 2, "b": 27})],
    )
    llm = ToolkenChat.from_engine(engine, scripted_toolkens(tool_spec(multiply), tool_spec(divide)))
    made = create_toolken_agent(llm, [multiply, divide], checkpointer=InMemorySaver(), **options)
    return made, engine


def decide(made: Any, **decision: Any) -> dict[str, Any]:
    return dict(made.invoke(Command(resume={"decisions": [decision]}), THREAD))


def test_a_run_stops_with_the_call_before_anything_runs() -> None:
    made, _ = agent(approve=lambda tool: True)
    stopped = made.invoke(QUESTION, THREAD)
    asked = stopped["__interrupt__"][0].value
    assert asked["action_requests"] == [
        {"name": "multiply", "args": {"a": 2, "b": 27}, "description": multiply.description}
    ]
    assert asked["review_configs"] == [{"action_name": "multiply", "allowed_decisions": ["approve", "edit", "reject"]}]
    assert not any(isinstance(message, ToolMessage) for message in stopped["messages"])


def test_an_approved_call_runs() -> None:
    made, _ = agent(approve=lambda tool: True)
    made.invoke(QUESTION, THREAD)
    assert decide(made, type="approve")["text"] == "They hold 2*27=54 pens in total."


def test_an_edited_call_runs_as_edited_and_the_history_says_so() -> None:
    made, engine = agent(approve=lambda tool: True)
    made.invoke(QUESTION, THREAD)
    state = decide(made, type="edit", edited_action={"name": "multiply", "args": {"a": 3, "b": 27}})
    assert "81" in state["text"]
    calls = [message.tool_calls for message in state["messages"] if isinstance(message, AIMessage)]
    assert [call["args"] for call in calls[0]] == [{"a": 3, "b": 27}]
    assert [step["arguments"] for step in state["steps"] if step["kind"] == "complete"][-1] == {"a": 3, "b": 27}
    assert not engine.reasonings


def test_another_tool_can_be_put_in_its_place() -> None:
    made, _ = agent(approve=lambda tool: True)
    made.invoke(QUESTION, THREAD)
    state = decide(made, type="edit", edited_action={"name": "divide", "args": {"a": 54, "b": 27}})
    ran = [message.name for message in state["messages"] if isinstance(message, ToolMessage)]
    assert ran == ["divide"]


def test_a_rejected_call_does_not_run_and_the_ending_says_why() -> None:
    made, engine = agent(approve=lambda tool: True)
    made.invoke(QUESTION, THREAD)
    state = decide(made, type="reject", message="Too many pens.")
    assert state["messages"][-1].content == "Stopped: the call of 'multiply' was not approved. Too many pens."
    assert state["steps"][-1]["kind"] == "stop"
    engine.reasonings.append(reasoning(" Bye."))
    assert made.invoke({"messages": [("user", "Bye")]}, THREAD)["messages"][-1].content


def test_of_several_calls_each_is_decided_and_one_that_is_rejected_stops_them_all() -> None:
    def two_calls(**decisions: Any) -> dict[str, Any]:
        made, _ = agent(approve=lambda tool: tool.name == "multiply", interrupt_after=["complete"])
        stopped = made.invoke(QUESTION, THREAD)
        message = stopped["messages"][-1]
        first = message.tool_calls[0]
        calls = [{**first, "name": "divide", "args": {"a": 4, "b": 2}, "id": "0"}, first]
        made.update_state(THREAD, {"messages": [message.model_copy(update={"tool_calls": calls})]})
        asked = made.invoke(None, THREAD)["__interrupt__"][0].value
        assert [each["name"] for each in asked["action_requests"]] == ["multiply"]
        return decide(made, **decisions)

    edited = two_calls(type="edit", edited_action={"name": "multiply", "args": {"a": 3, "b": 27}})
    assert [m.content for m in edited["messages"] if isinstance(m, ToolMessage)] == ["2.0", "81"]
    rejected = two_calls(type="reject")
    assert [m.status for m in rejected["messages"] if isinstance(m, ToolMessage)] == ["error", "error"]
    assert rejected["ending"] == "not_approved"


def test_only_the_tools_it_names_are_asked_about() -> None:
    made, _ = agent(approve=lambda tool: tool.name == "divide")
    assert made.invoke(QUESTION, THREAD)["text"] == "They hold 2*27=54 pens in total."


async def test_it_asks_in_async_runs_too() -> None:
    made, _ = agent(approve=lambda tool: True)
    assert "__interrupt__" in await made.ainvoke(QUESTION, THREAD)
    state = await made.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
    assert state["text"] == "They hold 2*27=54 pens in total."


@pytest.mark.parametrize("when", ["interrupt_before", "interrupt_after"])
def test_a_graph_can_stop_at_the_asking_node(when: str) -> None:
    made, _ = agent(approve=lambda tool: False, **{when: ["approve"]})
    made.invoke(QUESTION, THREAD)
    assert made.get_state(THREAD).next == (("approve",) if when == "interrupt_before" else ("execute",))
