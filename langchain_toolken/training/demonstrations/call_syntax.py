"""Calls as people write them: `add(1, 2)`, `lookup("St. John's", year=2019)`. Read, never evaluated.

Values are JSON, with three liberties that Python and the papers' data take: single quotes, True/False/None, and bare
text (`owner(Mark G. Parker)`), which goes up to the next comma or closing bracket outside of its own brackets.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_NAMED = re.compile(r"\s*([^\W\d]\w*)\s*=(?!=)")
_SPACE = re.compile(r"\s*")
_ESCAPED = re.compile(r'(?:\\u[0-9a-fA-F]{4})+|\\["\'\\/bfnrt]')
_ESCAPES = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_OPEN = {"(": ")", "[": "]", "{": "}"}
_WORDS: dict[str, Any] = {"True": True, "False": False, "None": None}
_DEEPEST = 32


@dataclass(frozen=True)
class WrittenArguments:
    """What stands between a call's parentheses; `end` is the offset behind the closing one."""

    positional: tuple[Any, ...]
    named: dict[str, Any]
    end: int

    def bound(self, properties: Sequence[str] | None) -> list[Any] | dict[str, Any]:
        """One list, or one object if any argument is named; `properties` are the tool's, in their order, if known.

        Raises:
            ValueError: positional and named arguments are mixed and can't be told apart.
        """
        if not self.named:
            return list(self.positional)
        if not self.positional:
            return self.named
        first = list(properties or ())[: len(self.positional)]
        if len(first) < len(self.positional) or set(first) & set(self.named):
            raise ValueError("positional and named arguments don't go together; name them all")
        return {**dict(zip(first, self.positional, strict=True)), **self.named}


def read_arguments(text: str, opening: int) -> WrittenArguments:
    """The arguments of a call whose "(" stands at `opening`.

    Raises:
        ValueError: brackets or quotes that don't close, two values without a comma, one name twice.
    """
    positional: list[Any] = []
    named: dict[str, Any] = {}
    at = _after_space(text, opening + 1)
    while text[at : at + 1] != ")":
        name = _NAMED.match(text, at)
        value, at = _value(text, name.end() if name else at, ")", 0)
        if name is None and named:
            raise ValueError("a positional argument stands behind a named one; name them all")
        if name is None:
            positional.append(value)
        elif name[1] in named:
            raise ValueError(f"the argument {name[1]!r} is given twice")
        else:
            named[name[1]] = value
        at = _after_comma(text, at, ")")
    return WrittenArguments(tuple(positional), named, at + 1)


def read_quoted(text: str, at: int) -> tuple[str, int]:
    """The string whose opening quote stands at `at`, and the offset behind its closing quote.

    Raises:
        ValueError: the string doesn't close.
    """
    quote = text[at]
    parts: list[str] = []
    position = plain = at + 1
    while position < len(text):
        if text[position] == quote:
            return "".join([*parts, text[plain:position]]), position + 1
        escaped = _ESCAPED.match(text, position)
        if escaped is None:
            position += 1
            continue
        code = escaped[0][1:]
        # JSON writes characters beyond the first 65,536 as two escapes, which only together make one.
        read = str(json.loads(f'"{escaped[0]}"')) if code[0] == "u" else _ESCAPES.get(code, code)
        parts += [text[plain:position], read]
        position = plain = escaped.end()
    raise ValueError(f"the string {text[at : at + 20]!r} doesn't close")


def _value(text: str, at: int, closing: str, depth: int) -> tuple[Any, int]:
    """The value at `at`, which ends at a comma or at `closing`, and the offset behind it."""
    if depth > _DEEPEST:
        raise ValueError(f"values are nested more than {_DEEPEST} deep")
    at = _after_space(text, at)
    first = text[at : at + 1]
    if first in ('"', "'"):
        return read_quoted(text, at)
    if first == "[":
        return _list(text, at, depth)
    if first == "{":
        return _object(text, at, depth)
    return _bare(text, at, closing)


def _list(text: str, at: int, depth: int) -> tuple[list[Any], int]:
    items: list[Any] = []
    at = _after_space(text, at + 1)
    while text[at : at + 1] != "]":
        item, at = _value(text, at, "]", depth + 1)
        items.append(item)
        at = _after_comma(text, at, "]")
    return items, at + 1


def _object(text: str, at: int, depth: int) -> tuple[dict[str, Any], int]:
    fields: dict[str, Any] = {}
    at = _after_space(text, at + 1)
    while text[at : at + 1] != "}":
        if text[at : at + 1] not in ('"', "'"):
            raise ValueError(f"an object's key stands in quotes, not {text[at : at + 12]!r}")
        key, at = read_quoted(text, at)
        at = _after_space(text, at)
        if text[at : at + 1] != ":":
            raise ValueError(f"':' is missing behind the key {key!r}")
        fields[key], at = _value(text, at + 1, "}", depth + 1)
        at = _after_comma(text, at, "}")
    return fields, at + 1


def _bare(text: str, at: int, closing: str) -> tuple[Any, int]:
    """A number, a word of JSON or Python, or plain text."""
    waiting: list[str] = []
    for position in range(at, len(text)):
        character = text[position]
        if not waiting and (character == "," or character == closing):
            word = text[at:position].strip()
            if not word:
                raise ValueError(f"an argument is missing before {character!r}")
            return _literal(word), position
        if character in _OPEN:
            waiting.append(_OPEN[character])
        elif waiting and character == waiting[-1]:
            waiting.pop()
        elif character in ")]}":
            raise ValueError(f"{character!r} closes what was not opened")
    raise ValueError(f"{(waiting or [closing])[-1]!r} is missing")


def _literal(word: str) -> Any:
    if word in _WORDS:
        return _WORDS[word]
    try:
        value = json.loads(word, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return word
    # "1e999" is a number that no float holds.
    return word if isinstance(value, Mapping | list | str) or value in (math.inf, -math.inf) else value


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON number")


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _after_comma(text: str, at: int, closing: str) -> int:
    """Behind the comma at `at`, or at `closing`."""
    at = _after_space(text, at)
    found = text[at : at + 1]
    if found == ",":
        return _after_space(text, at + 1)
    if found != closing:
        raise ValueError(f"',' or {closing!r} is missing before {found!r}" if found else f"{closing!r} is missing")
    return at
