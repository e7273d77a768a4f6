"""Two requests in one message become two calls of one answer, and a single request stays a single call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.engine import Candidate, ReadValue, Reasoning
from langchain_toolken.decoding.parts import PartCall, Values, calls_of, parts_of, value_of
from langchain_toolken.toolkens.evidence import Evidence, Gate
from langchain_toolken.toolkens.examples import Examples
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.toolkens.slots import Slot, Slots
from langchain_toolken.tools.spec import tool_spec
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.tiny import make_tokenizer
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import door, lamp, multiply, spec

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


def found(
    message: str, rankings: Sequence[Sequence[Candidate]], decided: Reasoning, **read: dict[str, ReadValue]
) -> list[PartCall]:
    """Part a message in which slots read what `read` says, by the word that a text ends with."""
    likeliest = [] if decided.trigger is None else [decided.trigger, *decided.runners_up]
    specs = {each.name: each for each in (tool_spec(lamp), tool_spec(door), spec("radio"))}
    slot = Slot(torch.zeros(3, 8), torch.zeros(3))
    slots = Slots({name: dict.fromkeys(each.json_schema["properties"], slot) for name, each in specs.items()})
    toolkens = replace(scripted_toolkens(*specs.values()), examples=Examples(slots=slots if read else None))
    engine = Reading(read=lambda text, begin: read.get(text.rpartition(" ")[2], {}))
    return calls_of(message, parts_of(message), rankings, likeliest, 0.0, Values(engine, toolkens, specs))


@dataclass
class Reading(ScriptedEngine):
    """Reads what `read` says of a text and a place in it."""

    read: Callable[[str, int], dict[str, ReadValue]] = lambda text, begin: {}

    def read_values(self, text: str, begin: int, slots: Any, lists: Any = ()) -> dict[str, ReadValue]:
        return {name: value for name, value in self.read(text, begin).items() if name in slots}


def tools_and_texts(calls: Sequence[PartCall]) -> list[tuple[str, str]]:
    return [(each.tool.tool, each.text) for each in calls]


def test_parts_that_ask_for_different_likely_tools_are_calls_in_their_order() -> None:
    calls = found("the lamp and the door", [ranked("lamp"), ranked("door")], whole("door", "lamp", "radio"))
    assert tools_and_texts(calls) == [("lamp", "the lamp"), ("door", "the door")]


@pytest.mark.parametrize(
    ("rankings", "decided"),
    [
        ([ranked("lamp"), ranked("lamp")], whole("lamp", "door")),  # one tool, and no value to tell its calls apart
        ([ranked("lamp"), ranked("door", call=0.4)], whole("lamp", "door")),  # the second asks for nothing
        ([ranked("lamp"), ranked("radio")], whole("lamp", "door", "radio")),  # not likely for the whole message
        ([ranked("lamp"), ()], whole("lamp", "door")),
    ],
)
def test_anything_else_is_one_request(rankings: list[Sequence[Candidate]], decided: Reasoning) -> None:
    assert found("the lamp and the door", rankings, decided) == []


def test_parts_without_a_request_belong_to_their_neighbours() -> None:
    quiet = ranked("lamp", call=0.1)
    rankings = [quiet, ranked("lamp"), quiet, ranked("door")]
    calls = found("Hello. The lamp, and in red, and the door", rankings, whole("lamp", "door"))
    assert tools_and_texts(calls) == [("lamp", "Hello. The lamp, and in red"), ("door", "the door")]


def test_a_part_that_lacks_what_its_call_needs_is_no_call() -> None:
    there, missing = {"state": ReadValue(4.0, ("red",))}, {"way": ReadValue(-0.5, ("shut",))}
    rankings = [ranked("lamp"), ranked("door")]
    assert not found("lamp red and door", rankings, whole("lamp", "door"), red=there, door=missing)
    shut = {"way": ReadValue(2.0, ("shut",))}
    assert len(found("lamp red and door", rankings, whole("lamp", "door"), red=there, door=shut)) == 2
    # A first part that is not whole goes on in the second.
    assert not found("door and lamp red", rankings[::-1], whole("lamp", "door"), red=there, door=missing)


def test_what_is_read_becomes_a_number_or_a_list_however_a_schema_says_that_it_may_be_null() -> None:
    tool = spec(
        count={"type": ["integer", "null"]},
        share={"anyOf": [{"type": "number"}, {"type": "null"}]},
        names={"type": ["array", "null"], "items": {"type": "string"}},
        note={"type": ["string", "null"]},
    )
    twelve, two_names = ReadValue(4.0, ("twelve",), (12.0,)), ReadValue(4.0, ("Ann", "Bo"))
    read = {"count": twelve, "share": twelve, "names": two_names, "note": twelve}
    values = {name: value_of(one, None, tool, name) for name, one in read.items()}
    assert values == {"count": 12, "share": 12, "names": ["Ann", "Bo"], "note": "twelve"}


@pytest.mark.parametrize(
    ("second", "both", "calls"),
    [
        (ReadValue(4.0, ("blue",)), ReadValue(4.5, ("red",)), 2),
        (ReadValue(4.0, ("blue",)), ReadValue(9.0, ("red and blue",)), 0),  # likelier one value
        (ReadValue(2.0, ("blue",)), ReadValue(4.5, ("red",)), 0),  # hardly a value
        (ReadValue(4.0, ("red",)), ReadValue(4.5, ("red",)), 0),  # the same
    ],
)
def test_another_value_of_the_same_argument_is_another_call(second: ReadValue, both: ReadValue, calls: int) -> None:
    def read(text: str, begin: int) -> dict[str, ReadValue]:
        first = ReadValue(4.5, ("red",))
        return {"state": second if begin else both if "blue" in text else first}

    specs = {"lamp": tool_spec(lamp), "door": tool_spec(door)}
    slots = Slots({"lamp": {"state": Slot(torch.zeros(3, 8), torch.zeros(3))}})
    toolkens = replace(scripted_toolkens(*specs.values()), examples=Examples(slots=slots))
    message, rankings = "The lamp red and blue", [ranked("lamp"), ranked("lamp", "door", call=0.7)]
    made = calls_of(
        message, parts_of(message), rankings, [Candidate("lamp", 0.9)], 0.0, Values(Reading(read=read), toolkens, specs)
    )
    assert [each.changes for each in made] == ([None, {"state": "blue"}] if calls else [])


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
        (BOTH, True, {"parallel_tool_calls": False}),
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
