"""A tool that needs values which the request lacks gives way to a likely one that has all of its values there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import pytest
import torch

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.chat.needed_values import with_needed_values
from langchain_toolken.decoding.engine import Candidate, ReadValue
from langchain_toolken.decoding.parts import Values
from langchain_toolken.toolkens.examples import Examples
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.toolkens.slots import Slot, Slots
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.tiny import make_tokenizer
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import spec

TEXT = {"type": "string"}
HEATING = spec("heating", degrees={"type": "integer"}, room={**TEXT, "optional": True})
WEATHER = spec("weather", city=TEXT)
JOKE = spec("joke")


@dataclass
class Reader(ScriptedEngine):
    """An engine whose slots are as sure of a parameter's value as a test says."""

    scores: dict[str, float] = field(default_factory=dict)
    number: bool = True

    def read_values(
        self, text: str, begin: int, slots: Mapping[str, Slot], lists: Collection[str] = ()
    ) -> dict[str, ReadValue]:
        return {name: ReadValue(self.scores[name], (text,), (20.0,) if self.number else ()) for name in slots}


def with_slots() -> ToolkenSet:
    toolkens = scripted_toolkens(HEATING, WEATHER, JOKE, style="chat")
    slot = Slot(torch.zeros(3, 2 * toolkens.matrix.shape[1]), torch.zeros(3))
    slots = Slots({"heating": dict.fromkeys(("degrees", "room"), slot), "weather": {"city": slot}})
    return replace(toolkens, examples=Examples(slots=slots))


def chosen(*tools: str, number: bool = True, share: float = 0.01, **scores: float) -> list[str]:
    """Return the tool that is called and its runners-up, where `tools` were likeliest."""
    values = Values(
        Reader(scores=scores, number=number), with_slots(), {each.name: each for each in (HEATING, WEATHER, JOKE)}
    )
    decided = replace(reasoning("", tools[0]), runners_up=tuple(Candidate(name, share) for name in tools[1:]))
    found = with_needed_values(values, "temperature in Lisbon", decided)
    assert found.trigger is not None
    return [found.trigger.tool, *(each.tool for each in found.runners_up)]


def test_a_tool_without_its_values_gives_way_to_one_that_has_them() -> None:
    assert chosen("heating", "joke", "weather", degrees=0.5, room=4.0, city=5.0) == ["weather", "heating", "joke"]


def test_a_number_that_is_none_is_lacking() -> None:
    assert chosen("heating", "weather", degrees=4.0, room=4.0, city=5.0) == ["heating", "weather"]
    assert chosen("heating", "weather", number=False, degrees=4.0, room=4.0, city=5.0) == ["weather", "heating"]


def test_a_tool_that_is_far_from_likely_takes_nothing_over() -> None:
    assert chosen("heating", "weather", share=1e-6, degrees=0.5, room=4.0, city=5.0) == ["heating", "weather"]


@pytest.mark.parametrize(
    "scores",
    [
        {"degrees": 1.5, "room": -3.0, "city": 5.0},  # it has what it needs; the room is optional
        {"degrees": 0.5, "room": 4.0, "city": 2.0},  # nor has the other, for sure
    ],
)
def test_else_the_likeliest_tool_is_called(scores: dict[str, float]) -> None:
    assert chosen("heating", "weather", **scores) == ["heating", "weather"]


def test_tools_whose_values_slots_do_not_know_stay_and_take_nothing_over() -> None:
    assert chosen("joke", "weather", city=5.0) == ["joke", "weather"]
    assert chosen("heating", "joke", degrees=0.5, room=0.0) == ["heating", "joke"]


def test_a_chat_model_calls_the_tool_that_has_its_values() -> None:
    decided = replace(reasoning("", "heating"), token_ids=(), runners_up=(Candidate("weather", 0.01),))
    scores = {"degrees": 0.5, "room": 0.0, "city": 5.0}
    engine = Reader([decided], [completion('{"city":"Lisbon"}', {"city": "Lisbon"})], scores=scores)
    engine.tokenizer = make_tokenizer()
    chat = ToolkenChat.from_engine(engine, with_slots(), reinjection="turn").bind_tools([HEATING, WEATHER])
    (call,) = chat.invoke("temperature in Lisbon").tool_calls
    assert (call["name"], call["args"]) == ("weather", {"city": "Lisbon"})
