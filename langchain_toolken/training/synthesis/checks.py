"""Check a synthesised row: are its arguments in its request, and is the request new?

These are plain functions of text and work for rows of any origin.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any
from zlib import crc32

from langchain_toolken.tools.spec import ToolSpec

NEAR_DUPLICATE = 0.7
"""Two requests are near-duplicates from this Jaccard similarity of their 4-character shingles on.

Pairs at 0.7 and above are typically one sentence with other numbers or things in it. In a short sentence the values
make up most of the text, so it passes with other values: "What's the weather in Paris?" and "… in Rome?" have 0.65.
"""

_SHINGLE = 4
# fmt: off
_SMALL = {
    "a": 1, "an": 1, "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8,
    "nine": 9, "ten": 10, "eleven": 11, "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16,
    "seventeen": 17, "eighteen": 18, "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50,
    "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90,
}
_WHOLE_WORDS = {word: Fraction(number) for word, number in {
    "half": "1/2", "quarter": "1/4", "third": "1/3", "dozen": "12", "once": "1", "twice": "2", "thrice": "3",
    "pair": "2", "couple": "2", "single": "1", "double": "2", "triple": "3", "square": "2", "squared": "2",
    "cube": "3", "cubed": "3", "first": "1", "second": "2", "fourth": "4", "fifth": "5",
}.items()}
# fmt: on
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SUFFIXES = {"k": 10**3, "m": 10**6, "bn": 10**9, "b": 10**9, **_SCALES, "hundred": 100, "dozen": 12}
_NUMERAL = re.compile(
    r"(?<![\w.])(\d{1,3}(?:[,\u00a0\u202f]\d{3})+(?!\d)|\d+)?(\.\d+)?(?:e([+-]?\d{1,3}))?"
    r"(?:/(\d{1,15})(?![\d.]))?"
    r"(?:\s?(%|percent\b|per cent\b)|\s?(k|m|bn|b|thousand|million|billion|trillion|hundred|dozen)\b)?"
)
_MONTHS = (
    *("january", "february", "march", "april", "may", "june", "july"),
    *("august", "september", "october", "november", "december"),
)
_ISO_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?:[T ](\d{2}):(\d{2}).*)?")
_WORDS = re.compile(r"[^\W_]+")
_LONG_TEXT = 5  # words; a longer value, such as a message to send, may be in the request in other words or order


def missing_arguments(spec: ToolSpec, arguments: Mapping[str, Any], request: str) -> list[str]:
    """Return the paths ("city", "guests.0.name") of the arguments whose values are not in the request.

    - Numbers may be written as 1200, 1,200, 1.2k, "twelve hundred", "1.2 thousand"; 0.05 as 5% (and 5 as 5%); fractions
      as 1/2 or "half". The sign is ignored, because words may express it ("below zero").
    - Strings and enum values are found by their words, ignoring case, punctuation, plural "s" and "_". Of a text of
      more than 5 words, four in five must be there. A date such as 2026-11-21 is found by its day and month.
    - Lists and objects are found if everything in them is.
    - Booleans, null, constants and the schema's default values are not looked for, because a request need not mention
      them.
    """
    text = _Text(request)
    missing = []
    for name, value in arguments.items():
        schema = spec.json_schema.get("properties", {}).get(name, {})
        missing += [path for path, leaf in _leaves(name, value, schema, spec.json_schema) if not text.holds(leaf)]
    return missing


class NearDuplicates:
    """An index of requests that finds near-duplicates.

    It is exact and fast enough for 100,000 requests: two sets of shingles can only be similar if they share one of
    their first few in a fixed order, so only those are compared (prefix filtering: Bayardo, Ma and Srikant 2007,
    "Scaling up all pairs similarity search").

    Args:
        threshold: Similarity from which two requests are near-duplicates, in (0, 1].

    Raises:
        ValueError: The threshold is out of range.
    """

    def __init__(self, threshold: float = NEAR_DUPLICATE) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"the threshold is {threshold}; it must lie in (0, 1]")
        self.threshold = threshold
        self._kept: list[tuple[str, frozenset[str]]] = []
        self._by_shingle: defaultdict[str, list[int]] = defaultdict(list)

    def like(self, request: str) -> str | None:
        """Return an earlier request that this one nearly repeats, or None if this one is new."""
        shingles = _shingles(request)
        seen: set[int] = set()
        for shingle in self._prefix(shingles):
            for index in self._by_shingle.get(shingle, ()):
                if index in seen:
                    continue
                seen.add(index)
                other, others = self._kept[index]
                if _jaccard(shingles, others) >= self.threshold:
                    return other
        return None

    def add(self, request: str) -> None:
        """Add a request that later ones may not repeat."""
        shingles = _shingles(request)
        for shingle in self._prefix(shingles):
            self._by_shingle[shingle].append(len(self._kept))
        self._kept.append((request, shingles))

    def _prefix(self, shingles: frozenset[str]) -> list[str]:
        ordered = sorted(shingles, key=lambda shingle: (crc32(shingle.encode()), shingle))
        # The small allowance keeps ceil from rounding 0.7 * 10 = 7.000000000000001 up to 8.
        return ordered[: len(ordered) - math.ceil(self.threshold * len(ordered) - 1e-9) + 1]


def similarity(one: str, other: str) -> float:
    """Return the Jaccard similarity of two texts' 4-character shingles, ignoring case and punctuation."""
    return _jaccard(_shingles(one), _shingles(other))


def numbers_in(text: str) -> set[Fraction]:
    """Return the numbers in a text, written as numerals or in English, in all their readings (5%: 5 and 1/20)."""
    folded = _folded(text)
    found: set[Fraction] = set()
    for match in _NUMERAL.finditer(folded):
        if match[1] is None and match[2] is None:
            continue
        whole = re.sub(r"\D", "", match[1] or "0")
        value = Fraction(f"{whole}{match[2] or ''}")
        if match[3]:
            value *= Fraction(10) ** int(match[3])
        found.add(value)
        if match[4] and int(match[4]):
            found |= {Fraction(int(match[4])), value / int(match[4])}
        if match[5]:
            found.add(value / 100)
        if match[6]:
            found.add(value * _SUFFIXES[match[6]])
    return found | set(_worded_numbers(_WORDS.findall(folded)))


class _Text:
    def __init__(self, request: str) -> None:
        words = _WORDS.findall(_folded(request))
        self._words = {form for word in words for form in (word, word.removesuffix("s"))}
        self._phrase = f" {' '.join(words)} "
        self._singular = f" {' '.join(word.removesuffix('s') for word in words)} "
        self._folded = _folded(request)
        self._numbers = numbers_in(request)

    def holds(self, value: object) -> bool:
        if isinstance(value, str):
            return self._holds_text(value)
        if isinstance(value, float) and not math.isfinite(value):
            return False
        if isinstance(value, int | float):
            return self._holds_number(value)
        return True

    def _holds_number(self, value: float) -> bool:
        exact = abs(Fraction(repr(value)))
        # A third may be the argument 0.3333: non-integers only need to be close.
        near = exact.denominator != 1
        return exact in self._numbers or (near and any(abs(number - exact) <= exact / 1000 for number in self._numbers))

    def _holds_text(self, value: str) -> bool:
        folded = _folded(value)
        words = _WORDS.findall(folded)
        if not words:  # punctuation, an emoji, nothing
            return folded.strip() in self._folded
        if date := _ISO_DATE.fullmatch(value.strip()):
            return self._holds_date(*date.groups())
        if f" {' '.join(words)} " in self._phrase:
            return True
        if f" {' '.join(word.removesuffix('s') for word in words)} " in self._singular:
            return True
        if len(words) > _LONG_TEXT:
            found = sum(word in self._words or word.removesuffix("s") in self._words for word in words)
            return 5 * found >= 4 * len(words)
        number = _as_number(value)
        return number is not None and number in self._numbers

    def _holds_date(self, year: str, month: str, day: str, hour: str | None, minute: str | None) -> bool:
        if not 1 <= int(month) <= 12:
            return False
        name = _MONTHS[int(month) - 1]
        named = name in self._words or name[:3] in self._words or f"{year}-{month}-{day}" in self._folded
        numbered = re.search(rf"\b0?{int(month)}[/.]0?{int(day)}\b|\b0?{int(day)}[/.]0?{int(month)}\b", self._folded)
        days = {f"{int(day)}{ending}" for ending in ("", "st", "nd", "rd", "th")} | {day}
        return bool(numbered) or (named and bool(days & self._words or f"-{day}" in self._folded))


def _leaves(path: str, value: object, schema: Any, root: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    """Yield the strings and numbers in a value that a request has to mention, with their paths."""
    schema = _resolved(schema, root)
    if "const" in schema or ("default" in schema and schema["default"] == value):
        return
    if isinstance(value, Mapping):
        fields = schema.get("properties", {})
        for name, item in value.items():
            yield from _leaves(f"{path}.{name}", item, fields.get(name, {}), root)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _leaves(f"{path}.{place}", item, schema.get("items", {}), root)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        yield path, value


def _resolved(schema: Any, root: Mapping[str, Any]) -> Mapping[str, Any]:
    for _ in range(32):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            break
        target: Any = root
        for part in reference.removeprefix("#").strip("/").split("/"):
            target = target.get(part, {}) if isinstance(target, Mapping) else {}
        schema = {**target, **{key: item for key, item in schema.items() if key != "$ref"}}
    return schema if isinstance(schema, Mapping) else {}


def _worded_numbers(words: list[str]) -> Iterator[Fraction]:
    """Yield the numbers written in words: "twenty one", "three hundred and five thousand", "half"."""
    at = 0
    while at < len(words):
        if words[at] in _WHOLE_WORDS:
            yield _WHOLE_WORDS[words[at]]
        value, end = _read_words(words, at)
        if end > at and not (end == at + 1 and words[at] in ("a", "an")):
            yield Fraction(value)
            if end < len(words) and words[end] == "dozen":
                yield Fraction(value * 12)
            at = end
        else:
            at += 1


def _read_words(words: list[str], at: int) -> tuple[int, int]:
    """Return the number that begins at word `at`, and the index after it, which is `at` if none begins there."""
    total = group = 0
    last: int | None = None  # value of the previous word, which decides what may follow
    end = place = at
    while place < len(words):
        word = words[place]
        if word in _SMALL:
            value = _SMALL[word]
            follows = last is None or last >= 100 or (last in range(20, 100, 10) and 0 < value < 10)
            if not follows:
                break
            group, last = group + value, value
        elif word == "hundred" and last is not None and 0 < group < 100:
            group, last = group * 100, 100
        elif word in _SCALES and last is not None and group:
            total, group, last = total + group * _SCALES[word], 0, 1000
        elif word == "and" and last is not None and last >= 100:
            place += 1
            continue
        else:
            break
        place += 1
        end = place
    return total + group, end


def _as_number(text: str) -> Fraction | None:
    try:
        return Fraction(Decimal(text.replace(",", "").strip()))
    except (InvalidOperation, ValueError, OverflowError):
        return None


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _shingles(request: str) -> frozenset[str]:
    text = f" {' '.join(_WORDS.findall(_folded(request)))} "
    return frozenset(text[at : at + _SHINGLE] for at in range(max(len(text) - _SHINGLE + 1, 1)))


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)
