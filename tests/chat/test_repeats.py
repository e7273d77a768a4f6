"""chat.repeats: no agent makes the same call again and again, whatever its tool returns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.chat.repeats import MOST_ALIKE, AnsweredCall, answered_calls
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import Reinjection, Style
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import tool_spec
from tests.support.prompts import call
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.tiny import make_lm
from tests.support.toolken_sets import provenance_of, scripted_toolkens
from tests.support.tools import door, lamp

QUESTION = {"messages": [("user", "Is the lamp on?")]}
AGENTS = pytest.mark.parametrize("make", [create_agent, create_toolken_agent])
LAYOUTS = pytest.mark.parametrize(
    ("style", "reinjection"), [("completion", "inline"), ("chat", "inline"), ("chat", "turn")]
)
EMPTY: list[Any] = ["", " ", "\n", [], [{"type": "text", "text": ""}]]


def tool_returning(results: list[Any], name: str = "send") -> tuple[BaseTool, list[Any]]:
    """A tool without arguments that returns `results` in turn, the last one from then on; and its runs so far."""
    ran: list[Any] = []

    def run() -> Any:
        ran.append(results[min(len(ran), len(results) - 1)])
        return ran[-1]

    return StructuredTool.from_function(run, name=name, description="Send it."), ran


@pytest.fixture(scope="module")
def tiny() -> TransformersEngine:
    return TransformersEngine(make_lm())


def always_firing(lm: LanguageModel, *tools: BaseTool, style: Style) -> ToolkenSet:
    """Toolkens that beat every word everywhere, the first tool's before the others'."""
    rows = torch.zeros(len(tools), lm.hidden_size)
    return ToolkenSet(
        specs=tuple(map(tool_spec, tools)),
        matrix=rows,
        prior=rows,
        bias=0.0,
        tool_biases=torch.arange(len(tools), 0, -1) * 1000.0,
        provenance=provenance_of(lm, style),
    )


@AGENTS
@LAYOUTS
@pytest.mark.parametrize("result", [*EMPTY, "sent"], ids=repr)
def test_a_toolken_that_always_fires_makes_few_calls_and_then_there_is_an_answer(
    tiny: TransformersEngine, make: Any, style: Style, reinjection: Reinjection, result: Any
) -> None:
    send, ran = tool_returning([result])
    other, _ = tool_returning([result], "other")
    toolkens = always_firing(tiny.lm, send, other, style=style)
    llm = ToolkenChat.from_engine(tiny, toolkens, style=style, reinjection=reinjection, max_tokens=6)
    messages = make(llm, [send]).invoke(QUESTION, {"recursion_limit": 40})["messages"]
    assert 1 <= len(ran) <= (1 if result != "sent" else MOST_ALIKE)
    assert isinstance(messages[-1], AIMessage)
    assert not messages[-1].tool_calls
    assert messages[-1].content


@pytest.mark.parametrize("text", ["They hold 27=", "It is ", 'It is "', "It costs $", "Sent"])
@pytest.mark.parametrize("result", EMPTY, ids=repr)
def test_no_tool_fires_at_the_very_text_where_one_brought_nothing(
    tiny: TransformersEngine, text: str, result: Any
) -> None:
    toolkens = always_firing(tiny.lm, lamp, door, style="completion")
    llm = ToolkenChat.from_engine(tiny, toolkens, max_tokens=8)
    history: list[BaseMessage] = [
        HumanMessage("?"),
        AIMessage(text, tool_calls=[call(name="lamp", state="on")]),
        ToolMessage(result, tool_call_id="1"),
    ]
    bound = llm.bind_tools([lamp, door])
    whole = bound.invoke(history)
    assert whole.content
    streamed = AIMessageChunk(content="")
    for chunk in bound.stream(history):
        streamed += chunk
    assert streamed.content == whole.content
    assert [each.content for each in bound.batch([history, history])] == [whole.content] * 2


def scripted(engine: ScriptedEngine) -> ToolkenChat:
    return ToolkenChat.from_engine(engine, scripted_toolkens(tool_spec(lamp), tool_spec(door)))


def lamp_call(state: str = "on") -> Any:
    return completion(f'{{"state":"{state}"}}', {"state": state})


def asked(*answered: tuple[str, str, str], status: str = "success") -> list[BaseMessage]:
    """A question and calls of lamp, as (text, state, result)."""
    messages: list[BaseMessage] = [HumanMessage("?")]
    for number, (text, state, result) in enumerate(answered):
        messages.append(AIMessage(text, tool_calls=[call(str(number), "lamp", state=state)]))
        messages.append(ToolMessage(result, tool_call_id=str(number), status=status))
    return messages


@pytest.mark.parametrize(
    ("history", "text"),
    [
        (asked(("It is", "on", "sent")), ""),
        (asked(("It is", "on", "sent")), ". "),
        (asked(("It is", "on", "sent")), " and again"),
        (asked(("It is", "on", "sent"), ("", "off", "sent"), (" and", "on", "sent"), ("", "off", "sent")), " then"),
        (asked(("It is", "on", "")), " then"),
        (asked(("It is", "on", "no such lamp"), (" so", "on", "no such lamp"), status="error"), ""),
    ],
    ids=[
        "at once",
        "after a full stop",
        "with words between",
        "a third time",
        "after an empty result",
        "a third failure",
    ],
)
def test_a_call_that_would_repeat_itself_is_refused_and_the_lm_goes_on(history: list[BaseMessage], text: str) -> None:
    def engine() -> ScriptedEngine:
        return ScriptedEngine([reasoning(text, "lamp"), reasoning(text + " Done.", tokens=(7, 8, 9))], [lamp_call()])

    first, second = engine(), engine()
    message = scripted(first).bind_tools([lamp, door]).invoke(history)
    assert (message.content, message.tool_calls) == (text + " Done.", [])
    assert [request.begun for request in first.requests] == [0 if history[-1].content == "" else None, 2]
    pieces = [chunk.content for chunk in scripted(second).bind_tools([lamp, door]).stream(history)]
    assert "".join(map(str, pieces)) == message.content


@pytest.mark.parametrize(
    ("history", "text", "state"),
    [
        (asked(("It is", "on", "sent")), "", "off"),
        (asked(("It is", "on", "sent"), (" and", "off", "sent")), " and again", "on"),
        (asked(("It is", "on", "timeout"), status="error"), "", "on"),
        (asked(("It is", "on", "1"), (" and", "on", "2")), " then", "on"),
        ([*asked(("It is", "on", "")), AIMessage("Done."), HumanMessage("Again!")], "", "on"),
    ],
    ids=["other arguments", "another call between", "after an error", "other results", "another question"],
)
def test_other_calls_are_made(history: list[BaseMessage], text: str, state: str) -> None:
    engine = ScriptedEngine([reasoning(text, "lamp")], [lamp_call(state), lamp_call(state)])
    (made,) = scripted(engine).bind_tools([lamp, door]).invoke(history).tool_calls
    assert (made["name"], made["args"]) == ("lamp", {"state": state})


def test_a_call_with_words_between_is_made_again_where_demonstrations_repeat_calls() -> None:
    engine = ScriptedEngine([reasoning(" and again", "lamp")], [lamp_call(), lamp_call()])
    toolkens = scripted_toolkens(tool_spec(lamp), tool_spec(door))
    provenance = toolkens.provenance.model_copy(update={"repeats_calls": True})
    llm = ToolkenChat.from_engine(engine, replace(toolkens, provenance=provenance))
    assert llm.bind_tools([lamp, door]).invoke(asked(("It is", "on", "sent"))).tool_calls


def test_a_tool_that_is_refused_again_and_again_is_out_for_the_rest_of_the_answer() -> None:
    engine = ScriptedEngine([reasoning("", "lamp")] * 3 + [reasoning(" Done.")], [lamp_call()] * 3)
    message = scripted(engine).bind_tools([lamp, door]).invoke(asked(("It is", "on", "")))
    assert message.content == " Done."
    assert [request.active for request in engine.requests] == [{"lamp", "door"}] * 3 + [{"door"}]


def test_a_forced_call_is_made_whatever_came_before() -> None:
    engine = ScriptedEngine([reasoning("", "lamp")], [lamp_call()])
    bound = scripted(engine).bind_tools([lamp, door], tool_choice="any")
    assert len(bound.invoke(asked(("It is", "on", ""))).tool_calls) == 1
    assert engine.requests[0].begun is None


@AGENTS
def test_the_rule_holds_from_a_checkpoint_of_another_process(tiny: TransformersEngine, make: Any) -> None:
    send, ran = tool_returning([""])
    saver = InMemorySaver()
    thread: Any = {"configurable": {"thread_id": "1"}, "recursion_limit": 40}
    tools_node = "tools" if make is create_agent else "execute"
    for run in range(3):  # each time an agent of its own
        toolkens = always_firing(tiny.lm, send, style="completion")
        agent = make(ToolkenChat.from_engine(tiny, toolkens, max_tokens=4), [send], checkpointer=saver)
        agent.invoke(QUESTION if run == 0 else None, thread, interrupt_after=[tools_node])
    assert len(ran) == 1


def test_answered_calls_are_those_of_the_last_question() -> None:
    messages = [
        *asked(("a", "on", "x")),
        HumanMessage("?"),
        AIMessage("", tool_calls=[call("7", "lamp", state="on"), call("8", "door", way="shut")]),
        ToolMessage("y", tool_call_id="7"),
        ToolMessage("", tool_call_id="8"),
    ]
    assert answered_calls(messages) == (
        AnsweredCall("lamp", '{"state": "on"}', "y", failed=False, just_now=True, message=0),
        AnsweredCall("door", '{"way": "shut"}', "", failed=False, just_now=True),
    )
    assert not any(each.just_now for each in answered_calls([*messages, AIMessage("Done.")]))


def test_after_a_tool_message_an_answer_has_a_word(tiny: TransformersEngine) -> None:
    history = asked(("", "on", "sent"))
    first = int(ToolkenChat.from_engine(tiny, style="chat", reinjection="turn").reason(history).token_ids[0])
    eos_ids = tiny.lm.eos_ids
    tiny.lm.eos_ids = frozenset({first})  # this LM would end at once
    try:
        llm = ToolkenChat.from_engine(tiny, style="chat", reinjection="turn", max_tokens=4)
        reasoning = llm.reason(history)
        assert reasoning.token_ids
        assert reasoning.token_ids[0] != first
    finally:
        tiny.lm.eos_ids = eos_ids
