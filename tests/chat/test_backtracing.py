"""Back-trace: which failures lead to the runner-up, how far it goes, and what is reported."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import StructuredTool
from pydantic import BaseModel, Field, field_validator

from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.chat.backtracing import argument_error, validators_of
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.engine import Candidate
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.tool_cards import tool_card
from langchain_toolken.tools.spec import ToolSpec, tool_spec
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import door, lamp

QUESTION = [HumanMessage("Turn it on.")]


class Even(BaseModel):
    """Halve an even number."""

    number: int

    @field_validator("number")
    @classmethod
    def _even(cls, number: int) -> int:
        if number % 2:
            raise ValueError("must be even")
        return number


halve = StructuredTool.from_function(func=lambda number: number // 2, name="halve", description="H.", args_schema=Even)


TOOLS = [halve, lamp, door]
SPECS = [tool_spec(each) for each in TOOLS]
ODD, CUT = completion('{"number":3}', {"number": 3}), completion('{"state":"o', None)
ON = completion('{"state":"on"}', {"state": "on"})
OPEN = completion('{"way":"open"}', {"way": "open"})


def unsure(first: str, *others: str) -> Any:
    from dataclasses import replace

    runners_up = tuple(Candidate(name, 0.1) for name in others)
    return replace(reasoning(" It", first), runners_up=runners_up)


def answer(engine: ScriptedEngine, **fields: Any) -> Any:
    chat = ToolkenChat.from_engine(engine, scripted_toolkens(*SPECS), **fields)
    return chat.bind_tools(TOOLS).invoke(QUESTION)


def test_off_the_failed_call_is_reported_and_nothing_else_tried() -> None:
    engine = ScriptedEngine([unsure("lamp", "door"), unsure("halve", "door")], [CUT, ODD])
    cut = answer(engine)
    assert cut.tool_calls == []
    assert cut.invalid_tool_calls[0]["name"] == "lamp"
    assert cut.response_metadata["toolken"]["backtraced_from"] == []
    # What its own validator refuses is the tool's to say, when it runs.
    assert answer(engine).tool_calls[0]["args"] == {"number": 3}


def test_a_cut_off_call_leads_to_the_runner_up() -> None:
    engine = ScriptedEngine([unsure("lamp", "halve", "door")], [CUT, ODD, OPEN])
    message = answer(engine, backtrace=2)
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("door", {"way": "open"})]
    assert message.invalid_tool_calls == []
    assert message.response_metadata["finish_reason"] == "tool_calls"
    report = message.response_metadata["toolken"]
    assert report["name"] == "door"
    assert [one["name"] for one in report["backtraced_from"]] == ["lamp", "halve"]
    assert "cut off" in report["backtraced_from"][0]["error"]
    assert report["backtraced_from"][1]["error"] == "number: Value error, must be even"
    assert [one["name"] for one in report["runners_up"]] == ["lamp", "halve"]
    # Every card was read and every argument written.
    cards = sum(len(encode_content(engine.tokenizer, tool_card(spec), continued=True)) for spec in SPECS)
    assert message.usage_metadata["input_tokens"] == 10 + cards
    assert message.usage_metadata["output_tokens"] == 2 + 3 * (1 + 5)


def test_it_goes_no_further_than_asked_and_the_first_call_is_reported() -> None:
    engine = ScriptedEngine([unsure("lamp", "halve", "door")], [CUT, ODD])
    message = answer(engine, backtrace=1)
    assert message.tool_calls == []
    (failed,) = message.invalid_tool_calls
    assert failed["name"] == "lamp"
    assert "failed too: 'halve'" in failed["error"]
    assert message.response_metadata["finish_reason"] == "length"
    assert message.response_metadata["toolken"]["name"] == "lamp"
    assert message.response_metadata["toolken"]["backtraced_from"] == []
    assert message.usage_metadata["output_tokens"] == 2 + 2 * (1 + 5)


def test_arguments_that_only_the_tool_refuses_make_an_invalid_call_where_nothing_else_passes() -> None:
    message = answer(ScriptedEngine([unsure("halve")], [ODD]), backtrace=1)
    assert message.tool_calls == []
    assert message.invalid_tool_calls[0]["error"] == "number: Value error, must be even"
    assert message.response_metadata["finish_reason"] == "tool_calls"


def test_a_valid_call_is_the_last_word() -> None:
    engine = ScriptedEngine([unsure("lamp", "door")], [ON])
    assert answer(engine, backtrace=3).tool_calls[0]["name"] == "lamp"
    assert engine.completions == []


def test_a_tool_that_is_not_bound_is_never_tried() -> None:
    engine = ScriptedEngine([unsure("lamp", "door")], [CUT])
    chat = ToolkenChat.from_engine(engine, scripted_toolkens(*SPECS), backtrace=3)
    assert chat.bind_tools([lamp]).invoke(QUESTION).tool_calls == []


@pytest.mark.parametrize("streaming", [False, True])
def test_it_streams(streaming: bool) -> None:
    engine = ScriptedEngine([unsure("lamp", "door")], [CUT, OPEN])
    chat = ToolkenChat.from_engine(engine, scripted_toolkens(*SPECS)).bind_tools(TOOLS, backtrace=1)
    message: Any = None
    for chunk in chat.stream(QUESTION) if streaming else [chat.invoke(QUESTION)]:
        message = chunk if message is None else message + chunk
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("door", {"way": "open"})]
    assert message.response_metadata["toolken"]["backtraced_from"][0]["name"] == "lamp"


def test_the_agent_traces_back_by_its_tools_own_validators() -> None:
    engine = ScriptedEngine([unsure("halve", "door"), reasoning(" Done.")], [ODD, OPEN])
    chat = ToolkenChat.from_engine(engine, scripted_toolkens(*SPECS), backtrace=1)
    end = create_toolken_agent(chat, TOOLS).invoke({"messages": QUESTION})
    assert [step.get("tool") for step in end["steps"][:3]] == ["halve", "door", "door"]


def test_models_are_carried_only_where_they_ask_for_more_than_their_schema() -> None:
    class Plain(BaseModel):
        """Do it."""

        number: int = Field(ge=0)

    assert validators_of([*TOOLS, Even, Plain, {"type": "function"}]) == {"halve": Even, "Even": Even}


def test_formats_that_no_grammar_holds_are_checked() -> None:
    schema = {"type": "object", "properties": {"at": {"type": "string", "format": "ipv4"}}}
    spec = ToolSpec(name="ping", description="P.", json_schema=schema)
    assert argument_error(spec, {"at": "127.0.0.1"}, None) is None
    assert argument_error(spec, {"at": "localhost"}, None) == "at: 'localhost' is not a 'ipv4'"
