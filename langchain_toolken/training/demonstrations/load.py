"""Load demonstrations (examples of tools in use) from files, rows in memory and docstrings, and check them.

A row has one of these forms, and a file may mix them:

- spans: `{"text": "…2*3=6.", "calls": [{"start": 42, "tool": "multiply", "args"?: […] | {…}, "result"?: "6"}]}`, where
  `start` is the character offset of the call, which is where its result begins in the text;
- inline markup: `{"text": "… 2*3=<multiply>(2, 3)=6."}` (`markup`);
- a chat: `{"messages": […]}`, or just the list, of OpenAI-style dicts with `tool_calls`, dicts written by LangChain's
  `messages_to_dict`, or live messages (`histories`). Calls may be written in the text (`written_calls`).

The examples in tools' docstrings are read too (`docstrings`).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.messages import BaseMessage
from pydantic import ValidationError

from langchain_toolken.tools.arguments import checked_arguments
from langchain_toolken.tools.spec import ToolLike, ToolSpec, tool_spec
from langchain_toolken.training.demonstrations.demonstration import (
    Demonstration,
    DemonstrationError,
    DroppedRow,
    plain_tool_name,
    result_end,
)
from langchain_toolken.training.demonstrations.docstrings import read_docstring_examples
from langchain_toolken.training.demonstrations.histories import history_demonstrations, is_history
from langchain_toolken.training.demonstrations.markup import has_markup, parse_markup
from langchain_toolken.training.demonstrations.written_calls import mark_of_a_call

DemonstrationRow = Demonstration | Mapping[str, Any] | Sequence[BaseMessage | Mapping[str, Any]]
"""One row: a `Demonstration`, a mapping in any of the forms above, or a history as a list of messages."""

_FORMS = (
    'Each row should read {"text": "...", "calls": [{"start": 42, "tool": "add", "result": "7"}]}, '
    '{"text": "... = <add>(3, 4)=7"}, or {"messages": [...]} with tool_calls.'
)
_SHOWN_WHEN_STRICT = 20


@dataclass(frozen=True)
class LoadedDemonstrations:
    """The usable demonstrations, and the rows that were dropped.

    Attributes:
        demonstrations: In the order of the rows. A chat becomes one demonstration per call and per answer, so there may
            be more of them than rows.
        dropped: The other rows, with reasons.
    """

    demonstrations: tuple[Demonstration, ...]
    dropped: tuple[DroppedRow, ...]


def load_demonstrations(
    path: str | Path, tools: Iterable[str | ToolSpec], *, strict: bool = False
) -> LoadedDemonstrations:
    """Read demonstrations from a file and check each row against the tools.

    A row is dropped if it is not JSON, has none of the forms above, calls an unknown tool, has arguments that the tool
    doesn't accept, or its result is not at the call's `start`. By default dropped rows are not an error, because real
    data has a few. Blank lines are skipped.

    Args:
        path: A JSONL file with one row per line, or a `.json` file with a list of rows or a single history.
        tools: The tools' specs, which arguments are checked against. The arguments of a tool given by name only are not
            checked.
        strict: Raise an error if a row would be dropped.

    Returns:
        The demonstrations, and the dropped rows with their line (in a `.json` file, the position in the list) and
        reason.

    Raises:
        DemonstrationError: The file can't be read as UTF-8 (or as JSON), no row is usable, or, with `strict`, a row is
            bad; the message lists the rows by line and reason.
    """
    path = Path(path)
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DemonstrationError(f"{path}: no such demonstrations file") from error
    except IsADirectoryError as error:
        raise DemonstrationError(f"{path}: is a folder; give a JSONL or JSON file of demonstrations") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DemonstrationError(f"{path}: can't be read as UTF-8 text ({error}); save it as UTF-8 JSONL") from error
    rows: list[tuple[int, object]] = []
    dropped: list[DroppedRow] = []
    if path.suffix.lower() == ".json":
        return _checked(list(enumerate(_json_rows(path, content), start=1)), dropped, tools, str(path), strict)
    for number, line in enumerate(content.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            rows.append((number, json.loads(line)))
        except (ValueError, RecursionError) as error:
            dropped.append(DroppedRow(number, f"not JSON: {error}"))
    return _checked(rows, dropped, tools, str(path), strict)


def check_demonstrations(
    rows: Iterable[DemonstrationRow], tools: Iterable[str | ToolSpec], *, strict: bool = False
) -> LoadedDemonstrations:
    """Check demonstrations in memory as `load_demonstrations` checks those of a file.

    Args:
        rows: The rows. A list of messages is a single history.
        tools: As for `load_demonstrations`.
        strict: As for `load_demonstrations`.

    Returns:
        The demonstrations and the dropped rows; `line` is the position in the list, counted from 1.

    Raises:
        DemonstrationError: As `load_demonstrations`.
    """
    given = list(rows)
    histories: list[Any] = [given] if is_history(given) else given
    return _checked(list(enumerate(histories, start=1)), [], tools, "the demonstrations given", strict)


def docstring_demonstrations(tools: Iterable[ToolLike | ToolSpec]) -> LoadedDemonstrations:
    """Read the examples in the tools' docstrings (see `docstrings`), checked like the rows of a file.

    Both tuples are empty if no docstring has an `Examples:` section. `source` names the docstring, `line` counts in it.
    """
    made = list(tools)
    found, unreadable = read_docstring_examples(made)
    kept, dropped = _sorted_out([(d.line or 0, d) for d in found], [tool_spec(tool) for tool in made])
    return LoadedDemonstrations(tuple(kept), (*unreadable, *dropped))


def gather_demonstrations(
    given: str | Path | Iterable[DemonstrationRow] | None,
    tools: Sequence[ToolLike | ToolSpec],
    *,
    docstrings: bool,
    strict: bool,
) -> LoadedDemonstrations:
    """Collect what `fit` learns from: the demonstrations given, followed by those in docstrings.

    Args:
        given: A file or rows, or None.
        tools: The tools.
        docstrings: Whether to read the tools' docstrings.
        strict: Raise an error if a row would be dropped.

    Returns:
        The demonstrations and the dropped rows; empty if nothing was given and no docstring has a usable example.

    Raises:
        DemonstrationError: As `load_demonstrations`.
    """
    in_docstrings = docstring_demonstrations(tools) if docstrings else LoadedDemonstrations((), ())
    if strict and in_docstrings.dropped:
        raise DemonstrationError(bad_rows("the tools' docstrings", in_docstrings.dropped))
    if given is None:
        return in_docstrings
    specs = [tool_spec(tool) for tool in tools]
    if isinstance(given, str | Path):
        loaded = load_demonstrations(given, specs, strict=strict)
    else:
        loaded = check_demonstrations(given, specs, strict=strict)
    return LoadedDemonstrations(
        loaded.demonstrations + in_docstrings.demonstrations, loaded.dropped + in_docstrings.dropped
    )


def bad_rows(source: str, dropped: Sequence[DroppedRow]) -> str:
    """Return the error message of a strict run, which lists the first 20 bad rows by line and reason."""
    shown = "\n".join(f"  {row}" for row in dropped[:_SHOWN_WHEN_STRICT])
    more = len(dropped) - _SHOWN_WHEN_STRICT
    return (
        f"{source}: {len(dropped)} {'row' if len(dropped) == 1 else 'rows'} can't be used.\n{shown}"
        + (f"\n  and {more} more" if more > 0 else "")
        + "\nFix or remove them, or run without strict to leave them out."
    )


def _json_rows(path: Path, content: str) -> Sequence[object]:
    try:
        rows = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DemonstrationError(
            f"{path}: not JSON ({error}); if it has one row per line, name the file .jsonl"
        ) from error
    if isinstance(rows, Mapping):
        return [rows]
    if not isinstance(rows, list):
        raise DemonstrationError(f"{path}: holds {type(rows).__name__}, not a list of rows. {_FORMS}")
    return [rows] if is_history(rows) else rows


def _checked(
    rows: Iterable[tuple[int, object]],
    dropped: Sequence[DroppedRow],
    tools: Iterable[str | ToolSpec],
    source: str,
    strict: bool,
) -> LoadedDemonstrations:
    kept, bad = _sorted_out(rows, tools)
    bad = sorted([*dropped, *bad], key=lambda row: row.line)
    if strict and bad:
        raise DemonstrationError(bad_rows(source, bad))
    if not kept:
        dropped_rows = "; ".join(map(str, bad[:3])) + ("; …" if len(bad) > 3 else "")
        why = f"no usable demonstration, {len(bad)} dropped: {dropped_rows}" if bad else "it holds no demonstration"
        raise DemonstrationError(f"{source}: {why}. {_FORMS}")
    return LoadedDemonstrations(tuple(kept), tuple(bad))


def _sorted_out(
    rows: Iterable[tuple[int, object]], tools: Iterable[str | ToolSpec]
) -> tuple[list[Demonstration], list[DroppedRow]]:
    """Read and check the rows. A row with any bad part is dropped as a whole."""
    known = {plain_tool_name(tool if isinstance(tool, str) else tool.name): tool for tool in tools}
    properties = {name: _properties(tool) for name, tool in known.items()}
    kept: list[Demonstration] = []
    dropped: list[DroppedRow] = []
    for line, row in rows:
        try:
            kept += [_with_calls_checked(demonstration, line, known) for demonstration in _read_row(row, properties)]
        except ValidationError as error:
            reason = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'row'}: {e['msg']}" for e in error.errors())
            dropped.append(DroppedRow(line, reason))
        except ValueError as error:
            dropped.append(DroppedRow(line, str(error), row.source if isinstance(row, Demonstration) else ""))
    return kept, dropped


def _read_row(row: object, properties: Mapping[str, list[str] | None]) -> list[Demonstration]:
    """Convert a row of any form to demonstrations; raise ValueError if it has none of the forms.

    Args:
        row: The row.
        properties: The parameters of all tools by their names; None where they are not known.
    """
    if isinstance(row, Demonstration):
        return [row]
    if isinstance(row, Mapping) and "messages" in row:
        messages = row["messages"]
        if not is_history(messages):
            raise ValueError("'messages' must be a list of messages, each with a role and its content")
        return history_demonstrations(messages, properties)
    if is_history(row) and isinstance(row, Sequence):
        return history_demonstrations(row, properties)
    if not isinstance(row, Mapping):
        raise ValueError(
            f"a row must be an object with 'text' and 'calls', a text with inline markup, or a list of messages, not "
            f"{type(row).__name__}"
        )
    text = row.get("text")
    if "calls" not in row and isinstance(text, str):
        if not has_markup(text, properties):
            raise ValueError(
                "there are neither 'calls' nor inline markup such as <add>(3, 4)=7; a text in which nothing is called "
                'says so: "calls": []'
            )
        return [Demonstration.model_validate(parse_markup(text, properties))]
    return [Demonstration.model_validate({key: row[key] for key in ("text", "calls") if key in row})]


def _properties(tool: str | ToolSpec) -> list[str] | None:
    return None if isinstance(tool, str) else list(tool.json_schema.get("properties", {}))


def _with_calls_checked(demonstration: Demonstration, line: int, known: Mapping[str, str | ToolSpec]) -> Demonstration:
    text = demonstration.text
    if mark := mark_of_a_call(text):
        raise ValueError(
            f"the text writes a call ({mark!r} at character {text.index(mark)}), which would be learnt as words; give "
            "the call in 'calls', or the row as a chat: {\"messages\": [...]}"
        )
    calls = []
    for call in demonstration.calls:
        name = plain_tool_name(call.tool)
        if name not in known:
            near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.5)
            raise ValueError(f"unknown tool '{name}'" + (f"; did you mean {', '.join(near)}?" if near else ""))
        if call.start > len(text):
            raise ValueError(f"start {call.start} of '{name}' is out of range: the text has {len(text)} characters")
        if result_end(text, call) is None:
            found = text[call.start : call.start + len(call.result or "") + 8]
            raise ValueError(
                f"the result {call.result!r} of '{name}' is not at start {call.start}; the text there is {found!r}"
            )
        tool = known[name]
        if isinstance(tool, str):
            calls.append(call.model_copy(update={"tool": tool}))
        else:
            args = None if call.args is None else checked_arguments(tool, call.args)
            calls.append(call.model_copy(update={"tool": tool.name, "args": args}))
    return demonstration.model_copy(update={"calls": tuple(calls), "line": line})
