r"""Parse the papers' inline markup, such as `4096 * 27 = <multiply>(4096, 27)=110592`, into a text with call spans.

The markup is removed and the result stays: "4096 * 27 = 110592", with the call where the result begins.

- A call is `<tool>(arguments)=result`; arguments and result may each be missing. `<x>` without "(" is text unless x is
  a tool. With "(" it is always a call, even if no tool has that name.
- A result is a quoted string, a number, or the text up to the next space, "<" or backslash without its trailing
  punctuation.
- `\<` is a "<" that begins no call. A literal backslash right before "<" is written twice.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from langchain_toolken.training.demonstrations.call_syntax import read_arguments, read_quoted

_MARK = re.compile(r"(?<!\\)(\\*)<(?:([^<>\s][^<>\n]*)>)?")
_NUMBER = re.compile(r"[+-]?[$€£]?(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?(?:[eE][+-]?\d+)?%?(?![\w/]|[-:.]\d)")
_WORD = re.compile(r"[^\s<\\]+")
_PUNCTUATION = ".,;:!?)]}"


def has_markup(text: str, tool_names: Collection[str]) -> bool:
    """Return whether `text` has a marked call: `<x>(` for any x, or `<x>` for a tool x."""
    return any(_is_call(text, match, tool_names) for match in _MARK.finditer(text))


def parse_markup(text: str, tools: Mapping[str, Sequence[str] | None]) -> dict[str, Any]:
    """Convert a text with inline markup to a row `{"text", "calls"}`.

    Args:
        text: The text.
        tools: Each tool's argument names in order, None if unknown, by tool name without angle brackets.

    Raises:
        ValueError: A bracket or quote doesn't close, or no result follows a "="; names the tool and the place.
    """
    pieces: list[str] = []
    calls: list[dict[str, Any]] = []
    length = at = 0

    def put(piece: str) -> None:
        nonlocal length
        pieces.append(piece)
        length += len(piece)

    while (match := _MARK.search(text, at)) is not None:
        backslashes = len(match[1])
        put(text[at : match.start()] + "\\" * (backslashes // 2))
        if not _is_call(text, match, tools):
            put("<")
            at = match.end(1) + 1
            continue
        name = match[2]
        call: dict[str, Any] = {"start": length, "tool": name}
        at = match.end()
        try:
            if text[at : at + 1] == "(":
                written = read_arguments(text, at)
                call["args"], at = written.bound(tools.get(name)), written.end
            if text[at : at + 1] == "=":
                call["result"], at = _result(text, at + 1)
                put(call["result"])
        except ValueError as error:
            raise ValueError(f"the call <{name}> at character {match.end(1)}: {error}") from error
        calls.append(call)
    put(text[at:])
    return {"text": "".join(pieces), "calls": calls}


def _is_call(text: str, match: re.Match[str], tool_names: Collection[str]) -> bool:
    if len(match[1]) % 2 or match[2] is None:
        return False
    return match[2] in tool_names or text[match.end() : match.end() + 1] == "("


def _result(text: str, at: int) -> tuple[str, int]:
    if text[at : at + 1] in ('"', "'"):
        result, end = read_quoted(text, at)
    elif number := _NUMBER.match(text, at):
        result, end = number[0], number.end()
    else:
        word = _WORD.match(text, at)
        result = word[0].rstrip(_PUNCTUATION) if word else ""
        end = at + len(result)
    if not result.strip():
        raise ValueError("no result follows its '='; write <tool>(...)=result, or leave the '=' out")
    return result, end
