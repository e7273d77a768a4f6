"""The nodes of create_toolken_agent: structured answers, and several calls in one answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import ToolMessage
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel

from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.engine import Candidate, Reasoning
from langchain_toolken.toolkens.evidence import Evidence, Gate
from langchain_toolken.tools.spec import tool_spec
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.tiny import make_tokenizer
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import lamp, multiply

QUESTION = {"messages": [("user", "How many pens do 27 boxes hold?")]}


class Pens(BaseModel):
    """A number of pens."""

    count: int


def counted(text: str = '{"count": 54}', arguments: dict[str, Any] | None = {"count": 54}) -> ScriptedEngine:  # noqa: B006
    """The LM calls multiply, says " pens.", and then the answer in its form."""
    engine = ScriptedEngine([reasoning(" 2*27=", "multiply"), reasoning(" pens.")])
    engine.completions = [completion("{}", {"a": 2, "b": 27}), completion(text, arguments)]
    return engine


def chat_of(engine: ScriptedEngine) -> ToolkenChat:
    return ToolkenChat.from_engine(engine, scripted_toolkens(tool_spec(multiply)))


@pytest.mark.parametrize("form", [Pens, ProviderStrategy(Pens)], ids=["class", "strategy"])
def test_the_answer_is_said_again_in_its_form(form: Any) -> None:
    engine = counted()
    state = create_toolken_agent(chat_of(engine), [multiply], response_format=form).invoke(QUESTION)
    assert state["structured_response"] == Pens(count=54)
    assert state["text"] == "2*27=54 pens."
    assert state["messages"][-1].text == " pens."
    assert [step["kind"] for step in state["steps"]][-2:] == ["reason", "respond"]
    assert "A: 2*27=54 pens." in engine.decoded()[-1]
    assert "Pens" in engine.decoded()[-1]


def test_a_json_schema_gives_plain_values() -> None:
    schema = Pens.model_json_schema()
    state = create_toolken_agent(chat_of(counted()), [multiply], response_format=schema).invoke(QUESTION)
    assert state["structured_response"] == {"count": 54}


def test_create_agent_has_the_same_response() -> None:
    state = create_agent(chat_of(counted()), [multiply], response_format=Pens).invoke(QUESTION)
    assert state["structured_response"] == Pens(count=54)


def test_a_form_that_was_cut_off_ends_the_run_with_a_reason() -> None:
    engine = counted('{"cou', None)
    state = create_toolken_agent(chat_of(engine), [multiply], response_format=Pens).invoke(QUESTION)
    assert state["ending"] == "invalid_response"
    assert "Pens was cut off" in state["messages"][-1].text
    assert "structured_response" not in state


def test_a_run_that_ended_early_has_no_structured_answer() -> None:
    agent = create_toolken_agent(chat_of(counted()), [multiply], response_format=Pens, token_budget=2)
    assert "structured_response" not in agent.invoke(QUESTION)


def test_what_is_no_form_is_refused() -> None:
    with pytest.raises(ValueError, match="not the schema of an object"):
        create_toolken_agent(chat_of(counted()), [multiply], response_format=ToolStrategy(Pens))  # type: ignore[arg-type]


def test_a_run_can_stop_before_it_responds() -> None:
    options: dict[str, Any] = {"interrupt_before": ["respond"], "checkpointer": InMemorySaver()}
    agent = create_toolken_agent(chat_of(counted()), [multiply], response_format=Pens, **options)
    thread: Any = {"configurable": {"thread_id": "1"}}
    agent.invoke(QUESTION, thread)
    assert agent.get_state(thread).next == ("respond",)
    assert agent.invoke(None, thread)["structured_response"] == Pens(count=54)


@dataclass
class Parting(ScriptedEngine):
    """Calls for both parts of "lamp and multiply"."""

    tokenizer: Any = field(default_factory=make_tokenizer)

    def rank(self, prompts: Sequence[Sequence[int]], **settings: Any) -> list[tuple[Candidate, ...]]:
        asked = [self.tokenizer.decode(prompt).rpartition("user")[2] for prompt in prompts]
        return [(Candidate("lamp" if "lamp" in one else "multiply", 0.9),) for one in asked]


def two_calls(second: dict[str, Any] | None) -> Any:
    both = Reasoning((), "", Candidate("lamp", 0.75), (Candidate("multiply", 0.2),), "tool_calls", 10, 0)
    engine = Parting([both, reasoning(" Done.")])
    engine.completions = [completion("{}", {"state": "on"}), completion('{"a":', second)]
    toolkens = scripted_toolkens(tool_spec(lamp), tool_spec(multiply), style="chat")
    toolkens = replace(toolkens, evidence=Evidence(gate=Gate(torch.zeros(4), torch.zeros(4), 0.0)))
    llm = ToolkenChat.from_engine(engine, toolkens, reinjection="turn", parallel_tool_calls=True)
    return create_toolken_agent(llm, [lamp, multiply])


def test_the_steps_of_several_calls_name_each_with_its_probability_and_result() -> None:
    state = two_calls({"a": 2, "b": 27}).invoke({"messages": [("user", "the lamp and multiply")]})
    complete = [step for step in state["steps"] if step["kind"] == "complete"]
    assert [(step["tool"], step["arguments"], step["probability"]) for step in complete] == [
        ("lamp", {"state": "on"}, 0.9),
        ("multiply", {"a": 2, "b": 27}, 0.9),
    ]
    results = [(step["tool"], step["result"]) for step in state["steps"] if step["kind"] == "execute"]
    assert results == [("lamp", "the lamp is on"), ("multiply", "54")]
    assert state["messages"][-1].text == " Done."


def test_a_call_with_invalid_arguments_leaves_the_others_and_is_told() -> None:
    state = two_calls(None).invoke({"messages": [("user", "the lamp and multiply")]})
    (failed,) = [step for step in state["steps"] if step.get("failed")]
    assert (failed["kind"], failed["tool"]) == ("complete", "multiply")
    assert "cut off" in failed["text"]
    assert [message.name for message in state["messages"] if isinstance(message, ToolMessage)] == ["lamp"]
    assert state["ending"] == "answered"
