"""Lengths of time that are written in English: "half an hour", "2 hours", "an hour and a half", "ten minutes"."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import get_args

from langchain_toolken.decoding.local.number_words import number_words
from langchain_toolken.toolkens.slots import TimeUnit

_SECONDS = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}
_SHORT = {"sec": "second", "min": "minute", "hr": "hour", "h": "hour"}
_UNIT = rf"(?P<unit>{'|'.join([*_SECONDS, *_SHORT])})s?\b"
_LENGTH = re.compile(
    rf"(?P<number>\d+(?:\.\d+)?|#+|an?|one)(?P<half>\s+and\s+a\s+half)?[\s-]*{_UNIT}(?P<later>\s+and\s+a\s+half\b)?"
    rf"|(?P<part>half|(?:an?\s+|one\s+)?quarter|three\s+quarters)\s+(?:of\s+)?an?\s+{_UNIT.replace('unit', 'whole')}",
    re.IGNORECASE,
)
_QUARTERS = re.compile(r"three\s+quarters", re.IGNORECASE)
_JOINED = re.compile(r"\s*(?:,|and)?\s*", re.IGNORECASE)
_PARTS = {"half": 0.5, "quarter": 0.25, "three": 0.75}


def durations(text: str) -> Iterator[tuple[int, int, float]]:
    """Yield (start, end, seconds) of each length of time; "an hour and ten minutes" is one."""
    written = {start: (end, number) for start, end, number in number_words(text) if not _QUARTERS.match(text, start)}
    plain = text
    for start, (end, _) in written.items():
        plain = plain[:start] + "#" * (end - start) + plain[end:]
    found: list[tuple[int, int, float]] = []
    for match in _LENGTH.finditer(plain):
        start, end = match.span()
        if start and (plain[start - 1].isalnum() or plain[start - 1] in ".,:#"):
            continue
        part, number = match["part"], match["number"]
        if part is not None:
            length = _PARTS["three" if part.lower().startswith("three") else part.lower().split()[-1]]
        else:
            count = written[start][1] if number[0] == "#" else 1.0 if number[0].isalpha() else float(number)
            length = count + 0.5 * bool(match["half"] or match["later"])
        unit = (match["unit"] or match["whole"]).lower()
        seconds = length * _SECONDS[_SHORT.get(unit, unit)]
        if found and _JOINED.fullmatch(plain[found[-1][1] : start]):
            start, _, before = found.pop()
            seconds += before
        found.append((start, end, seconds))
    yield from found


def in_unit(seconds: float, unit: TimeUnit) -> int | float:
    """Return a length of time in a unit, whole where it is."""
    length = round(seconds / _SECONDS[unit.removesuffix("s")], 6)
    return int(length) if length == int(length) else length


def unit_of(values: Iterable[tuple[str, float]]) -> TimeUnit | None:
    """Return the unit in which texts' lengths of time are their values; None where they are not, or there are none.

    Args:
        values: Texts, and the number that each stands for.
    """
    right = dict.fromkeys(get_args(TimeUnit), 0)
    timed = 0
    for text, value in values:
        lengths = [seconds for _, _, seconds in durations(text)]
        timed += bool(lengths)
        for unit in right:
            right[unit] += any(abs(in_unit(seconds, unit) - value) < 1e-6 for seconds in lengths)
    best = max(right, key=lambda unit: right[unit])
    return best if right[best] > 1 and right[best] >= 0.8 * timed else None
