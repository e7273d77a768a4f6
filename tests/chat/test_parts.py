"""Two requests in one message become two calls of one answer, and a single request stays a single call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.chat.parts import calls_of, parts_of
from langchain_toolken.decoding.engine import Candidate, Reasoning
from langchain_toolken.toolkens.evidence import Evidence, Gate
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import tool_spec
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.tiny import make_tokenizer
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import door, lamp, multiply

BOTH = "Turn the lamp on and shut the door."


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("Turn the lamp on.", ["Turn the lamp on."]),
        ("Turn the lamp on. Shut the door!", ["Turn the lamp on.", "Shut the door!"]),
        ("25 minutes, please, and then 19 degrees", ["25 minutes, please", "19 degrees"]),
        ("Play Bach; also, text Anna", ["Play Bach;", "text Anna"]),
        ("打开灯。关门。", ["打开灯。", "关门。"]),
        ("What is 19.95 in dollars, and why?", ["What is 19.95 in dollars", "why?"]),
        ("and then", ["and then"]),
        ("Sandra, thentis", ["Sandra, thentis"]),
        ("a and b and c and d and e and f", ["a and b and c and d and e and f"]),
    ],
)
def test_a_message_is_parted_at_sentences_and_conjunctions(message: str, parts: list[str]) -> None:
    assert parts_of(message) == parts


def ranked(*tools: str, call: float = 0.9) -> tuple[Candidate, ...]:
    """Nearly all of p(call) is the first tool's."""
    return tuple(Candidate(name, call * (0.99 if not place else 0.005)) for place, name in enumerate(tools))


def whole(*tools: str) -> Reasoning:
    return replace(reasoning("", tools[0]), runners_up=tuple(Candidate(name, 0.01) for name in tools[1:]))


def test_parts_that_ask_for_different_likely_tools_are_calls_in_their_order() -> None:
    found = calls_of(["the lamp", "the door"], [ranked("lamp"), ranked("door")], whole("door", "lamp", "radio"), 0.0)
    assert [(each.text, each.tool.tool) for each in found] == [("the lamp", "lamp"), ("the door", "door")]


@pytest.mark.parametrize(
    ("rankings", "decided"),
    [
        ([ranked("lamp"), ranked("lamp")], whole("lamp", "door")),  # one tool
        ([ranked("lamp"), ranked("door", call=0.4)], whole("lamp", "door")),  # the second asks for nothing
        ([ranked("lamp"), ranked("radio")], whole("lamp", "door", "radio")),  # not likely for the whole message
        ([ranked("lamp"), ()], whole("lamp", "door")),
    ],
)
def test_anything_else_is_one_request(rankings: list[Sequence[Candidate]], decided: Reasoning) -> None:
    assert calls_of(["the lamp", "the door"], rankings, decided, 0.0) == []


def test_parts_without_a_request_belong_to_their_neighbours() -> None:
    quiet = ranked("lamp", call=0.1)
    parts = ["Hello", "the lamp", "in red", "the door"]
    found = calls_of(parts, [quiet, ranked("lamp"), quiet, ranked("door")], whole("lamp", "door"), 0.0)
    assert [each.text for each in found] == ["Hello the lamp in red", "the door"]
    three = calls_of(["a", "b", "c"], [ranked("lamp"), ranked("door"), ranked("lamp")], whole("lamp", "door"), 0.0)
    assert three == []  # a tool twice: not told apart


# --- through the chat model ------------------------------------------------------------------------------------------


@dataclass
class Parting(ScriptedEngine):
    """Ranks the tool first whose name is in the prompt's last line."""

    tokenizer: Any = field(default_factory=make_tokenizer)

    def rank(self, prompts: Sequence[Sequence[int]], **settings: Any) -> list[tuple[Candidate, ...]]:
        self.ranked.append(settings)
        found = []
        for prompt in prompts:
            request = self.tokenizer.decode(prompt).rpartition("user")[2]
            found.append(ranked(*sorted(settings["active"], key=lambda name: name not in request)))
        return found


def chat_of(engine: ScriptedEngine, *, gate: bool = True, **settings: Any) -> ToolkenChat:
    toolkens: ToolkenSet = scripted_toolkens(*map(tool_spec, (lamp, door, multiply)), style="chat")
    if gate:
        toolkens = replace(toolkens, evidence=Evidence(gate=Gate(torch.zeros(4), torch.zeros(4), 0.0)))
    return ToolkenChat.from_engine(engine, toolkens, reinjection="turn", **settings)


def scripted(*further: Reasoning) -> Parting:
    first = replace(whole("lamp", "door"), text="", token_ids=())
    on, shut = completion('{"state":"on"}', {"state": "on"}), completion('{"way":"shut"}', {"way": "shut"})
    return Parting([first, *further], [on, shut])


@pytest.mark.parametrize("streaming", [False, True])
def test_two_requests_become_two_calls(streaming: bool) -> None:
    engine = scripted()
    bound = chat_of(engine, parallel_tool_calls=True).bind_tools([lamp, door, multiply])
    message = sum(bound.stream(BOTH), AIMessageChunk("")) if streaming else bound.invoke(BOTH)
    assert isinstance(message, AIMessage)
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [
        ("lamp", {"state": "on"}),
        ("door", {"way": "shut"}),
    ]
    assert len({call["id"] for call in message.tool_calls}) == 2
    parts = message.response_metadata["parallel"]
    assert [(each["name"], each["part"]) for each in parts] == [
        ("lamp", "Turn the lamp on"),
        ("door", "shut the door."),
    ]
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] == 12  # for each call its toolken and five tokens of JSON
    assert message.usage_metadata["input_tokens"] > 10 + 2 * 10  # the prompt, the parts and the cards


@pytest.mark.parametrize(
    ("said", "gate", "settings"),
    [
        (BOTH, True, {}),
        (BOTH, False, {"parallel_tool_calls": True}),
        ("Turn the lamp on.", True, {"parallel_tool_calls": True}),
        ("Turn the lamp on and lamp it.", True, {"parallel_tool_calls": True}),
    ],
)
def test_without_the_setting_a_gate_or_a_second_request_there_is_one_call(
    said: str, gate: bool, settings: dict[str, Any]
) -> None:
    message = chat_of(scripted(), gate=gate, **settings).bind_tools([lamp, door]).invoke(said)
    assert [call["name"] for call in message.tool_calls] == ["lamp"]
    assert "parallel" not in message.response_metadata


@pytest.mark.parametrize(("settings", "calls"), [({}, 2), ({"parallel_tool_calls": False}, 1)])
def test_demonstrations_with_several_calls_in_a_message_make_it_the_default(
    settings: dict[str, Any], calls: int
) -> None:
    chat = chat_of(scripted())
    assert chat.toolkens is not None
    shown = chat.toolkens.provenance.model_copy(update={"parallel_calls": True})
    chat = chat.model_copy(update={"toolkens": replace(chat.toolkens, provenance=shown)})
    assert len(chat.bind_tools([lamp, door], **settings).invoke(BOTH).tool_calls) == calls


def test_a_call_that_is_cut_off_leaves_the_other() -> None:
    engine = scripted()
    engine.completions[1] = completion('{"way":"sh', None)
    message = chat_of(engine).bind_tools([lamp, door], parallel_tool_calls=True).invoke(BOTH)
    assert [call["name"] for call in message.tool_calls] == ["lamp"]
    assert [call["name"] for call in message.invalid_tool_calls] == ["door"]
    assert message.response_metadata["finish_reason"] == "length"


def test_an_agent_runs_both_and_the_lm_reads_both_results() -> None:
    engine = scripted(reasoning("Both are done."))
    agent = create_agent(chat_of(engine, parallel_tool_calls=True), [lamp, door, multiply])
    messages = agent.invoke({"messages": [HumanMessage(BOTH)]})["messages"]
    results = [message.content for message in messages if isinstance(message, ToolMessage)]
    assert results == ["the lamp is on", "the door is shut"]
    assert messages[-1].content == "Both are done."
    read = engine.decoded()[-1]
    assert read.index("the lamp is on") < read.index("the door is shut")
