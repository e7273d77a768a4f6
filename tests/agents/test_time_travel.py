"""The pending tool or its arguments can be edited, now or at an earlier point, alone and inside of another graph."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.tools.spec import tool_spec
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import divide, multiply

QUESTION = {"messages": [("user", "How many pens do 27 boxes hold?")]}
THREAD: Any = {"configurable": {"thread_id": "1"}}


def agent(**options: Any) -> Any:
    engine = ScriptedEngine(
        [reasoning(" They hold 54, 27:", "multiply"), *(reasoning(" pens in total.") for _ in range(4))],
        [completion('{"a":54,"b":27}', {"a": 54, "b": 27}) for _ in range(4)],
    )
    llm = ToolkenChat.from_engine(engine, scripted_toolkens(tool_spec(multiply), tool_spec(divide)))
    return create_toolken_agent(llm, [multiply, divide], **options)


def results(state: dict[str, Any]) -> list[tuple[str | None, Any]]:
    return [(message.name, message.content) for message in state["messages"] if isinstance(message, ToolMessage)]


def with_tool(reasoned: dict[str, Any], tool: str) -> dict[str, Any]:
    return {**reasoned, "trigger": {**reasoned["trigger"], "tool": tool}}


def with_arguments(message: AIMessage, **arguments: Any) -> AIMessage:
    return message.model_copy(update={"tool_calls": [{**message.tool_calls[0], "args": arguments}]})


def test_the_pending_tool_is_edited_before_its_arguments_are_written() -> None:
    made = agent(checkpointer=InMemorySaver(), interrupt_after=["reason"])
    made.invoke(QUESTION, THREAD)
    pending = made.get_state(THREAD).values["reasoning"]
    made.update_state(THREAD, {"reasoning": with_tool(pending, "divide")})
    made.invoke(None, THREAD)
    state = made.get_state(THREAD).values
    assert results(state) == [("divide", "2.0")]
    assert [step["tool"] for step in state["steps"] if step["kind"] == "complete"] == ["divide"]


def test_the_pending_arguments_are_edited_before_the_tool_runs() -> None:
    made = agent(checkpointer=InMemorySaver(), interrupt_before=["execute"])
    stopped = made.invoke(QUESTION, THREAD)
    made.update_state(THREAD, {"messages": [with_arguments(stopped["messages"][-1], a=2, b=27)]})
    state = made.invoke(None, THREAD)
    assert results(state) == [("multiply", "54")]
    assert [m.tool_calls[0]["args"] for m in state["messages"] if isinstance(m, AIMessage) and m.tool_calls] == [
        {"a": 2, "b": 27}
    ]


def test_a_run_that_is_over_goes_on_otherwise_from_an_earlier_point() -> None:
    made = agent(checkpointer=InMemorySaver())
    first = made.invoke(QUESTION, THREAD)
    assert results(first) == [("multiply", "1458")]
    chosen = next(point for point in made.get_state_history(THREAD) if point.next == ("complete",))
    fork = made.update_state(chosen.config, {"reasoning": with_tool(chosen.values["reasoning"], "divide")})
    assert results(made.invoke(None, fork)) == [("divide", "2.0")]
    pending = next(point for point in made.get_state_history(THREAD) if point.next == ("execute",))
    fork = made.update_state(pending.config, {"messages": [with_arguments(pending.values["messages"][-1], a=1, b=1)]})
    assert results(made.invoke(None, fork)) == [("divide", "1.0")]


def parent_of(made: Any) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("counting", made)
    graph.add_edge(START, "counting")
    return graph.compile(checkpointer=InMemorySaver())


def test_inside_of_another_graph_it_asks_through_that_graph() -> None:
    parent = parent_of(agent(approve=lambda tool: True))
    stopped = parent.invoke(QUESTION, THREAD)
    assert stopped["__interrupt__"][0].value["action_requests"][0]["name"] == "multiply"
    edited = {"name": "multiply", "args": {"a": 3, "b": 27}}
    state = parent.invoke(Command(resume={"decisions": [{"type": "edit", "edited_action": edited}]}), THREAD)
    assert results(state) == [("multiply", "81")]
    assert state["messages"][-1].content == " pens in total."


def test_inside_of_another_graph_its_pending_arguments_are_edited_too() -> None:
    parent = parent_of(agent(interrupt_before=["execute"]))
    parent.invoke(QUESTION, THREAD)
    inner = parent.get_state(THREAD, subgraphs=True).tasks[0].state
    parent.update_state(inner.config, {"messages": [with_arguments(inner.values["messages"][-1], a=2, b=2)]})
    assert results(parent.invoke(None, THREAD)) == [("multiply", "4")]


def test_a_second_question_of_a_thread_ends_for_its_own_reason() -> None:
    made = agent(checkpointer=InMemorySaver(), max_calls=1)
    assert made.invoke(QUESTION, THREAD)["ending"] == "answered"
    states = [part["ending"] for part in made.stream(QUESTION, THREAD, stream_mode="values")]
    assert states[-1] == "answered"
