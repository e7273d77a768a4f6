"""The one form that demonstrations of every kind come to, and what is said about rows that can't be used.

Import these from `training.demonstrations`, which also reads and checks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from langchain_core.messages import BaseMessage
from pydantic import BaseModel, ConfigDict, Field, InstanceOf, field_validator, model_validator

from langchain_toolken.errors import ToolkenError


class DemonstrationError(ToolkenError, ValueError):
    """The demonstrations can't be used; the message says which file, which rows and what to do."""


def plain_tool_name(name: str) -> str:
    """The papers' data write tools as `<add>`; the tool itself is `add`."""
    if len(name) > 2 and name.startswith("<") and name.endswith(">"):
        return name[1:-1]
    return name


class DemonstratedCall(BaseModel):
    """One tool call in a demonstration's text.

    `start`: character offset in the text. `result`: what stands there (whitespace around it is not significant), None
    if the text shows no result. `args`: checked against the tool's schema where that is known, and then an object by
    argument names; None if the demonstration doesn't show them. Training learns where to call and doesn't use them.
    """

    model_config = ConfigDict(frozen=True)

    start: int = Field(ge=0, strict=True)
    tool: str = Field(min_length=1)
    args: list[Any] | dict[str, Any] | None = None
    result: str | None = None

    @field_validator("tool")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        return plain_tool_name(name)

    @field_validator("result", mode="before")
    @classmethod
    def _number_as_text(cls, result: object) -> object:
        if isinstance(result, int | float) and not isinstance(result, bool):
            return str(result)
        return result


class Demonstration(BaseModel):
    """A text and the calls in it.

    `before`: the messages that the text answers, laid out as ToolkenChat lays them out; the text is then one assistant
    message's, and may be empty if the call is the first thing in it. Without any, the text stands alone.
    `source`, `line`: where it was read from (1-based), so that later steps can report it.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    calls: tuple[DemonstratedCall, ...]
    before: tuple[InstanceOf[BaseMessage], ...] = ()
    line: int | None = None
    source: str = ""

    @model_validator(mode="after")
    def _can_be_read(self) -> Self:
        if not self.text and not self.before:
            raise ValueError("'text' is empty")
        if any("\ud800" <= character <= "\udfff" for character in self.text):
            raise ValueError("'text' holds a lone surrogate, half of a character; write the character whole")
        return self


@dataclass(frozen=True)
class DroppedRow:
    """A demonstration that is not used.

    `line` is 1-based: in the file, in the docstring, or the place in the list that was given. `source` says which
    docstring; it is empty for the demonstrations given.
    """

    line: int
    reason: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.source}{', ' if self.source else ''}line {self.line}: {self.reason}"


def result_end(text: str, call: DemonstratedCall) -> int | None:
    """Character offset just after the call's result, or None if the result doesn't stand at `call.start`.

    Whitespace around the result, and between `start` and the result, is skipped (the KAMEL rows point at the space in
    front). A call without a result ends where it starts.
    """
    if call.start > len(text):
        return None
    if call.result is None or not call.result.strip():
        return call.start
    result = call.result.strip()
    at = call.start + len(text[call.start :]) - len(text[call.start :].lstrip())
    return at + len(result) if text.startswith(result, at) else None
