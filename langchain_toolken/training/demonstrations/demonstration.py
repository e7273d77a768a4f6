"""The typed form of demonstrations, and of rows that can't be used.

`load` reads and checks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

from langchain_core.messages import BaseMessage
from pydantic import BaseModel, ConfigDict, Field, InstanceOf, field_validator, model_validator

from langchain_toolken.errors import ToolkenError


class DemonstrationError(ToolkenError, ValueError):
    """The demonstrations can't be used; the message names the file and the rows, and says what to do."""


def plain_tool_name(name: str) -> str:
    """Return the tool's name without the angle brackets of the papers' data: `add` for `<add>`."""
    if len(name) > 2 and name.startswith("<") and name.endswith(">"):
        return name[1:-1]
    return name


class DemonstratedCall(BaseModel):
    """One tool call in a demonstration's text.

    Attributes:
        start: Character offset of the call in the text, which is where its result begins.
        tool: The tool's name. A row may put it in angle brackets (`plain_tool_name`).
        args: The arguments, None if the demonstration doesn't show them. Checked arguments are an object by argument
            name. Training doesn't use them: it learns which tool to call where.
        result: The text at `start` (surrounding whitespace is ignored), None if the text shows no result.
    """

    model_config = ConfigDict(frozen=True)

    start: int = Field(ge=0, strict=True)
    tool: str = Field(min_length=1)
    args: list[Any] | dict[str, Any] | None = None
    result: str | None = None

    @field_validator("result", mode="before")
    @classmethod
    def _number_as_text(cls, result: object) -> object:
        if isinstance(result, int | float) and not isinstance(result, bool):
            return str(result)
        return result


class Demonstration(BaseModel):
    """A text and the calls in it.

    Attributes:
        text: The text. With `before`, one assistant message's text, which may be empty if the message begins with the
            call.
        calls: The calls, in order.
        before: The messages that the text answers, laid out as ToolkenChat lays them out. Empty for a text on its own.
        parallel: Whether the call was made in one message with a call of another tool, which `before` holds.
        line: Where it was read from, counted from 1, for reports by later steps.
        source: The docstring it was read from; empty for demonstrations passed by the caller.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    calls: tuple[DemonstratedCall, ...]
    before: tuple[InstanceOf[BaseMessage], ...] = ()
    parallel: bool = False
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
    """A demonstration that is not used, and why.

    Attributes:
        line: Line in the file or docstring, or position in the list; counted from 1.
        reason: Why it is not used.
        source: The docstring it is from; empty for demonstrations passed by the caller.
    """

    line: int
    reason: str
    source: str = ""

    def __str__(self) -> str:
        return f"{self.source}{', ' if self.source else ''}line {self.line}: {self.reason}"


def result_end(text: str, call: DemonstratedCall) -> int | None:
    """Return the character offset just after the call's result, or None if the result is not at `call.start`.

    Whitespace around the result, and between `start` and the result, is skipped (KAMEL's rows point at the space before
    the result). A call without a result ends where it starts.
    """
    if call.start > len(text):
        return None
    if call.result is None or not call.result.strip():
        return call.start
    result = call.result.strip()
    at = call.start + len(text[call.start :]) - len(text[call.start :].lstrip())
    return at + len(result) if text.startswith(result, at) else None
