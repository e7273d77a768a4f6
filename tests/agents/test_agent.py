"""create_toolken_agent: the four steps, on a scripted engine and on a real tiny LM."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.chat.turn import answer_to
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.tools.spec import ToolError, tool_spec
from tests.support.firing import toolken_firing_after
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import divide, lamp, multiply

QUESTION = {"messages": [("user", "How many pens do 27 boxes hold?")]}


def agent_of(engine: ScriptedEngine, **options: Any) -> Any:
    toolkens = scripted_toolkens(tool_spec(multiply), tool_spec(divide))
    return create_toolken_agent(ToolkenChat.from_engine(engine, toolkens), [multiply, divide], **options)


def one_call() -> ScriptedEngine:
    return ScriptedEngine(
        [reasoning(" They hold 4096*27=", "multiply"), reasoning(" pens in total.")],
        [completion('{"a":4096,"b":27}', {"a": 4096, "b": 27})],
    )


def test_a_call_runs_and_its_result_stands_in_the_sentence() -> None:
    engine = one_call()
    state = agent_of(engine).invoke(QUESTION)
    assert state["text"] == "They hold 4096*27=110592 pens in total."
    question, call, result, answer = state["messages"]
    assert isinstance(question, HumanMessage)
    assert isinstance(call, AIMessage)
    assert call.content == "They hold 4096*27="
    assert isinstance(result, ToolMessage)
    assert result.content == "110592"
    assert answer.content == " pens in total."
    assert engine.decoded()[-1] == "Q: How many pens do 27 boxes hold?\nA: They hold 4096*27=110592"


def test_updates_come_step_by_step_and_words_through_the_custom_stream() -> None:
    updates: list[str] = []
    words = ""
    for mode, part in agent_of(one_call()).stream(QUESTION, stream_mode=["updates", "custom"]):
        if mode == "updates":
            updates += list(part)
        else:
            words += part["text"]
    assert updates == ["reason", "complete", "execute", "reinject", "reason"]
    assert words == "They hold 4096*27= pens in total."


def test_steps_tell_what_happened() -> None:
    steps = agent_of(one_call()).invoke(QUESTION)["steps"]
    assert [step["kind"] for step in steps] == ["reason", "complete", "execute", "reinject", "reason"]
    assert (steps[0]["tool"], steps[0]["probability"]) == ("multiply", 0.75)
    assert steps[0]["runners_up"] == [{"name": "other", "probability": 0.125}]
    assert steps[1]["arguments"] == {"a": 4096, "b": 27}
    assert (steps[2]["result"], steps[2]["failed"]) == ("110592", False)
    assert steps[3]["text"] == "They hold 4096*27=110592"


def test_a_tool_that_fails_ends_the_run_with_tool_arguments_and_reason() -> None:
    engine = ScriptedEngine([reasoning(" It is", "divide")], [completion('{"a":1,"b":0}', {"a": 1, "b": 0})])
    state = agent_of(engine).invoke(QUESTION)
    assert (
        state["messages"][-1].content
        == "Stopped: the tool divide(a=1, b=0) failed: ZeroDivisionError: division by zero"
    )
    assert [step["kind"] for step in state["steps"]] == ["reason", "complete", "execute", "stop"]


def test_arguments_that_do_not_fit_end_the_run_too() -> None:
    engine = ScriptedEngine([reasoning(" It is", "divide")], [completion('{"a":1,"b":"x"}', {"a": 1, "b": "x"})])
    answer = agent_of(engine).invoke(QUESTION)["messages"][-1].content
    assert "'divide' was not called. The arguments break the schema of 'divide' at 'b'" in answer


def test_cut_off_arguments_end_the_run_without_a_call() -> None:
    engine = ScriptedEngine([reasoning(" It is", "divide")], [completion('{"a":111', None)])
    state = agent_of(engine).invoke(QUESTION)
    assert "'divide'" in state["messages"][-1].content
    assert "cut off" in state["messages"][-1].content
    assert not any(isinstance(message, ToolMessage) for message in state["messages"])


@pytest.mark.parametrize("limit", [1, 20])
def test_max_calls_ends_a_run_that_never_would(limit: int) -> None:
    engine = ScriptedEngine(
        [reasoning(f" and 1*{i}=", "multiply") for i in range(limit + 1)],
        # Arguments are read once more, before a call that may repeat one is made.
        [completion(f'{{"a":1,"b":{i}}}', {"a": 1, "b": i}) for i in range(limit + 1) for _ in range(2)][1:],
    )
    engine.context_length = 100_000
    state = agent_of(engine, max_calls=limit).invoke(QUESTION)
    assert f"limit of {limit} tool calls" in state["messages"][-1].content
    assert sum(isinstance(message, ToolMessage) for message in state["messages"]) == limit


def test_a_conversation_goes_on_from_its_checkpoint() -> None:
    engine = one_call()
    agent = agent_of(engine, checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    agent.invoke(QUESTION, thread)
    engine.reasonings.append(reasoning(" You are welcome."))
    state = agent.invoke({"messages": [("user", "Thanks.")]}, thread)
    assert state["text"] == "You are welcome."
    assert engine.decoded()[-1] == (
        "Q: How many pens do 27 boxes hold?\nA: They hold 4096*27=110592 pens in total.\n\nQ: Thanks.\nA:"
    )


def test_a_run_interrupted_before_a_tool_resumes_with_it() -> None:
    engine = one_call()
    agent = agent_of(engine, checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    paused = agent.invoke(QUESTION, thread, interrupt_before=["complete", "execute"])
    assert paused["text"] == "They hold 4096*27="
    agent.invoke(None, thread, interrupt_before=["execute"])
    assert not any(isinstance(m, ToolMessage) for m in agent.get_state(thread).values["messages"])
    assert agent.invoke(None, thread)["text"] == "They hold 4096*27=110592 pens in total."


async def test_it_runs_asynchronously() -> None:
    state = await agent_of(one_call()).ainvoke(QUESTION)
    assert state["text"] == "They hold 4096*27=110592 pens in total."


def test_plain_functions_are_tools_and_two_of_one_name_are_refused() -> None:
    def add(a: int, b: int) -> int:
        """Add a and b."""
        return a + b

    chat = ToolkenChat.from_engine(ScriptedEngine(), scripted_toolkens(tool_spec(add)))
    assert create_toolken_agent(chat, [add]) is not None
    with pytest.raises(ToolError, match="add"):
        create_toolken_agent(chat, [add, add])
    with pytest.raises(ValueError, match="max_calls"):
        create_toolken_agent(chat, [add], max_calls=0)


def test_the_whole_loop_runs_on_a_real_lm(lm: LanguageModel) -> None:
    words, most = 4, 24  # tokens until the call, and of an answer, the call's arguments included
    engine = TransformersEngine(lm)
    plain = ToolkenChat.from_engine(engine, style="completion", max_tokens=words)
    question = [HumanMessage("Is the lamp on?")]
    completion_style = PromptFormat("completion")
    begun = plain.reason(question)
    prompt = render(lm.tokenizer, question, completion_style)
    steps = [[*prompt, *begun.token_ids[:count]] for count in range(words + 1)]
    silent = steps[:-1]
    for state in ("on", "off"):  # whichever the LM turns it to, the toolken is not to fire a second time
        call = {"name": "lamp", "args": {}, "id": "1"}
        history = [
            *question,
            AIMessage(answer_to(plain.decoding_setup().lay_out(question, ()), begun).text, tool_calls=[call]),
            ToolMessage(f"the lamp is {state}", tool_call_id="1"),
        ]
        ids = render(lm.tokenizer, history, completion_style)
        rest = plain.reason(history, max_tokens=most)
        silent += [[*ids, *rest.token_ids[:count]] for count in range(most)]
    toolkens = toolken_firing_after(lm, tool_spec(lamp), steps[-1:], silent, "completion")
    agent = create_toolken_agent(ToolkenChat.from_engine(engine, toolkens, max_tokens=most), [lamp])
    state = agent.invoke({"messages": question})
    _, call_message, result, answer = state["messages"]
    assert call_message.content == answer_to(plain.decoding_setup().lay_out(question, ()), begun).text
    assert result.content == f"the lamp is {call_message.tool_calls[0]['args']['state']}"
    assert answer.tool_calls == []
    assert state["text"].startswith(str(call_message.content))
    assert state["text"].endswith(str(result.content) + str(answer.content))


def test_its_input_and_output_have_json_schemas() -> None:
    agent = agent_of(one_call())
    assert set(agent.get_input_jsonschema()["properties"]) == {"messages"}
    assert "steps" in agent.get_output_jsonschema()["properties"]
