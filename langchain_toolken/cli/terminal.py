"""What the commands print, with characters that could steer a terminal or hide in it shown as escapes.

Names, descriptions, results and errors come from files and tools. Everything that the CLI prints goes through here.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.style import Style
from rich.table import Column, Table
from rich.text import Text

# Control characters but tab and newline, lone surrogates, line separators, and the format characters: those that
# reorder text or have no width. The two joiners stay, which Persian and emoji are written with.
_KINDS = ("Cc", "Cf", "Cs", "Zl", "Zp")
_KEPT = "\t\n\u200c\u200d"
_SUSPECT = re.compile(r"[^\t\n\x20-\x7e\u00a1-\u00ac\u00ae-\u02ff\u0370-\u05ff\u3040-\ud7ff]")


def escaped(text: str) -> str:
    r"""Return a text with its control and invisible characters written as escapes, such as `\x1b` and `\u202e`."""
    return _SUSPECT.sub(lambda match: _escape(match[0]), text)


def _escape(character: str) -> str:
    if character in _KEPT or unicodedata.category(character) not in _KINDS:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def shown(text: str, style: str | Style = "") -> Text:
    """Return a text to print, escaped and without rich's markup."""
    return Text(escaped(text), style=style)


def as_json(value: Any, indent: int | None = None) -> str:
    r"""Return JSON in which the same characters are JSON's own escapes, so that it reads back as what it was."""
    written = json.dumps(value, ensure_ascii=False, indent=indent)
    return _SUSPECT.sub(lambda m: m[0] if _escape(m[0]) == m[0] else json.dumps(m[0])[1:-1], written)


def table(*columns: str, title: str | None = None, show_lines: bool = False) -> Table:
    """Make a table with headers in which long words continue on the next line: cut off, two names could look alike."""
    headers = (Column(shown(column), overflow="fold", min_width=0 if i else 16) for i, column in enumerate(columns))
    return Table(*headers, title=None if title is None else shown(title), show_lines=show_lines)


def facts_table(facts: Iterable[tuple[str, str | Text]]) -> Table:
    """List facts, a line each."""
    listed = Table(Column(), Column(overflow="fold"), show_header=False, box=None)
    for name, value in facts:
        listed.add_row(shown(name), shown(value) if isinstance(value, str) else value)
    return listed


def terminal(*, stderr: bool = False, file: IO[str] | None = None) -> Console:
    """Return the console to print to."""
    return _Terminal(stderr=stderr, file=file)


class _Terminal(Console):
    """Escapes whatever reaches the screen, for texts that were not made with `shown`."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(escaped(segment.text), segment.style)
