"""create_toolken_agent keeps LangGraph's contract for tools and graphs as create_agent does."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from langchain.agents import AgentState, create_agent
from langchain.tools import ToolRuntime
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, InjectedStore
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command

from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.agents.state import ToolkenAgentState
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.tools.spec import tool_spec
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.toolken_sets import scripted_toolkens

QUESTION = {"messages": [("user", "How many?")]}
BOTH = pytest.mark.parametrize("make", [create_agent, create_toolken_agent])


def agent_of(make: Any, used: Any, *said: str, calls: int = 1, **options: Any) -> tuple[Any, ScriptedEngine]:
    """An agent whose LM calls `used` with x=3 `calls` times, and then says each of `said`."""
    engine = ScriptedEngine(
        [*(reasoning(f" {n}:", used.name) for n in range(calls)), *map(reasoning, said)],
        [completion('{"x":3}', {"x": 3})] * 9,
    )
    return make(ToolkenChat.from_engine(engine, scripted_toolkens(tool_spec(used))), [used], **options), engine


@tool(return_direct=True)
def direct(x: int) -> str:
    """Answer itself."""
    return f"<{x}>"


@tool
def several(x: int, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Add several messages."""
    result = ToolMessage("put", tool_call_id=tool_call_id)
    return Command(update={"messages": [result, HumanMessage("And now in words.")]})


@tool
def two_answers(x: int, tool_call_id: Annotated[str, InjectedToolCallId]) -> Command[Any]:
    """Add a result and an answer."""
    return Command(update={"messages": [ToolMessage("put", tool_call_id=tool_call_id), AIMessage(" It is done")]})


@tool
def remember(x: int, store: Annotated[BaseStore, InjectedStore()]) -> str:
    """Keep x."""
    store.put(("kept",), "x", {"x": x})
    return "kept"


class Basket(AgentState[Any]):
    basket: list[int]


class ToolkenBasket(ToolkenAgentState):
    basket: list[int]


@tool
def put(
    x: int, state: Annotated[dict[str, Any], InjectedState], tool_call_id: Annotated[str, InjectedToolCallId]
) -> Command[Any]:
    """Put x into the basket."""
    result = ToolMessage(str(len(state["messages"])), tool_call_id=tool_call_id)
    return Command(update={"basket": [*state["basket"], x], "messages": [result]})


@dataclass
class Shop:
    name: str


@tool
def look(x: int, runtime: ToolRuntime[Shop]) -> str:
    """Look into the shop."""
    runtime.stream_writer({"seen": x})
    return f"{runtime.context.name} has {len(runtime.state['messages'])}"


def kinds(messages: list[BaseMessage]) -> list[str]:
    return [message.type for message in messages]


@BOTH
def test_a_direct_result_is_the_answer(make: Any) -> None:
    agent, engine = agent_of(make, direct)
    state = agent.invoke(QUESTION)
    assert kinds(state["messages"]) == ["human", "ai", "tool"]
    assert state["messages"][-1].content == "<3>"
    assert not engine.reasonings
    assert state.get("text", "0: <3>") == "0: <3>"


@BOTH
def test_a_thread_goes_on_after_direct_results(make: Any) -> None:
    agent, _ = agent_of(make, direct, " Bye.", calls=2, checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    agent.invoke(QUESTION, thread)
    agent.invoke(QUESTION, thread)
    messages = agent.invoke({"messages": [("user", "Bye")]}, thread)["messages"]
    assert kinds(messages) == ["human", "ai", "tool", "human", "ai", "tool", "human", "ai"]


@BOTH
def test_a_command_may_add_messages_after_the_result(make: Any) -> None:
    agent, engine = agent_of(make, several, " Three.")
    messages = agent.invoke(QUESTION)["messages"]
    assert kinds(messages) == ["human", "ai", "tool", "human", "ai"]
    assert engine.decoded()[-1] == "Q: How many?\nA: 0: put\n\nQ: And now in words.\nA:"


@BOTH
def test_a_command_may_add_a_message_of_the_assistant(make: Any) -> None:
    agent, engine = agent_of(make, two_answers, " at last.")
    messages = agent.invoke(QUESTION)["messages"]
    assert kinds(messages) == ["human", "ai", "tool", "ai", "ai"]
    assert engine.decoded()[-1].endswith("A: 0: put It is done")


@BOTH
def test_tools_get_the_store(make: Any) -> None:
    store = InMemoryStore()
    agent, _ = agent_of(make, remember, " Done.", store=store)
    agent.invoke(QUESTION)
    item = store.get(("kept",), "x")
    assert item is not None
    assert item.value == {"x": 3}


@BOTH
def test_tools_read_and_write_the_state(make: Any) -> None:
    schema = Basket if make is create_agent else ToolkenBasket
    agent, _ = agent_of(make, put, " Done.", state_schema=schema)
    state = agent.invoke({**QUESTION, "basket": [1]})
    assert state["basket"] == [1, 3]
    assert state["messages"][2].content == "2"


@BOTH
def test_tools_get_the_runtime_with_its_context(make: Any) -> None:
    agent, _ = agent_of(make, look, " Done.", context_schema=Shop)
    seen = [part for part in agent.stream(QUESTION, context=Shop("Aldi"), stream_mode="custom") if "seen" in part]
    assert seen == [{"seen": 3}]
    agent, engine = agent_of(make, look, " Done.", context_schema=Shop)
    agent.invoke(QUESTION, context=Shop("Aldi"))
    assert engine.decoded()[-1].endswith("Aldi has 2")


@BOTH
@pytest.mark.parametrize("prompt", ["Be exact.", SystemMessage("Be exact.")], ids=["text", "message"])
def test_the_system_prompt_is_read_and_not_kept(make: Any, prompt: Any) -> None:
    agent, engine = agent_of(make, direct, " Three.", calls=0, system_prompt=prompt)
    assert kinds(agent.invoke(QUESTION)["messages"]) == ["human", "ai"]
    assert engine.decoded() == ["Be exact.\n\nQ: How many?\nA:"]


def test_the_system_prompt_is_read_at_every_step() -> None:
    agent, engine = agent_of(create_toolken_agent, several, " Three.", system_prompt="Be exact.")
    agent.invoke(QUESTION)
    assert all(prompt.startswith("Be exact.\n\nQ: How many?") for prompt in engine.decoded())


@pytest.mark.parametrize("when", ["interrupt_before", "interrupt_after"])
@pytest.mark.parametrize("node", ["reason", "complete", "execute", "reinject"])
def test_a_graph_made_with_interrupts_stops_at_them(when: str, node: str) -> None:
    options: dict[str, Any] = {when: [node], "checkpointer": InMemorySaver()}
    agent, _ = agent_of(create_toolken_agent, look, " Done.", context_schema=Shop, **options)
    thread: Any = {"configurable": {"thread_id": "1"}}
    agent.invoke(QUESTION, thread, context=Shop("Aldi"))
    assert (node in agent.get_state(thread).next) == (when == "interrupt_before")
    for _ in range(3):
        agent.invoke(None, thread, context=Shop("Aldi"))
    assert agent.get_state(thread).values["messages"][-1].content == " Done."


@BOTH
def test_a_named_agent_and_its_messages_carry_the_name(make: Any) -> None:
    agent, _ = agent_of(make, look, " Done.", context_schema=Shop, name="clerk")
    assert agent.name == "clerk"
    messages = agent.invoke(QUESTION, context=Shop("Aldi"))["messages"]
    assert [message.name for message in messages if isinstance(message, AIMessage)] == ["clerk", "clerk"]


@BOTH
def test_two_agents_of_one_graph_hand_over_to_each_other(make: Any) -> None:
    @tool
    def hand_over(x: int, runtime: ToolRuntime) -> Command[Any]:
        """Hand over to the cook."""
        done = ToolMessage("handed over", tool_call_id=runtime.tool_call_id)
        update = {"messages": [*runtime.state["messages"], done]}
        return Command(goto="cook", graph=Command.PARENT, update=update)

    clerk, _ = agent_of(make, hand_over, name="clerk")
    cook, engine = agent_of(make, direct, " Soup.", calls=0, name="cook")
    parent = StateGraph(MessagesState)
    parent.add_node(clerk.name, clerk)
    parent.add_node(cook.name, cook)
    parent.add_edge(START, "clerk")
    messages = parent.compile().invoke(QUESTION)["messages"]
    assert kinds(messages) == ["human", "ai", "tool", "ai"]
    assert messages[-1].name == "cook"
    assert engine.decoded()[-1].endswith("A: 0: handed over")


def test_a_command_to_another_node_of_the_parent_ends_the_agent() -> None:
    @tool
    def leave(x: int) -> Command[Any]:
        """Leave."""
        return Command(goto="exit", graph=Command.PARENT)

    agent, _ = agent_of(create_toolken_agent, leave, name="clerk")
    parent = StateGraph(MessagesState)
    parent.add_node("clerk", agent)
    parent.add_node("exit", lambda state: {"messages": [AIMessage("gone")]})
    parent.add_edge(START, "clerk")
    assert parent.compile().invoke(QUESTION)["messages"][-1].content == "gone"


def test_a_tool_that_adds_a_question_each_time_is_stopped_by_max_calls() -> None:
    agent, engine = agent_of(create_toolken_agent, several, calls=9, max_calls=4)
    engine.context_length = 10_000
    assert "limit of 4 tool calls" in agent.invoke(QUESTION)["messages"][-1].content


def test_steps_are_what_json_keeps_of_them() -> None:
    agent, _ = agent_of(create_toolken_agent, several, " Three.", checkpointer=InMemorySaver())
    thread: Any = {"configurable": {"thread_id": "1"}}
    steps = agent.invoke(QUESTION, thread)["steps"]
    assert steps == json.loads(json.dumps(steps)) == agent.get_state(thread).values["steps"]
    assert steps[0]["runners_up"] == [{"name": "other", "probability": 0.125}]
