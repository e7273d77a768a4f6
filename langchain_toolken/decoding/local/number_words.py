"""Numbers that are written in English words: "twenty-five", "two hundred and ten", "three thousand"."""

from __future__ import annotations

import re
from collections.abc import Iterator

# fmt: off
_SMALL = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)
# fmt: on
_UNITS = {word: number for number, word in enumerate(_SMALL)}
_DECADES = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_TENS = {word: 10 * number for number, word in enumerate(_DECADES, start=2)}
_LARGE = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_KNOWN = "|".join([*_UNITS, *_TENS, "hundred", *_LARGE])
_ARTICLE = rf"(?:an?\s+(?=hundred|{'|'.join(_LARGE)}))?"
_NUMBER = re.compile(rf"(?<![\w-]){_ARTICLE}(?:{_KNOWN})(?:(?:\s+and\s+|\s+|-)(?:{_KNOWN}))*(?![\w-])", re.IGNORECASE)


def number_words(text: str) -> Iterator[tuple[int, int, int]]:
    """Yield (start, end, number) of each number in words. "One" alone is none: it rarely counts anything."""
    for found in _NUMBER.finditer(text):
        words = [word for word in re.split(r"[\s-]+", found[0].lower()) if word not in ("a", "an")]
        number = _value(words)
        if number is not None and words != ["one"]:
            yield *found.span(), number


def _value(words: list[str]) -> int | None:
    """Return the number that some words are; None where they are several ("two three", "five and six")."""
    total = part = 0
    low, large = 1000, 10**12  # what the next word, and the next large one, has to be below
    for place, word in enumerate(words):
        if word == "and":
            if words[place - 1] not in ("hundred", *_LARGE):
                return None
        elif word == "hundred":
            if part > 99 or (place and not part):
                return None
            part, low = 100 * (part or 1), 100
        elif word in _LARGE:
            if _LARGE[word] >= large:
                return None
            total, part, low, large = total + (part or 1) * _LARGE[word], 0, 1000, _LARGE[word]
        else:
            number = _UNITS.get(word, _TENS.get(word, 0))
            if number >= low or (part % 100 and not (part % 10 == 0 and part % 100 >= 20 and number < 10)):
                return None
            part, low = part + number, 10 if word in _TENS else 1
    return total + part
