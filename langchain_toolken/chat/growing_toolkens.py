"""The toolkens of one chat model: the given ones, and those made for bound tools that have none."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from langchain_toolken.decoding.engine import Engine
from langchain_toolken.decoding.local.engine import LocalEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import Style
from langchain_toolken.toolkens.evidence import Evidence
from langchain_toolken.toolkens.lexical import LexicalMatch, description_document
from langchain_toolken.toolkens.new_tools import UNTRAINED_PRIOR, Maps, add_tools, map_of
from langchain_toolken.toolkens.priors import prior_rows
from langchain_toolken.toolkens.provenance import Provenance
from langchain_toolken.toolkens.renaming import new_names, renamed
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec


class GrowingToolkens:
    """A toolken set that makes a toolken for every tool it is asked for. Thread-safe.

    Args:
        given: A set, a folder that one was saved to, or None.

    Attributes:
        given: The set as it was given, or None.

    Raises:
        ToolkenSetError: The folder can't be read.
    """

    def __init__(self, given: ToolkenSet | str | Path | None) -> None:
        self._source = given
        self.given = ToolkenSet.load(given) if isinstance(given, str | Path) else given
        self._grown = self.given
        self._map: Maps | None = None
        self._lock = threading.Lock()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self  # it holds only what was derived from the given set

    def __reduce__(self) -> tuple[type[Self], tuple[ToolkenSet | str | Path | None]]:
        return type(self), (self._source,)  # another process makes further toolkens itself

    @property
    def names(self) -> tuple[str, ...]:
        """The tools that have a toolken in the given set."""
        return () if self.given is None else self.given.names

    @property
    def has_evidence(self) -> bool:
        """Whether decoding with these toolkens needs to know what the user asked."""
        return self.given is None or self.given.evidence is not None

    @cached_property
    def identity(self) -> str | None:
        """A text that identifies the contents of the given set; None without one."""
        return None if self.given is None else self.given.fingerprint

    def for_tools(self, engine: Engine, tools: Sequence[ToolSpec], style: Style) -> ToolkenSet:
        """Return a set with a toolken for each of `tools`.

        New toolkens are kept until a tool of the same name arrives with another description. A warning names them. An
        MCP server's tool that is named otherwise than when the set was fitted keeps its toolken, under the new name.

        Raises:
            ToolkenSetError: The given set does not fit the LM.
            ValueError: Toolkens are missing, and the engine has no weights to make them from.
        """
        with self._lock:
            if self.given is not None and self._grown is not None and (names := new_names(self._grown, tools)):
                self.given = renamed(self.given, {old: names[old] for old in self.given.names if old in names})
                self._grown = renamed(self._grown, names)
            self._grown = with_priors(engine, self._without_outdated(tools), tools, style, self._learned)
            return self._grown

    def _without_outdated(self, tools: Sequence[ToolSpec]) -> ToolkenSet | None:
        if self._grown is None:
            return None
        given = frozenset(self.names)
        made = {spec.name: spec.description for spec in self._grown.specs if spec.name not in given}
        outdated = [spec.name for spec in tools if made.get(spec.name, spec.description) != spec.description]
        return self._grown.remove(outdated) if outdated else self._grown

    def _learned(self, lm: LanguageModel) -> Maps | None:
        """Return the given set's maps from descriptions to rows, learned when a tool first needs them."""
        if self._map is None and self.given is not None:
            self._map = map_of(lm, self.given)
        return self._map


def with_priors(
    engine: Engine,
    toolkens: ToolkenSet | None,
    tools: Sequence[ToolSpec],
    style: Style,
    learn: Callable[[LanguageModel], Maps | None] | None = None,
) -> ToolkenSet:
    """Return `toolkens` with one for each of `tools`.

    Tools without a toolken get one from `add_tools` or, without a set, a prior toolken. A warning names them.

    Args:
        engine: The engine, whose LM new toolkens are made from.
        toolkens: The set so far.
        tools: The tools that need a toolken.
        style: The prompt style that the toolkens will be used in.
        learn: Returns the `learned` argument of `add_tools`; only called if a tool has no toolken.

    Raises:
        ToolkenSetError: `toolkens` does not fit the LM.
        ValueError: Toolkens are missing, and the engine has no weights to make them from.
    """
    known = frozenset(() if toolkens is None else toolkens.names)
    specs = [spec for spec in tools if spec.name not in known]
    if not specs and toolkens is not None:
        return toolkens
    names = ", ".join(repr(spec.name) for spec in specs[:5]) + (" …" if len(specs) > 5 else "")
    if not isinstance(engine, LocalEngine):
        raise ValueError(
            f"No toolken for {names}, and this engine has no weights to make prior toolkens from. Fit toolkens "
            "for these tools, or bind only tools that have one."
        )
    lm = engine.lm
    if toolkens is not None:
        more = add_tools(lm, toolkens, specs, None if learn is None else learn(lm))
        mapped = more.provenance.added[specs[0].name].startswith("mapped")
        _warn(names, "toolkens mapped from the other tools'" if mapped else _PRIORS, engine.model_id)
        return more
    _warn(names, _PRIORS + " and the words of their descriptions", engine.model_id)
    rows = prior_rows(lm, specs, UNTRAINED_PRIOR)
    provenance = Provenance.of(lm.identity, style, str(UNTRAINED_PRIOR))
    # Untrained rows hardly tell tools apart; the words of a request and a description do. When to call stays with the
    # rows, since nothing is known of requests that need no tool.
    words = LexicalMatch("description", 1.0, tuple(map(description_document, specs)))
    evidence = Evidence(scale=_SHARE_OF_PRIORS, lexical=(words,))
    return ToolkenSet(specs=tuple(specs), matrix=rows, prior=rows, bias=0.0, provenance=provenance, evidence=evidence)


_SHARE_OF_PRIORS = 0.1  # enough to decide between tools whose words match equally well
_PRIORS = "prior toolkens, made from the tools' names"


def _warn(names: str, what: str, model_id: str) -> None:
    warnings.warn(
        f"No fitted toolken for {names}: using {what}. They fire less reliably than fitted ones; fit some with "
        f"fit_toolkens({model_id!r}, tools=…, demonstrations=…).",
        UserWarning,
        stacklevel=3,
    )
