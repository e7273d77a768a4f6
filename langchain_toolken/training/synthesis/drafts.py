"""Drafts of synthetic rows, and the protocol of the writers that make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from langchain_toolken.errors import ToolkenError
from langchain_toolken.tools.spec import ToolSpec


class SynthesisError(ToolkenError, ValueError):
    """Demonstrations can't be made; the message says why, what is kept, and what to do."""


RESULT = "{result}"
"""Placeholder in a draft's answer for the tool's result, which is not known yet."""

NO_TOOL_CHOICE = "none"
"""What a writer answers, when it chooses among tools, if none of them is needed."""


@dataclass(frozen=True)
class Draft:
    """An unchecked row.

    Attributes:
        request: What the user says.
        answer: The assistant's answer. It calls the tool at `RESULT`, or at its end if it has none (so "" calls right
            away). If no tool is needed, the whole answer.
        arguments: The call's arguments, None if there is no call.
        fault: Why the draft can't be used, if its writer knows.
    """

    request: str
    answer: str = ""
    arguments: dict[str, Any] | None = None
    fault: str = ""


class Writer(Protocol):
    """Writes drafts in numbered batches, so that a writer with a seed can write a batch again."""

    @property
    def batch(self) -> int:
        """Drafts per batch."""
        ...

    def for_tool(self, spec: ToolSpec, number: int, kept: Sequence[str]) -> list[Draft]:
        """Write requests that the tool answers.

        Args:
            spec: The tool.
            number: Index of the batch.
            kept: Earlier requests, not to be repeated.
        """
        ...

    def without_tool(self, specs: Sequence[ToolSpec], number: int, kept: Sequence[str]) -> list[Draft]:
        """Write requests that need none of the tools, with answers.

        Args:
            specs: The tools.
            number: Index of the batch.
            kept: Earlier requests, not to be repeated.
        """
        ...

    def choose(self, requests: Sequence[str], specs: Sequence[ToolSpec]) -> list[str | None]:
        """Return for each request the name of the tool that it needs, or None."""
        ...
