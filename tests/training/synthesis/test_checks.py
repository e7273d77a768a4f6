"""Are a call's arguments in its request, and is the request new?"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.synthesis.checks import NearDuplicates, missing_arguments, numbers_in, similarity


def tool(**properties: Any) -> ToolSpec:
    return ToolSpec(name="t", description="d", json_schema={"type": "object", "properties": properties})


ANY = tool(value={})
# fmt: off
UNITS = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
# fmt: on


def in_words(number: int) -> str:
    """Write a number in English, independently of the code under test: recursively, from the largest scale down."""
    for size, name in ((10**9, "billion"), (10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = number % size
            return f"{in_words(number // size)} {name}" + (f" and {in_words(rest)}" if rest else "")
    if number < 20:
        return UNITS[number]
    return TENS[number // 10 - 2] + (f"-{UNITS[number % 10]}" if number % 10 else "")


@pytest.mark.parametrize(
    ("value", "request_text"),
    [
        (1200, "Pay 1,200 dollars"),
        (1200, "Pay $1200."),
        (1200, "Pay 1.2k, please"),
        (1200, "twelve hundred of them"),
        (1500000, "1.5 million people"),
        (2.5, "It costs 2.50 euros"),
        (0.05, "at 5% a year"),
        (5, "at 5 percent a year"),
        (0.5, "half of it"),
        (0.25, "1/4 of the cake"),
        (0.3333, "1/3 of the cake"),
        (24, "two dozen eggs"),
        (-5, "It is 5 below zero"),
        (3, "on the 3rd day, or so: 3."),
        ("Paris", "weather in PARIS?"),
        ("New York", "the new york subway"),
        ("light_blue", "Make it light blue"),
        ("apple", "two apples"),
        ("apples", "an apple"),
        ("30", "set it to 30"),
        ("2026-11-21", "Book it for 21 November 2026"),
        ("2026-11-21", "Book it for Nov 21st"),
        ("2026-11-21T09:30:00", "on 21/11 at half past nine"),
        (["Anna", "Tom"], "Invite Tom and Anna"),
        ({"who": "Anna", "age": 7}, "Anna is seven"),
        (True, "whatever"),
        (None, "whatever"),
        ("Please bring the red folder to the meeting", "Tell Bob to bring the red folder to the meeting please"),
    ],
)
def test_a_value_is_found_however_people_write_it(value: Any, request_text: str) -> None:
    assert missing_arguments(ANY, {"value": value}, request_text) == []


@pytest.mark.parametrize(
    ("value", "request_text", "paths"),
    [
        (12, "Pay 1200 dollars", ["value"]),
        (200, "Pay 1,200 dollars", ["value"]),
        (2, "Pay 2.5 dollars", ["value"]),
        (15, "at 5%", ["value"]),
        (7, "seventeen apples", ["value"]),
        ("Paris", "the parishes of Rome", ["value"]),
        ("fahrenheit", "how warm is it?", ["value"]),
        ("2026-11-21", "Book it for 22 November", ["value"]),
        ("2026-11-21", "Book it for 21 December", ["value"]),
        (["Anna", "Tom"], "Invite Tom", ["value.0"]),
        ({"who": "Anna", "age": 7}, "Anna is eight", ["value.age"]),
        (float("nan"), "nan", ["value"]),
        ("Please bring the red folder to the meeting", "Tell Bob to call me", ["value"]),
    ],
)
def test_a_value_that_is_not_there_is_named_by_its_path(value: Any, request_text: str, paths: list[str]) -> None:
    assert missing_arguments(ANY, {"value": value}, request_text) == paths


def test_defaults_and_constants_need_not_be_said() -> None:
    spec = tool(
        city={"type": "string"},
        unit={"type": "string", "enum": ["celsius", "kelvin"], "default": "celsius"},
        version={"const": 2},
    )
    given_ = {"city": "Oslo", "unit": "celsius", "version": 2}
    assert missing_arguments(spec, given_, "How warm is it in Oslo?") == []
    assert missing_arguments(spec, {**given_, "unit": "kelvin"}, "How warm is it in Oslo?") == ["unit"]


def test_defaults_are_found_behind_references() -> None:
    spec = ToolSpec(
        name="t",
        description="d",
        json_schema={
            "type": "object",
            "properties": {"at": {"$ref": "#/$defs/place"}},
            "$defs": {"place": {"type": "object", "properties": {"floor": {"type": "integer", "default": 0}}}},
        },
    )
    assert missing_arguments(spec, {"at": {"floor": 0}}, "here") == []
    assert missing_arguments(spec, {"at": {"floor": 3}}, "here") == ["at.floor"]


@given(st.integers(0, 10**12 - 1))
def test_any_whole_number_is_found_in_numerals_with_separators_and_in_words(number: int) -> None:
    for written in (f"{number}", f"{number:,}", in_words(number), f"({number:,})."):
        assert missing_arguments(ANY, {"value": number}, f"we have {written} of them") == []


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_no_number_is_found_that_is_not_there(number: int, other: int) -> None:
    for written in (f"{other}", f"{other:,}", in_words(other)):
        found = missing_arguments(ANY, {"value": number}, f"we have {written} of them") == []
        assert found == (number == other)


@given(st.decimals(0, 10**6, places=2, allow_nan=False))
def test_decimals_are_found(number: Any) -> None:
    assert missing_arguments(ANY, {"value": float(number)}, f"it is {number}, about") == []


WORD = st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1, max_size=8)


@given(st.lists(WORD, min_size=1, max_size=8), st.sampled_from([str.upper, str.lower, str.title, str]))
def test_a_text_is_found_whatever_its_case(words: list[str], cased: Any) -> None:
    request = f"Please look for {cased(' '.join(words))}, now!"
    # Some letters of Unicode don't survive a change of case, so texts are compared by their case folding.
    if cased(" ".join(words)).casefold() == " ".join(words).casefold():
        assert missing_arguments(ANY, {"value": " ".join(words)}, request) == []


@given(st.text(max_size=200))
def test_any_text_can_be_read(text: str) -> None:
    numbers_in(text)
    assert isinstance(missing_arguments(ANY, {"value": text, "other": 3.5}, text), list)
    assert similarity(text, text) == 1


def test_the_same_request_in_other_clothes_is_a_near_duplicate() -> None:
    seen = NearDuplicates()
    seen.add("What's the weather like in Paris tomorrow?")
    assert seen.like("what's the Weather like, in Paris tomorrow") == "What's the weather like in Paris tomorrow?"
    assert seen.like("Will I need an umbrella in Oslo?") is None


@given(
    st.lists(st.text("abc ", min_size=0, max_size=12), max_size=25),
    st.text("abc ", max_size=12),
    st.sampled_from([0.3, 0.5, 0.7, 0.9, 1.0]),
)
def test_the_index_misses_and_invents_nothing(kept: list[str], new: str, threshold: float) -> None:
    seen = NearDuplicates(threshold)
    for request in kept:
        seen.add(request)
    found = seen.like(new)
    best = max((similarity(new, request) for request in kept), default=-1.0)
    assert (found is not None) == (best >= threshold)
    assert found is None or similarity(new, found) >= threshold


@pytest.mark.parametrize("threshold", [0, -1, 1.5])
def test_a_threshold_outside_its_range_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        NearDuplicates(threshold)
