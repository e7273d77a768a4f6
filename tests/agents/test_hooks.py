"""create_toolken_agent takes LangChain's middleware, but for what wraps the model call."""

from __future__ import annotations

from typing import Any, NotRequired

import pytest
from langchain.agents import AgentState, create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    ModelCallLimitMiddleware,
    PIIMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
    hook_config,
)
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.tools.spec import tool_spec
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import multiply

QUESTION = {"messages": [("user", "How many pens do 27 boxes hold?")]}
THREAD: Any = {"configurable": {"thread_id": "1"}}
BOTH = pytest.mark.parametrize("make", [create_agent, create_toolken_agent])


def agent(*middleware: Any, make: Any = create_toolken_agent, used: BaseTool = multiply, **options: Any) -> Any:
    """An agent whose LM calls a tool with a=2 and b=27, and then says " pens."."""
    arguments = {"a": 2, "b": 27}
    engine = ScriptedEngine([reasoning(" 2*27=", used.name), reasoning(" pens.")], [completion("{}", arguments)])
    llm = ToolkenChat.from_engine(engine, scripted_toolkens(tool_spec(used)))
    return make(llm, [used], middleware=middleware, **options)


class Told(AgentState[Any]):
    told: NotRequired[list[str]]


class Telling(AgentMiddleware[Any, Any, Any]):
    """Keeps where it was in the state."""

    state_schema = Told

    def __init__(self, name: str, end: str | None = None) -> None:
        self._name = name
        self._end = end

    @property
    def name(self) -> str:
        return self._name

    def _tell(self, state: Any, hook: str) -> dict[str, Any]:
        told = {"told": [*state.get("told", []), f"{self._name}.{hook}"]}
        return {**told, "jump_to": "end"} if hook == self._end else told

    @hook_config(can_jump_to=["end"])
    def before_agent(self, state: Any, runtime: Any) -> dict[str, Any]:
        return self._tell(state, "before_agent")

    @hook_config(can_jump_to=["end"])
    def before_model(self, state: Any, runtime: Any) -> dict[str, Any]:
        return self._tell(state, "before_model")

    @hook_config(can_jump_to=["end"])
    def after_model(self, state: Any, runtime: Any) -> dict[str, Any]:
        return self._tell(state, "after_model")

    def after_agent(self, state: Any, runtime: Any) -> dict[str, Any]:
        return self._tell(state, "after_agent")


def flaky(failures: int) -> BaseTool:
    left = [failures]

    @tool
    def look(a: int, b: int) -> str:
        """Look."""
        if left[0]:
            left[0] -= 1
            raise ConnectionError("try again")
        return "54"

    return look


@BOTH
def test_hooks_run_in_create_agents_order(make: Any) -> None:
    told = agent(Telling("one"), Telling("two"), make=make).invoke(QUESTION)["told"]
    model = ["one.before_model", "two.before_model", "two.after_model", "one.after_model"]
    begun = ["one.before_agent", "two.before_agent"]
    assert told == [*begun, *model, *model, "two.after_agent", "one.after_agent"]


@BOTH
@pytest.mark.parametrize("hook", ["before_agent", "before_model", "after_model"])
def test_a_hook_may_end_the_run(make: Any, hook: str) -> None:
    state = agent(Telling("one", hook), Telling("two"), make=make).invoke(QUESTION)
    assert state["told"][-3:] == [f"one.{hook}", "two.after_agent", "one.after_agent"]
    assert not any(isinstance(message, ToolMessage) for message in state["messages"])
    assert state.get("ending", "middleware") == "middleware"
    assert "jump_to" not in state


@BOTH
def test_a_tool_that_fails_is_tried_again_by_retry_middleware(make: Any) -> None:
    retry = ToolRetryMiddleware(max_retries=2, initial_delay=0, jitter=False)
    state = agent(retry, make=make, used=flaky(2)).invoke(QUESTION)
    assert [message.content for message in state["messages"]][2:] == ["54", " pens."]


def test_a_tool_that_goes_on_failing_ends_the_run() -> None:
    retry = ToolRetryMiddleware(max_retries=1, initial_delay=0, jitter=False)
    assert agent(retry, used=flaky(9)).invoke(QUESTION)["ending"] == "tool_failed"
    assert agent(used=flaky(1)).invoke(QUESTION)["ending"] == "tool_failed"


@BOTH
def test_what_the_user_wrote_is_changed_before_the_lm_reads_it(make: Any) -> None:
    asked = {"messages": [("user", "Write to ann@example.org")]}
    messages = agent(PIIMiddleware("email"), make=make).invoke(asked)["messages"]
    assert messages[0].text == "Write to [REDACTED_EMAIL]"


def test_a_limit_of_model_calls_ends_the_run_with_its_own_words() -> None:
    state = agent(ModelCallLimitMiddleware(run_limit=1)).invoke(QUESTION)
    assert (state["ending"], state["text"]) == ("middleware", "2*27=54")
    assert "limits exceeded" in state["messages"][-1].text


def test_calls_that_middleware_refuses_do_not_run() -> None:
    state = agent(ToolCallLimitMiddleware(run_limit=0)).invoke(QUESTION)
    assert state["ending"] == "tool_failed"
    assert "limit" in state["steps"][-1]["text"]


@pytest.mark.parametrize(("decision", "ending"), [("approve", "answered"), ("reject", "tool_failed")])
def test_langchains_own_approval_works_too(decision: str, ending: str) -> None:
    made = agent(HumanInTheLoopMiddleware({"multiply": True}), checkpointer=InMemorySaver())
    asked = made.invoke(QUESTION, THREAD)["__interrupt__"][0].value
    assert asked["action_requests"][0]["name"] == "multiply"
    state = made.invoke(Command(resume={"decisions": [{"type": decision}]}), THREAD)
    assert state["ending"] == ending
    assert sum(isinstance(message, ToolMessage) for message in state["messages"]) == 1


@pytest.mark.parametrize("approve", [None, lambda tool: tool.name == "multiply"], ids=["execute", "approve"])
def test_only_calls_that_have_no_result_run(approve: Any) -> None:
    class Answering(AgentMiddleware[Any, Any, Any]):
        """Answers the first of two calls itself."""

        def after_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
            last = state["messages"][-1]
            if not last.tool_calls:
                return None
            (call,) = last.tool_calls
            two = last.model_copy(update={"tool_calls": [{**call, "id": "first"}, call]})
            return {"messages": [two, ToolMessage("0", name="multiply", tool_call_id="first")]}

    made = agent(Answering(), approve=approve, checkpointer=InMemorySaver())
    state = made.invoke(QUESTION, THREAD)
    if approve is not None:
        assert len(state["__interrupt__"][0].value["action_requests"]) == 1
        state = made.invoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
    assert [message.text for message in state["messages"] if isinstance(message, ToolMessage)] == ["0", "54"]
    assert [step["result"] for step in state["steps"] if step["kind"] == "execute"] == ["0", "54"]


def test_middleware_brings_tools() -> None:
    class Bringing(AgentMiddleware[Any, Any, Any]):
        tools = (multiply,)

    @tool
    def other(a: int) -> str:
        """Do something else."""
        return ""

    engine = ScriptedEngine([reasoning("", "multiply"), reasoning(" pens.")], [completion("{}", {"a": 2, "b": 27})])
    llm = ToolkenChat.from_engine(engine, scripted_toolkens(tool_spec(other), tool_spec(multiply)))
    state = create_toolken_agent(llm, [other], middleware=[Bringing()]).invoke(QUESTION)
    assert state["messages"][2].text == "54"


async def test_hooks_and_wrappers_may_be_async_only() -> None:
    class Waiting(AgentMiddleware[Any, Any, Any]):
        async def abefore_model(self, state: Any, runtime: Any) -> dict[str, Any] | None:
            last = state["messages"][-1]
            return {"messages": [HumanMessage("And?")]} if isinstance(last, ToolMessage) else None

        async def awrap_tool_call(self, request: Any, handler: Any) -> Any:
            done = await handler(request)
            return done.model_copy(update={"content": f"<{done.content}>"})

    made = agent(Waiting())
    messages = (await made.ainvoke(QUESTION))["messages"]
    assert [message.content for message in messages[2:]] == ["<54>", "And?", "pens."]
    with pytest.raises(TypeError, match="Waiting has no sync before_model"):
        agent(Waiting()).invoke(QUESTION)


def test_what_wraps_the_model_call_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="TodoListMiddleware wraps the model call.*create_agent"):
        agent(TodoListMiddleware())


def test_two_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two middleware are named one"):
        agent(Telling("one"), Telling("one"))


def test_a_run_stops_before_a_hook() -> None:
    made = agent(Telling("one"), checkpointer=InMemorySaver(), interrupt_before=["one.after_model"])
    made.invoke(QUESTION, THREAD)
    assert made.get_state(THREAD).next == ("one.after_model",)
    assert isinstance(made.get_state(THREAD).values["messages"][-1], AIMessage)
