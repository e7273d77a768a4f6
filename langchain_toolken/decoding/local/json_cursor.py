"""`JsonCursor`: where in an arguments object a JSON text that is being written has come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_OPEN, _CLOSE = "{[", "}]"


@dataclass(frozen=True)
class Value:
    """A string or number of the object, or the part of it that is written.

    Attributes:
        parameter: The top-level parameter that it belongs to, also if it is deeper inside.
        kind: "start" where a value comes next and nothing of it is written; "listed" after a value of a list that is
            complete, before the comma or the bracket.
        written: The characters so far, as JSON writes them: without quotes, with escapes.
        in_list: Whether it is one of a list of values.
    """

    parameter: str
    kind: Literal["start", "string", "number", "listed"]
    written: str = ""
    in_list: bool = False


class JsonCursor:
    """Follows one JSON object character by character. The text has to be the beginning of valid JSON.

    Attributes:
        value: What is being written; None at keys, at other literals, and between values outside of lists.
        finished: The strings and numbers that are complete, in order.
    """

    def __init__(self) -> None:
        self.value: Value | None = None
        self.finished: list[Value] = []
        self._stack: list[str] = []
        self._parameter = ""
        self._key: str | None = None  # the characters of the key that is being written
        self._key_next = False  # whether a string that begins now is a key
        self._escaped = False

    def feed(self, text: str) -> None:
        """Read the next characters."""
        for character in text:
            self._read(character)

    def _read(self, character: str) -> None:
        inside = self.value is not None and self.value.kind == "string"
        if self._key is not None or inside:
            self._read_string(character)
            return
        if self.value is not None and self.value.kind == "number":
            if character not in ",}] \t\r\n":
                self.value = self._value("number", self.value.written + character)
                return
            self._finish()
        if character in _OPEN:
            self._stack.append(character)
            self._key_next = character == "{"
            self.value = self._value("start") if character == "[" else None
        elif character in _CLOSE:
            self._stack.pop()
            self.value = None
        elif character == ",":
            self._key_next = self._stack[-1] == "{"
            self.value = None if self._key_next else self._value("start")
        elif character == ":":
            self.value = self._value("start")
        elif character == '"':
            if self._key_next:
                self._key, self._key_next, self.value = "", False, None
            else:
                self.value = self._value("string")
        elif self.value is not None and self.value.kind == "start" and not character.isspace():
            self.value = self._value("number", character) if character in "-0123456789" else None

    def _read_string(self, character: str) -> None:
        if character == '"' and not self._escaped:
            if self._key is None:
                self._finish()
                return
            if len(self._stack) == 1:
                self._parameter = self._key
            self._key = None
            return
        self._escaped = character == "\\" and not self._escaped
        if self._key is not None:
            self._key += character
        elif self.value is not None:
            self.value = self._value("string", self.value.written + character)

    def _value(self, kind: Literal["start", "string", "number", "listed"], written: str = "") -> Value:
        return Value(self._parameter, kind, written, in_list=self._stack[-1] == "[")

    def _finish(self) -> None:
        if self.value is not None:
            self.finished.append(self.value)
        self.value = self._value("listed") if self._stack[-1] == "[" else None
