'''Read demonstrations from the `Examples:` section of tools' docstrings.

    """Add two numbers.

    Examples:
        How much is 2 and 3? -> add(2, 3) = 5
        >>> add(40, 2)
        42
    """

"question -> call" is a user's question that the LM answers with the call right away; " = 5" is its result and may be
left out. A doctest whose preceding line ends in "?" is read the same way. Without such a question it becomes the text
"add(40, 2) = 42", with the call where the result begins. `add.invoke({"a": 40, "b": 2})` is read like `add(a=40, b=2)`.
Other doctest lines (imports, assignments) are skipped.

Such examples show when to call but hardly ever when not to: add demonstrations without calls too.
'''  # noqa: D214

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool

from langchain_toolken.tools.spec import ToolLike, ToolSpec, tool_spec
from langchain_toolken.training.demonstrations.call_syntax import read_arguments, read_quoted
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration, DroppedRow

_HEADER = re.compile(r"(\s*)Examples?:?\s*")
_SECTION = re.compile(r"[A-Z][A-Za-z ]*:\s*")
_UNDERLINE = re.compile(r"\s*-{3,}\s*")
_ARROW = re.compile(r"\s(?:->|→)\s+(?=<?[^\W\d][\w./-]*>?\()")
_CALL = re.compile(r"<?([^\W\d][\w./-]*?)>?(\.invoke)?\(")
_BULLET = re.compile(r"\s*(?:[-*•]|\d+[.)])\s+")


@dataclass(frozen=True)
class _Example:
    """An example as written; `line` counts in the docstring, from 1; `question` is None for a doctest without one."""

    line: int
    question: str | None
    call: str
    result: str | None


def read_docstring_examples(tools: Iterable[ToolLike | ToolSpec]) -> tuple[list[Demonstration], list[DroppedRow]]:
    """Read the demonstrations in the tools' docstrings.

    The function's own docstring is used if there is one, otherwise the tool's description. Tool names and arguments are
    not checked here; `load.docstring_demonstrations` does that.

    Returns:
        The demonstrations, and the examples that can't be read, each with its line and the reason.
    """
    made = [(tool_spec(tool), tool) for tool in tools]
    properties = {spec.name: list(spec.json_schema.get("properties", {})) for spec, _ in made}
    found: list[Demonstration] = []
    dropped: list[DroppedRow] = []
    for spec, tool in made:
        source = f"docstring of '{spec.name}'"
        for example in _examples(_docstring(tool, spec), set(properties)):
            try:
                demonstration = _demonstration(example, properties)
            except ValueError as error:
                dropped.append(DroppedRow(example.line, str(error), source))
            else:
                found.append(demonstration.model_copy(update={"line": example.line, "source": source}))
    return found, dropped


def _docstring(tool: ToolLike | ToolSpec, spec: ToolSpec) -> str:
    function: object = tool
    if isinstance(tool, BaseTool):
        function = getattr(tool, "func", None) or getattr(tool, "coroutine", None)
    written = None if function is None or isinstance(tool, ToolSpec | Mapping) else getattr(function, "__doc__", None)
    return inspect.cleandoc(written) if isinstance(written, str) and written.strip() else spec.description


def _examples(docstring: str, names: set[str]) -> Iterator[_Example]:
    lines = list(_section(docstring.splitlines()))
    place = 0
    above = ""
    while place < len(lines):
        number, line = lines[place]
        place += 1
        stripped = line.strip()
        if not stripped.startswith(">>>"):
            if arrow := _ARROW.search(line):
                question = _BULLET.sub("", line[: arrow.start()], count=1).strip()
                yield _Example(number, _unquoted(question), line[arrow.end() :].strip(), None)
            above = stripped
            continue
        source = stripped[3:].strip()
        while place < len(lines) and lines[place][1].strip().startswith("..."):
            source += " " + lines[place][1].strip()[3:].strip()
            place += 1
        output: list[str] = []
        while place < len(lines) and _is_output(lines[place][1]):
            output.append(lines[place][1].strip())
            place += 1
        call = _CALL.match(source)
        if call and call[1] in names:
            yield _Example(number, above if above.endswith("?") else None, source, "\n".join(output) or None)
        above = ""


def _is_output(line: str) -> bool:
    return bool(line.strip()) and not line.strip().startswith(">>>") and _ARROW.search(line) is None


def _section(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield the lines of the Examples section with their line numbers, counted from 1."""
    indent: int | None = None
    for place, line in enumerate(lines):
        below = lines[place + 1] if place + 1 < len(lines) else ""
        header = _HEADER.fullmatch(line)
        if header and (line.rstrip().endswith(":") or _UNDERLINE.fullmatch(below)):
            indent = len(header[1])
        elif indent is not None and line.strip() and not _UNDERLINE.fullmatch(line):
            depth = len(line) - len(line.lstrip())
            heading = _SECTION.fullmatch(line.lstrip()) or _UNDERLINE.fullmatch(below)
            if depth < indent or (depth == indent and heading):
                indent = None
                continue
            yield place + 1, line
        elif indent is not None:
            yield place + 1, ""


def _demonstration(example: _Example, properties: Mapping[str, Sequence[str]]) -> Demonstration:
    name = _CALL.match(example.call)
    if name is None:
        raise ValueError(f"{example.call!r} is not a call")
    if example.question == "":
        raise ValueError("there is no question before the '->'")
    written = read_arguments(example.call, name.end() - 1)
    args: list[Any] | dict[str, Any] = written.bound(properties.get(name[1]))
    if name[2]:
        if not (isinstance(args, list) and len(args) == 1 and isinstance(args[0], dict)):
            raise ValueError(f"{example.call!r}: invoke takes one object of arguments")
        args = args[0]
    rest = example.call[written.end :].strip()
    result = example.result
    if example.result is None and rest.startswith("="):
        result = rest[1:].strip()
    elif rest and not rest.startswith("#"):
        raise ValueError(f"{rest!r} follows the call; only '= result' may")
    result = None if result is None else _unquoted(result).strip()
    if example.question is None:
        text = f"{example.call[: written.end]} = {result or ''}".rstrip()
        start = len(text) - len(result or "")
        return Demonstration(text=text, calls=(DemonstratedCall(start=start, tool=name[1], args=args, result=result),))
    call = DemonstratedCall(start=0, tool=name[1], args=args, result=result)
    return Demonstration(text=result or "", calls=(call,), before=(HumanMessage(example.question),))


def _unquoted(text: str) -> str:
    """Remove the quotes that a doctest shows around a string result."""
    if text[:1] in ('"', "'"):
        try:
            inside, end = read_quoted(text, 0)
        except ValueError:
            return text
        return inside if end == len(text) else text
    return text
