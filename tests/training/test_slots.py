"""training.slots: slots learn from demonstrated calls where values stand, and are used where that makes more right."""

from __future__ import annotations

from typing import Any

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.call_cards import CallExample
from langchain_toolken.toolkens.slots import LONGEST_SLOT_TEXT, Slots
from langchain_toolken.training.slots import fit_slots, slot_examples

CITIES = ("Lima", "Oslo", "Rome", "Bern", "Kyiv", "Riga")
COPIED = {"weather": ("city", "day")}


def call(request: str, **arguments: Any) -> CallExample:
    return CallExample(tool="weather", request=request, arguments=arguments)


CALLS = [
    *(call(f"Tell me the weather in {city} on Sunday please", city=city, day="Sunday") for city in CITIES[:3]),
    *(call(f"Tell me the weather in {city} please", city=city) for city in CITIES[3:]),
]


def best_span(lm: LanguageModel, slots: Slots, request: str, parameter: str) -> str:
    (read,) = slot_examples(lm, [call(request)], COPIED)
    scores = slots.of_tool["weather"][parameter].scores(read.features)
    _, first, last = max(
        (score, first, first + more)
        for first in range(len(read.text.words))
        for more, score in enumerate(scores.spans_from(first))
    )
    return request[read.text.words[first][0] : read.text.words[last][1]]


def test_slots_find_the_values_of_a_request_that_they_were_not_fitted_to(tiny_llama: LanguageModel) -> None:
    """Even a random LM's states tell which word comes before: that is all that is to be learnt here."""
    slots = fit_slots(slot_examples(tiny_llama, CALLS, COPIED), COPIED)
    assert best_span(tiny_llama, slots, "Tell me the weather in Cairo on Sunday please", "city") == "Cairo"
    assert best_span(tiny_llama, slots, "Tell me the weather in Cairo on Sunday please", "day") == "Sunday"
    assert [slot.optional for slot in slots.of_tool["weather"].values()] == [False, True]


def test_a_parameter_that_is_not_copied_or_stands_nowhere_has_no_slot(tiny_llama: LanguageModel) -> None:
    read = slot_examples(tiny_llama, CALLS, COPIED)
    assert set(fit_slots(read, {"weather": ("day",)}).of_tool["weather"]) == {"day"}
    assert len(fit_slots(read, {})) == len(fit_slots([], COPIED)) == 0
    elsewhere = slot_examples(tiny_llama, [call("The weather there", city="Lima")], COPIED)
    assert len(fit_slots(elsewhere, COPIED)) == 0


def test_long_requests_and_tools_without_copied_parameters_are_not_read(tiny_llama: LanguageModel) -> None:
    long = call("weather in Lima " * LONGEST_SLOT_TEXT, city="Lima")
    assert slot_examples(tiny_llama, [long, CALLS[0]], {"timer": ("minutes",)}) == []
    assert [one.call for one in slot_examples(tiny_llama, [long, CALLS[0]], COPIED)] == [CALLS[0]]
