"""`Attempt`: what one method made of one question, what it cost, and its steps; and the form it is kept in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from langchain_toolken.disk.writing import writing
from langchain_toolken.errors import ToolkenError

StepKind = Literal["prompt", "text", "thought", "tool", "arguments", "result", "stop"]


class AttemptedCall(BaseModel):
    """A call that a method made.

    Attributes:
        tool: The tool.
        arguments: Its arguments.
        result: What it returned; None if it was not run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tool: str
    arguments: dict[str, Any] = {}
    result: str | None = None


class TraceStep(BaseModel):
    """One step of an attempt, to be read next to another method's.

    Attributes:
        kind: What it is. "prompt" is what the LM read first; "stop" says why the attempt ended early.
        text: The step in words.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: StepKind
    text: str


class Attempt(BaseModel):
    """One method's answer to one question.

    Attributes:
        question: The question's id.
        text: The whole answer, with results in place.
        calls: The calls, in order.
        ranked: Tools by their score where the first call is due, the best first; empty where the method ranks none.
        call_odds: Log odds of a call against none at the end of the request; None where the method does not say.
        prompt_tokens: Prompt tokens of all the LM's answers and calls together, cached or not.
        generated_tokens: Tokens that the LM wrote, arguments included.
        lm_passes: Forward passes of the LM; those that several questions share are divided between them.
        seconds: Wall clock, divided in the same way.
        trace: The steps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    question: str
    text: str = ""
    calls: tuple[AttemptedCall, ...] = ()
    ranked: tuple[str, ...] = ()
    call_odds: float | None = None
    prompt_tokens: int = 0
    generated_tokens: int = 0
    lm_passes: float = 0.0
    seconds: float = 0.0
    trace: tuple[TraceStep, ...] = ()

    @property
    def first_tool(self) -> str | None:
        """The tool that is called or ranked first; None if there is none."""
        if self.calls:
            return self.calls[0].tool
        return self.ranked[0] if self.ranked else None


class AttemptsError(ToolkenError, ValueError):
    """A file of attempts can't be read; the message names the file and the line."""


class AttemptFile:
    """A JSONL file with an attempt a line, which grows as questions are answered.

    A line is written as a whole and flushed. If the process was killed within a line, that line is not read, and the
    next attempt takes its place.

    Args:
        path: The file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> dict[str, Attempt]:
        """Return the attempts by question; of two at one question the first."""
        found: dict[str, Attempt] = {}
        for attempt in self._whole_lines():
            found.setdefault(attempt.question, attempt)
        return found

    def append(self, attempts: list[Attempt]) -> None:
        """Add attempts, after the last whole line."""
        with writing(self.path):
            self._append(attempts)

    def _append(self, attempts: list[Attempt]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        content = self.path.read_bytes() if self.path.exists() else b""
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.truncate(content.rfind(b"\n") + 1)
            file.seek(0, 2)
            for attempt in attempts:
                file.write(attempt.model_dump_json().encode() + b"\n")
                file.flush()

    def _whole_lines(self) -> Iterator[Attempt]:
        if not self.path.exists():
            return
        *lines, _torn = self.path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, start=1):
            try:
                yield Attempt.model_validate_json(line)
            except ValidationError as error:
                raise AttemptsError(
                    f"{self.path}, line {number} is no attempt of this version ({error.errors()[0]['msg']}): delete "
                    "the file to answer its questions again"
                ) from error
