"""The toolkens of one chat model: those it was given, and ones that are made for tools bound without (DESIGN §3)."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from langchain_toolken.decoding.engine import Engine
from langchain_toolken.decoding.lm import LanguageModel
from langchain_toolken.decoding.new_tools import map_of, with_priors
from langchain_toolken.decoding.toolken_map import ToolkenMap
from langchain_toolken.identity import toolkens_identity
from langchain_toolken.prompts.format import Style
from langchain_toolken.toolkens import ToolkenSet
from langchain_toolken.tools import ToolSpec


class GrowingToolkens:
    """A set that gets a toolken for every tool it is asked for; safe to use from several threads.

    Args:
        given: a set, a folder that one was saved to, or None.

    Attributes:
        given: the set as it was given; None if there is none.

    Raises:
        ToolkenSetError: the folder can't be read.
    """

    def __init__(self, given: ToolkenSet | str | Path | None) -> None:
        self._source = given
        self.given = ToolkenSet.load(given) if isinstance(given, str | Path) else given
        self._grown = self.given
        self._map: ToolkenMap | None = None
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # made for the set that was given, and nothing else is in it

    def __reduce__(self) -> tuple[type[Self], tuple[ToolkenSet | str | Path | None]]:
        return type(self), (self._source,)  # another process makes its own for further tools

    @property
    def names(self) -> tuple[str, ...]:
        """The tools that have a toolken in the set that was given."""
        return () if self.given is None else self.given.names

    @cached_property
    def identity(self) -> str | None:
        """A text that differs where what was given differs; None where nothing was given."""
        return None if self.given is None else toolkens_identity(self.given)

    def for_tools(self, engine: Engine, tools: Sequence[ToolSpec], style: Style) -> ToolkenSet:
        """A set with a toolken for each of `tools`. Those that are made are kept until a tool of that name comes with
        another description, and a warning names them.

        Raises:
            ToolkenSetError, ValueError: as `decoding.new_tools.with_priors`.
        """
        with self._lock:
            self._grown = with_priors(engine, self._without_outdated(tools), tools, style, self._learned)
            return self._grown

    def _without_outdated(self, tools: Sequence[ToolSpec]) -> ToolkenSet | None:
        if self._grown is None:
            return None
        made = {spec.name: spec.description for spec in self._grown.specs if spec.name not in self.names}
        outdated = [spec.name for spec in tools if made.get(spec.name, spec.description) != spec.description]
        return self._grown.remove(outdated) if outdated else self._grown

    def _learned(self, lm: LanguageModel) -> ToolkenMap | None:
        """The map of the set that was given, learned when a tool first needs it."""
        if self._map is None and self.given is not None:
            self._map = map_of(lm, self.given)
        return self._map
