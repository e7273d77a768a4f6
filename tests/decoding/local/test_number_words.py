"""decoding.local.number_words: numbers in English words are read, and words that only look like them are not."""

from __future__ import annotations

import pytest

from langchain_toolken.decoding.local.number_words import number_words


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("twenty-five percent", 25),
        ("Twenty five of them", 25),
        ("eleven", 11),
        ("ninety", 90),
        ("a hundred grams", 100),
        ("two hundred and ten", 210),
        ("three thousand four hundred", 3400),
        ("one million two thousand and six", 1_002_006),
        ("forty-two thousand", 42_000),
        ("zero degrees", 0),
    ],
)
def test_a_number_in_words_is_read(text: str, number: int) -> None:
    ((start, _, found),) = number_words(f"about {text} so")
    assert (start, found) == (6, number)


@pytest.mark.parametrize(
    "text", ["someone", "which one", "two three", "often", "five and six", "seventy-fifth", "a ten-minute"]
)
def test_other_words_are_no_number(text: str) -> None:
    assert list(number_words(text)) == []


def test_each_number_has_its_place() -> None:
    text = "Wake me in forty minutes, not in sixty-one."
    assert [(text[start:end], number) for start, end, number in number_words(text)] == [
        ("forty", 40),
        ("sixty-one", 61),
    ]
