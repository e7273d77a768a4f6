"""Stand-ins: single characters in place of contents while a chat template is rendered."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from langchain_toolken.prompts.quoting import with_broken_markers
from langchain_toolken.prompts.template_rendering import PRIVATE_USE


@dataclass(frozen=True)
class Segment:
    """A piece of a rendered prompt.

    Attributes:
        text: Its text.
        content: Whether it is content, which `encode_content` encodes; else the template's own text, in which special
            tokens are special.
    """

    text: str
    content: bool


class StandIns:
    """Replaces contents by private-use characters while a template is rendered.

    Args:
        taken: Text whose characters can't be stand-ins.

    Attributes:
        contents: The content that each stand-in was taken for.
    """

    def __init__(self, taken: str) -> None:
        self.contents: dict[str, str] = {}
        self._in_arguments: set[str] = set()
        self._in_tools: dict[str, str] = {}  # text -> its stand-in
        used = set(taken)
        self._free: Iterator[str] = (chr(point) for point in PRIVATE_USE if chr(point) not in used)

    def stand_in(self, content: str) -> str:
        """Return a new stand-in for `content`.

        Raises:
            ValueError: There are more contents than stand-ins.
        """
        character = next(self._free, None)
        if character is None:
            raise ValueError("The messages hold more texts than there are private-use characters to replace them with.")
        self.contents[character] = content
        return character

    def hide(self, value: object) -> object:
        """Replace every string in a call's arguments, keys included."""
        if isinstance(value, str):
            character = self.stand_in(value)
            self._in_arguments.add(character)
            return character
        if isinstance(value, dict):
            return {str(self.hide(str(key))): self.hide(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.hide(item) for item in value]
        return value

    def of_tool(self, text: str) -> str:
        """Return the stand-in for a line of a tool's description, always the same one for the same text."""
        if text not in self._in_tools:
            self._in_tools[text] = self.stand_in(text)
        return self._in_tools[text]

    def cut(self, rendered: str, markers: Sequence[str] = ()) -> list[Segment]:
        """Cut a rendered template at the stand-ins, and put the contents in their places.

        Args:
            rendered: The template's text.
            markers: The plain texts that open the template's turns; contents can't hold them.
        """
        segments: list[Segment] = []
        in_tools = set(self._in_tools.values())
        start = 0
        for i, character in enumerate(rendered):
            if character not in self.contents:
                continue
            content = self.contents[character]
            quoted = rendered[i - 1 : i] == '"' and rendered[i + 1 : i + 2] == '"'
            if character in in_tools:  # a line of a text: its neighbours may be line breaks, as JSON writes them
                before, rest = rendered[max(i - 2, 0) : i], rendered[i + 1 : i + 3]
                quoted = before.endswith(('"', "\\n")) and rest.startswith(('"', "\\n"))
            if quoted and (character in self._in_arguments or character in in_tools):  # the template wrote JSON
                content = json.dumps(content, ensure_ascii=False)[1:-1]
            if i > start:
                segments.append(Segment(rendered[start:i], content=False))
            segments.append(Segment(with_broken_markers(content, markers), content=True))
            start = i + 1
        if start < len(rendered):
            segments.append(Segment(rendered[start:], content=False))
        return segments
