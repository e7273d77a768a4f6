"""Parse calls as people write them, such as `add(1, 2)` or `lookup("St. John's", year=2019)`. Nothing is evaluated.

Values are JSON, plus three things found in Python code and in the papers' data: single quotes, True/False/None, and
bare text (`owner(Mark G. Parker)`), which ends at the next comma or closing bracket outside its own brackets.
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
    """The arguments between a call's parentheses.

    Attributes:
        positional: Values without a name, in order.
        named: Values by argument name.
        end: Character offset just after the closing parenthesis.
    """

    positional: tuple[Any, ...]
    named: dict[str, Any]
    end: int

    def bound(self, properties: Sequence[str] | None) -> list[Any] | dict[str, Any]:
        """Merge positional and named arguments.

        Args:
            properties: The tool's argument names in order, if known.

        Returns:
            A list if all arguments are positional, otherwise an object by argument name.

        Raises:
            ValueError: Positional and named arguments are mixed and can't be matched to `properties`.
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
    """Read the arguments of the call whose "(" is at offset `opening`.

    Raises:
        ValueError: A bracket or quote doesn't close, a comma is missing, a name is given twice, or a positional
            argument follows a named one.
    """
    positional: list[Any] = []
    named: dict[str, Any] = {}
    at = _after_space(text, opening + 1)
    while text[at : at + 1] != ")":
        name = _NAMED.match(text, at)
        value, at = _value(text, name.end() if name else at, ")", 0)
        if name is None and named:
            raise ValueError("a positional argument follows a named one; name them all")
        if name is None:
            positional.append(value)
        elif name[1] in named:
            raise ValueError(f"the argument {name[1]!r} is given twice")
        else:
            named[name[1]] = value
        at = _after_comma(text, at, ")")
    return WrittenArguments(tuple(positional), named, at + 1)


def read_quoted(text: str, at: int) -> tuple[str, int]:
    """Read the string whose opening quote is at `at`; return it and the offset after its closing quote.

    Raises:
        ValueError: The string doesn't close.
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
        # JSON writes a character above U+FFFF as two \u escapes, which only decode together.
        read = str(json.loads(f'"{escaped[0]}"')) if code[0] == "u" else _ESCAPES.get(code, code)
        parts += [text[plain:position], read]
        position = plain = escaped.end()
    raise ValueError(f"the string {text[at : at + 20]!r} doesn't close")


def read_value(text: str, at: int) -> tuple[Any, int]:
    """Read the object, list or string at `at`; return it and the offset after it.

    Raises:
        ValueError: It doesn't close, or something else is there.
    """
    if text[at : at + 1] not in ("{", "[", '"', "'"):
        raise ValueError(f"an object or a list is missing before {text[at : at + 20]!r}")
    return _value(text, at, "", 0)


def _value(text: str, at: int, closing: str, depth: int) -> tuple[Any, int]:
    """Read the value at `at`, which ends at a comma or at `closing`; return it and the offset after it."""
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
            raise ValueError(f"an object's key must be in quotes, not {text[at : at + 12]!r}")
        key, at = read_quoted(text, at)
        at = _after_space(text, at)
        if text[at : at + 1] != ":":
            raise ValueError(f"':' is missing after the key {key!r}")
        fields[key], at = _value(text, at + 1, "}", depth + 1)
        at = _after_comma(text, at, "}")
    return fields, at + 1


def _bare(text: str, at: int, closing: str) -> tuple[Any, int]:
    """Read a number, a JSON or Python literal, or plain text."""
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
            raise ValueError(f"{character!r} closes a bracket that was not opened")
    raise ValueError(f"{(waiting or [closing])[-1]!r} is missing")


def _literal(word: str) -> Any:
    if word in _WORDS:
        return _WORDS[word]
    try:
        value = json.loads(word, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return word
    # "1e999" is too large for a float, so it stays text.
    return word if isinstance(value, Mapping | list | str) or value in (math.inf, -math.inf) else value


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON number")


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _after_comma(text: str, at: int, closing: str) -> int:
    """Return the offset after the comma at `at`, or that of `closing`."""
    at = _after_space(text, at)
    found = text[at : at + 1]
    if found == ",":
        return _after_space(text, at + 1)
    if found != closing:
        raise ValueError(f"',' or {closing!r} is missing before {found!r}" if found else f"{closing!r} is missing")
    return at
