"""An agent of langchain.agents, unchanged, with a ToolkenChat in it."""

from __future__ import annotations

from typing import Literal

from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from langchain_toolken import ToolkenChat
from langchain_toolken.chat.turn import answer_to
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.tools.spec import tool_spec
from tests.support.firing import toolken_firing_after
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.tiny import make_lm
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import multiply


@tool
def lamp(state: Literal["on", "off"]) -> str:
    """Turn the lamp on or off."""
    return f"the lamp is {state} </s>"


def test_the_agent_runs_the_tool_and_the_lm_goes_on_with_the_sentence() -> None:
    engine = ScriptedEngine(
        [reasoning(" 4096*27=", "multiply"), reasoning(" pens in total.")],
        [completion('{"a":4096,"b":27}', {"a": 4096, "b": 27})],
    )
    llm = ToolkenChat.from_engine(engine, scripted_toolkens(tool_spec(multiply)))
    agent = create_agent(llm, tools=[multiply], system_prompt="Be exact.")
    messages = agent.invoke({"messages": [("user", "How many?")]})["messages"]
    assert [type(message) for message in messages] == [HumanMessage, AIMessage, ToolMessage, AIMessage]
    assert [message.content for message in messages[1:]] == ["4096*27=", "110592", " pens in total."]
    assert engine.decoded()[-1] == "Be exact.\n\nQ: How many?\nA: 4096*27=110592"


def test_a_real_lm_calls_a_tool_in_the_agent_whose_history_is_the_live_text() -> None:
    lm = make_lm(chat=False)
    engine = TransformersEngine(lm)
    question = [HumanMessage("Is the lamp on?")]
    plain = ToolkenChat.from_engine(engine, style="completion", max_tokens=3)
    begun = plain.reason(question)
    prompt = render(lm.tokenizer, question, PromptFormat("completion"))
    steps = [[*prompt, *begun.token_ids[:count]] for count in range(4)]
    toolkens = toolken_firing_after(lm, tool_spec(lamp), steps[-1:], steps[:-1], "completion")
    llm = ToolkenChat.from_engine(engine, toolkens, max_tokens=32)
    agent = create_agent(llm, tools=[lamp])
    messages = []
    for part in agent.stream({"messages": question}, stream_mode="updates", config={"recursion_limit": 4}):
        messages += [message for update in part.values() for message in update["messages"]]
        if len(messages) == 3:  # whether the random LM calls again after that is nobody's concern here
            break
    call, result, _ = messages
    assert call.content == answer_to(plain.decoding_setup().lay_out(question, ()), begun).text
    assert result.content == f"the lamp is {call.tool_calls[0]['args']['state']} </s>"
    ids = render(lm.tokenizer, [*question, call, result], PromptFormat("completion"))
    assert not set(ids) & set(lm.tokenizer.added_tokens_decoder)
    whole = AIMessage(f"{call.content}{'' if not call.content or call.content[-1].isspace() else ' '}{result.content}")
    assert ids == render(lm.tokenizer, [*question, whole], PromptFormat("completion"))
