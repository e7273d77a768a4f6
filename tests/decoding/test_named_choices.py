"""decoding.named_choices: fixed choices that a text names in words of their own."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_toolken.decoding.named_choices import named_choices


@pytest.mark.parametrize(
    ("choices", "text", "named"),
    [
        (["blood", "urine"], "Is the urine sample back?", ["urine"]),
        (["monday", "tuesday"], "Tuesday's hours? Or are you open on Mondays?", ["tuesday", "monday"]),
        (["error_rate", "cpu"], "the Error Rate is high", ["error_rate"]),
        (["error", "error_rate", "error-rates"], "error rate", ["error_rate"]),
        (["error", "error_rate"], "error rate, and an error", ["error_rate", "error"]),
        (["in", "it", "US"], "in it, tell us", []),
        (["US", "km"], "30 km in the US", ["US", "km"]),
        (["KM", "s"], "30 km, it's", []),
        (["red", "low"], "bored and slow, lows", ["low"]),
        (["c++", "c#"], "write it in C++ please", ["c++"]),
        (["", "_"], "_", []),
        (["低", "高"], "优先级 高", ["高"]),
    ],
)
def test_choices_are_found_as_whole_words_with_or_without_an_s(choices: list[str], text: str, named: list[str]) -> None:
    assert list(named_choices(choices, text)) == named


@given(st.lists(st.text(string.ascii_letters + "_- '.", max_size=8), max_size=5), st.text(max_size=60))
def test_places_are_in_the_text_and_no_place_is_inside_of_another_choices(choices: list[str], text: str) -> None:
    found = named_choices(choices, text)
    assert set(found) <= set(choices)
    places = [(choice, start, end) for choice, spans in found.items() for start, end in spans]
    for choice, start, end in places:
        assert 0 <= start < end <= len(text)
        assert not any(other != choice and a <= start and end <= b for other, a, b in places)
