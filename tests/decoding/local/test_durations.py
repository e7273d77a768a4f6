"""decoding.local.durations: lengths of time in English are read, and which unit demonstrations count them in."""

from __future__ import annotations

import pytest

from langchain_toolken.decoding.local.durations import durations, in_unit, unit_of


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("25 minutes", 25),
        ("twenty-five minutes", 25),
        ("90 mins", 90),
        ("half an hour", 30),
        ("a quarter of an hour", 15),
        ("Three quarters of an hour", 45),
        ("an hour", 60),
        ("one hour", 60),
        ("two hours", 120),
        ("2.5 hours", 150),
        ("an hour and a half", 90),
        ("one and a half hours", 90),
        ("an hour and ten minutes", 70),
        ("1 hour 20 min", 80),
        ("half a minute", 0.5),
        ("a day", 1440),
    ],
)
def test_a_length_of_time_is_read_as_one(text: str, minutes: float) -> None:
    ((start, end, seconds),) = durations(f"for {text} please")
    assert (start, end, in_unit(seconds, "minutes")) == (4, 4 + len(text), minutes)


@pytest.mark.parametrize(
    "text", ["the 2nd hour", "13,289 minutes", "25 percent", "a minor point", "half past five", ""]
)
def test_other_words_are_none(text: str) -> None:
    assert list(durations(text)) == []


def test_the_unit_is_the_one_in_which_most_demonstrations_have_their_value() -> None:
    shown = [("for 25 minutes", 25.0), ("half an hour", 30.0), ("at five", 5.0)]
    assert unit_of(shown) == "minutes"
    assert unit_of([("2 hours", 7200.0), ("90 seconds", 90.0)]) == "seconds"
    assert unit_of(shown[:1]) is None  # too few
    assert unit_of([*shown, ("3 days", 3.0), ("an hour", 1.0)]) is None  # in several units
    assert unit_of([("about 5", 5.0), ("about 6", 6.0)]) is None


def test_whole_lengths_are_whole_numbers() -> None:
    assert repr(in_unit(7200, "hours")) == "2"
    assert repr(in_unit(5400, "hours")) == "1.5"
    assert repr(in_unit(604_800 * 1000, "minutes")) == "10080000"
