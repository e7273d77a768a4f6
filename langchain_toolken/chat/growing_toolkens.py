"""The toolkens of one chat model: the given ones, and those made for bound tools that have none."""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from tqdm import tqdm

from langchain_toolken.decoding.engine import Engine
from langchain_toolken.decoding.local.engine import LocalEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import Style
from langchain_toolken.toolkens.new_tools import Maps, add_tools, map_of
from langchain_toolken.toolkens.renaming import new_names, renamed
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.toolkens.untrained_set import RequestStates, untrained_set
from langchain_toolken.tools.spec import ToolSpec

# How many lists of tools keep their sets.
_KEPT = 8
_UNTOLD_SECONDS = 2.0


class GrowingToolkens:
    """A toolken set that makes a toolken for every tool it is asked for. Thread-safe.

    Args:
        given: A set, a folder that one was saved to, or None.

    Attributes:
        given: The set as it was given, or None; its tools may be named otherwise since (`for_tools`).

    Raises:
        ToolkenSetError: The folder can't be read.
    """

    def __init__(self, given: ToolkenSet | str | Path | None) -> None:
        self._source = given
        self.given = ToolkenSet.load(given) if isinstance(given, str | Path) else given
        self._grown = self._first = self.given
        self._map: Maps | None = None
        self._untrained = _UntrainedSets()
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
        """A text that identifies the contents of the given set; None without one.

        Whatever its tools are named since: the names follow from the tools of a call, and two chat models with one set
        have one text.
        """
        return None if self._first is None else self._first.fingerprint

    def for_tools(self, engine: Engine, tools: Sequence[ToolSpec], style: Style) -> ToolkenSet:
        """Return a set with a toolken for each of `tools`.

        New toolkens are kept until a tool of the same name arrives with another description. A warning names them. An
        MCP server's tool that is named otherwise than when the set was fitted keeps its toolken, under the new name.
        Without a given set, the toolkens are of exactly these tools (`toolkens.untrained_set`).

        Raises:
            ToolkenSetError: The given set does not fit the LM.
            ValueError: Toolkens are missing, and the engine has no weights to make them from.
        """
        with self._lock:
            if self.given is None or self._grown is None:
                return self._untrained.of(engine, tools, style)
            if names := new_names(self._grown, tools):
                self.given = renamed(self.given, {old: names[old] for old in self.given.names if old in names})
                self._grown = renamed(self._grown, names)
            self._grown = with_priors(engine, self._without_outdated(self._grown, tools), tools, self._learned)
            return self._grown

    def _without_outdated(self, grown: ToolkenSet, tools: Sequence[ToolSpec]) -> ToolkenSet:
        given = frozenset(self.names)
        made = {spec.name: spec.description for spec in grown.specs if spec.name not in given}
        outdated = [spec.name for spec in tools if made.get(spec.name, spec.description) != spec.description]
        return grown.remove(outdated) if outdated else grown

    def _learned(self, lm: LanguageModel) -> Maps | None:
        """Return the given set's maps from descriptions to rows, learned when a tool first needs them."""
        if self._map is None and self.given is not None:
            self._map = map_of(lm, self.given)
        return self._map


class _UntrainedSets:
    """The sets of a chat model that was given none: one for each of the latest lists of tools."""

    def __init__(self) -> None:
        self._read: RequestStates | None = None
        self._made: OrderedDict[tuple[tuple[str, str], ...], ToolkenSet] = OrderedDict()

    def of(self, engine: Engine, tools: Sequence[ToolSpec], style: Style) -> ToolkenSet:
        """Return the set for these tools, with a warning if it is made now."""
        names, lm = _first_names(tools), _weights_of(engine, tools)
        if self._read is None or self._read.lm is not lm or self._read.style != style:
            self._read, self._made = RequestStates(lm, style), OrderedDict()
        key = tuple((spec.name, spec.description) for spec in tools)
        if key not in self._made:
            _warn(names, "prior toolkens, made from the tools' names and descriptions", engine.model_id)
            with _late_bar() as progress:
                self._made[key] = untrained_set(self._read, tools, progress)
        self._made.move_to_end(key)
        if len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return self._made[key]


def with_priors(
    engine: Engine,
    toolkens: ToolkenSet,
    tools: Sequence[ToolSpec],
    learn: Callable[[LanguageModel], Maps | None] | None = None,
) -> ToolkenSet:
    """Return `toolkens` with one for each of `tools`, new ones from `add_tools`. A warning names them.

    Args:
        engine: The engine, whose LM new toolkens are made from.
        toolkens: The set so far.
        tools: The tools that need a toolken.
        learn: Returns the `learned` argument of `add_tools`; only called if a tool has no toolken.

    Raises:
        ToolkenSetError: `toolkens` does not fit the LM.
        ValueError: Toolkens are missing, and the engine has no weights to make them from.
    """
    known = frozenset(toolkens.names)
    specs = [spec for spec in tools if spec.name not in known]
    if not specs:
        return toolkens
    lm = _weights_of(engine, specs)
    more = add_tools(lm, toolkens, specs, None if learn is None else learn(lm))
    mapped = more.provenance.added[specs[0].name].startswith("mapped")
    made = "toolkens mapped from the other tools'" if mapped else "prior toolkens, made from the tools' names"
    _warn(_first_names(specs), made, engine.model_id)
    return more


def _first_names(specs: Sequence[ToolSpec]) -> str:
    return ", ".join(repr(spec.name) for spec in specs[:5]) + (" …" if len(specs) > 5 else "")


def _weights_of(engine: Engine, specs: Sequence[ToolSpec]) -> LanguageModel:
    if isinstance(engine, LocalEngine):
        return engine.lm
    raise ValueError(
        f"No toolken for {_first_names(specs)}, and this engine has no weights to make prior toolkens from. Fit "
        "toolkens for these tools, or bind only tools that have one."
    )


@contextmanager
def _late_bar() -> Iterator[Progress]:
    """Yield a callback that draws a bar on stderr if the work takes over two seconds."""
    with tqdm(delay=_UNTOLD_SECONDS, leave=False) as bar:

        def report(done: int, total: int, what: str) -> None:
            bar.total = total
            bar.set_description(what, refresh=False)
            bar.update(done - bar.n)

        yield report


def _warn(names: str, what: str, model_id: str) -> None:
    warnings.warn(
        f"No fitted toolken for {names}: using {what}. They fire less reliably than fitted ones; fit some with "
        f"fit_toolkens({model_id!r}, tools=…, demonstrations=…).",
        UserWarning,
        stacklevel=3,
    )
