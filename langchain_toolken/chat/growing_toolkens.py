"""The toolkens of one chat model: those it was given, and ones that are made for tools bound without (DESIGN §3)."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from langchain_toolken.decoding.engine import Engine
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import Style
from langchain_toolken.toolkens.mapping import ToolkenMap
from langchain_toolken.toolkens.new_tools import UNTRAINED_PRIOR, add_tools, map_of
from langchain_toolken.toolkens.priors import prior_rows
from langchain_toolken.toolkens.set import Provenance, ToolkenSet
from langchain_toolken.tools.spec import ToolSpec


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
        return None if self.given is None else self.given.fingerprint

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


def with_priors(
    engine: Engine,
    toolkens: ToolkenSet | None,
    tools: Sequence[ToolSpec],
    style: Style,
    learn: Callable[[LanguageModel], ToolkenMap | None] | None = None,
) -> ToolkenSet:
    """`toolkens` with one for each of `tools`: those that have none get one by `add_tools`, or without a set their
    prior toolken, and a warning names them.

    style: the prompt style that they will be used in. learn: gives what `add_tools` takes as `learned`, asked only
    where a tool has none.

    Raises:
        ValueError: some have none, and the engine holds no weights to make them from.
    """
    known = frozenset(() if toolkens is None else toolkens.names)
    specs = [spec for spec in tools if spec.name not in known]
    if not specs and toolkens is not None:
        return toolkens
    names = ", ".join(repr(spec.name) for spec in specs[:5]) + (" …" if len(specs) > 5 else "")
    if not isinstance(engine, TransformersEngine):
        raise ValueError(
            f"No toolken for {names}, and this engine holds no weights to make prior toolkens from. Fit toolkens "
            "for these tools, or bind only tools that have one."
        )
    lm = engine.lm
    if toolkens is not None:
        more = add_tools(lm, toolkens, specs, None if learn is None else learn(lm))
        mapped = more.provenance.added[specs[0].name].startswith("mapped")
        _warn(names, "toolkens mapped from the trained tools'" if mapped else _PRIORS, engine.model_id)
        return more
    _warn(names, _PRIORS, engine.model_id)
    rows = prior_rows(lm, specs, UNTRAINED_PRIOR)
    provenance = Provenance.of(lm.identity, style, str(UNTRAINED_PRIOR))
    return ToolkenSet(specs=tuple(specs), matrix=rows, prior=rows, bias=0.0, provenance=provenance)


_PRIORS = "prior toolkens, made from the tools' names alone"


def _warn(names: str, what: str, model_id: str) -> None:
    warnings.warn(
        f"No fitted toolken for {names}: using {what}. They fire less surely than fitted ones; fit some with "
        f"fit_toolkens({model_id!r}, tools=…, demonstrations=…).",
        UserWarning,
        stacklevel=3,
    )
