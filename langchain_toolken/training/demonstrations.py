"""Demonstrations: texts in which tools have been used, read from JSONL (form: DESIGN §5, `benchmarks/README.md`).

A row is `{"text": str, "calls": [{"start": int, "tool": str, "args"?: list | dict, "result"?: str}]}`. `start` is the
character offset at which the call happens, which is where its result begins in `text`.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator


class DemonstrationError(ValueError):
    """The demonstrations can't be used at all; the message says which file and what to do."""


def plain_tool_name(name: str) -> str:
    """The papers' data write tools as `<add>`; the tool itself is `add`."""
    if len(name) > 2 and name.startswith("<") and name.endswith(">"):
        return name[1:-1]
    return name


class Call(BaseModel):
    """One tool call in a demonstration's text.

    `start`: character offset in the text. `result`: what stands there (whitespace around it is not significant), None
    if the text shows no result. `args` are kept for evaluation; training doesn't use them.
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
    """A text and the calls in it. `line` is where it was read from (1-based), so that later steps can report it."""

    model_config = ConfigDict(frozen=True)

    text: str = Field(min_length=1)
    calls: tuple[Call, ...]
    line: int | None = None


@dataclass(frozen=True)
class DroppedRow:
    """A demonstration that is not used. `line` is 1-based: in the file, or the place in the list that was given."""

    line: int
    reason: str


@dataclass(frozen=True)
class LoadedDemonstrations:
    """What could be used, in the order given, and what could not, with the reason of each."""

    demonstrations: tuple[Demonstration, ...]
    dropped: tuple[DroppedRow, ...]


def result_end(text: str, call: Call) -> int | None:
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


def load_demonstrations(path: str | Path, tool_names: Iterable[str]) -> LoadedDemonstrations:
    """Read demonstrations from a JSONL file and check each row against the tools there are.

    A row is dropped, with its line and the reason, if it is not JSON, lacks text or calls, calls an unknown tool, or
    has a call whose result does not stand at its `start`. Blank lines are skipped.

    Raises DemonstrationError if the file can't be read as UTF-8, or if no row is left.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise DemonstrationError(f"{path}: no such demonstrations file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DemonstrationError(f"{path}: can't be read as UTF-8 text ({error}); save it as UTF-8 JSONL") from error
    rows: list[tuple[int, object]] = []
    dropped: list[DroppedRow] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            dropped.append(DroppedRow(number, f"not JSON: {error}"))
    return _checked(rows, dropped, tool_names, str(path))


def check_demonstrations(
    rows: Iterable[Demonstration | Mapping[str, Any]], tool_names: Iterable[str]
) -> LoadedDemonstrations:
    """The same checks for demonstrations that are in memory; `line` is the place in the list, from 1."""
    return _checked(list(enumerate(rows, start=1)), [], tool_names, "the demonstrations given")


def _checked(
    rows: Iterable[tuple[int, object]], dropped: list[DroppedRow], tool_names: Iterable[str], source: str
) -> LoadedDemonstrations:
    names = {plain_tool_name(name): name for name in tool_names}
    kept: list[Demonstration] = []
    for line, row in rows:
        checked = _check(row, line, names)
        if isinstance(checked, Demonstration):
            kept.append(checked)
        else:
            dropped.append(DroppedRow(line, checked))
    dropped.sort(key=lambda row: row.line)
    if not kept:
        shown = "; ".join(f"line {row.line}: {row.reason}" for row in dropped[:3]) or "it is empty"
        raise DemonstrationError(
            f"{source}: no usable demonstration ({len(dropped)} dropped). {shown}. "
            'Each row should read {"text": "...", "calls": [{"start": 42, "tool": "add", "result": "7"}]}.'
        )
    return LoadedDemonstrations(tuple(kept), tuple(dropped))


def _check(row: object, line: int, names: Mapping[str, str]) -> Demonstration | str:
    if isinstance(row, Demonstration):
        demonstration = row
    elif isinstance(row, Mapping):
        try:
            demonstration = Demonstration.model_validate({key: row[key] for key in ("text", "calls") if key in row})
        except ValidationError as error:
            return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
    else:
        return f"a row must be an object with 'text' and 'calls', not {type(row).__name__}"
    calls = []
    for call in demonstration.calls:
        if call.tool not in names:
            near = difflib.get_close_matches(call.tool, list(names), n=3, cutoff=0.5)
            return f"unknown tool '{call.tool}'" + (f"; did you mean {', '.join(near)}?" if near else "")
        if call.start > len(demonstration.text):
            length = len(demonstration.text)
            return f"start {call.start} of '{call.tool}' is out of range: the text has {length} characters"
        if result_end(demonstration.text, call) is None:
            found = demonstration.text[call.start : call.start + len(call.result or "") + 8]
            return f"the result {call.result!r} of '{call.tool}' is not at start {call.start}, where {found!r} stands"
        calls.append(call.model_copy(update={"tool": names[call.tool]}))
    return demonstration.model_copy(update={"calls": tuple(calls), "line": line})
