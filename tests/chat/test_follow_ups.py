"""chat.follow_ups: what a message changes of the call before it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_toolken.chat.follow_ups import FollowUp, follow_up
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.engine import ReadValue
from langchain_toolken.toolkens.evidence import Evidence, Gate
from langchain_toolken.toolkens.examples import Examples
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.toolkens.slots import Slot, Slots
from tests.support.scripted_engine import ScriptedEngine, reasoning
from tests.support.tiny import make_tokenizer
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import spec

TEXT = {"type": "string"}
WEATHER = spec("weather", city=TEXT, day={**TEXT, "optional": True}, hours={"type": "integer", "optional": True})
SHOPPING = spec("shopping", items={"type": "array", "items": TEXT})
ROME = {"city": "Rome", "day": "Monday"}


@dataclass
class Reader(ScriptedEngine):
    """An engine whose slots find what a test says."""

    values: dict[str, ReadValue] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)

    def read_values(
        self, text: str, begin: int, slots: Mapping[str, Slot], lists: Collection[str] = ()
    ) -> dict[str, ReadValue]:
        self.read.append(text[begin:])
        return {name: value for name, value in self.values.items() if name in slots}


def with_slots() -> ToolkenSet:
    toolkens = scripted_toolkens(WEATHER, SHOPPING)
    slot = Slot(torch.zeros(3, 2 * toolkens.matrix.shape[1]), torch.zeros(3))
    slots = Slots({"weather": dict.fromkeys(("city", "day", "hours"), slot), "shopping": {"items": slot}})
    return replace(toolkens, examples=Examples(slots=slots))


def history(asked: str, tool: str = "weather", status: str = "success", **arguments: Any) -> list[BaseMessage]:
    made = AIMessage("", tool_calls=[{"name": tool, "args": arguments, "id": "1"}])
    answered = ToolMessage("Done", tool_call_id="1", status=status)
    return [HumanMessage("In Rome on Monday?"), made, answered, AIMessage("Sunny."), HumanMessage(asked)]


def found(messages: list[BaseMessage], **values: ReadValue) -> dict[str, Any] | None:
    call = follow_up(Reader(values=values), messages, [WEATHER, SHOPPING], with_slots())
    return None if call is None else call.arguments


def test_what_the_message_names_is_changed_and_the_rest_is_taken_over() -> None:
    city, day = ReadValue(4.0, ("Milan",)), ReadValue(1.0, ("Milan",))
    assert found(history("And in Milan?", **ROME), city=city, day=day) == {"city": "Milan", "day": "Monday"}


def test_a_second_value_counts_if_it_is_sure_and_of_other_words() -> None:
    city, day = ReadValue(5.0, ("Milan",)), ReadValue(4.0, ("Friday",))
    assert found(history("And Milan on Friday?", **ROME), city=city, day=day) == {"city": "Milan", "day": "Friday"}
    unsure = ReadValue(2.0, ("Friday",))
    assert found(history("And Milan on Friday?", **ROME), city=city, day=unsure) == {"city": "Milan", "day": "Monday"}


def test_numbers_and_lists_are_of_their_kind() -> None:
    hours = ReadValue(4.0, ("twelve",), (12.0,))
    assert found(history("For twelve?", city="Rome", hours=3), hours=hours) == {"city": "Rome", "hours": 12}
    assert found(history("For how many?", city="Rome", hours=3), hours=ReadValue(4.0, ("many",))) is None
    items = ReadValue(4.0, ("salt", "rice"))
    assert found(history("Salt and rice.", "shopping", items=["milk"]), items=items) == {"items": ["salt", "rice"]}


@pytest.mark.parametrize(
    ("messages", "value"),
    [
        (history("Thanks!", **ROME), ReadValue(-1.0, ("Thanks",))),
        (history("Who lives in Rome?", **ROME), ReadValue(5.0, ("Rome",))),
        (history("When was Rome built?", **ROME), ReadValue(5.0, ("Rome built",))),
        (history("And in Milan?", status="error", **ROME), ReadValue(5.0, ("Milan",))),
        (history("And in Milan?", "timer", **ROME), ReadValue(5.0, ("Milan",))),
        ([HumanMessage("Hi"), AIMessage("Hello"), HumanMessage("In Milan?")], ReadValue(5.0, ("Milan",))),
        (history("And in Milan?", **ROME)[:1], ReadValue(5.0, ("Milan",))),
    ],
    ids=["no value", "the same value", "about the same value", "failed", "unknown tool", "no call", "no turn before"],
)
def test_other_messages_follow_nothing_up(messages: list[BaseMessage], value: ReadValue) -> None:
    assert found(messages, city=value) is None


def test_an_engine_or_a_set_without_slots_finds_nothing() -> None:
    messages = history("And in Milan?", **ROME)
    assert follow_up(ScriptedEngine(), messages, [WEATHER], with_slots()) is None
    assert follow_up(Reader(), messages, [WEATHER], scripted_toolkens(WEATHER)) is None


def test_the_gate_and_the_slots_decide_together_and_not_about_requests_of_their_own() -> None:
    call = FollowUp(WEATHER, ROME, 3.0)
    gate = Gate(torch.zeros(4), torch.zeros(4), 0.0, points=((0.0, 4.0), (0.05, 0.0)))
    assert [call.wanted(p, gate) for p in (0.01, 0.3, 0.9, 0.999)] == [False, True, True, False]


def test_the_call_is_made_without_a_word_of_the_lm_and_also_in_a_stream() -> None:
    def bound() -> Any:
        toolkens, d = with_slots(), with_slots().matrix.shape[1]
        provenance = toolkens.provenance.model_copy(update={"style": "chat"})
        evidence = Evidence(gate=Gate(torch.zeros(d), torch.zeros(d), 0.0))
        engine = Reader(tokenizer=make_tokenizer(chat=True), values={"city": ReadValue(4.0, ("Milan",))})
        given = replace(toolkens, provenance=provenance, evidence=evidence)
        return ToolkenChat.from_engine(engine, given, style="chat", reinjection="turn").bind_tools([WEATHER, SHOPPING])

    messages = history("And in Milan?", **ROME)
    streamed = sum(list(bound().stream(messages))[1:], start=next(iter(bound().stream(messages))))
    for message in (bound().invoke(messages), streamed):
        (call,) = message.tool_calls
        assert (call["name"], call["args"]) == ("weather", {"city": "Milan", "day": "Monday"})


def test_other_turns_are_decoded_as_before() -> None:
    engine = Reader([reasoning("Hello.")])
    assert ToolkenChat.from_engine(engine, with_slots()).bind_tools([WEATHER]).invoke("Hi").content == "Hello."
    assert engine.read == []
