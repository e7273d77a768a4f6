"""Toolkens at once for tools that a set does not hold: mapped from the trained ones, or plain priors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Literal

from langchain_toolken.decoding.engine import Engine
from langchain_toolken.decoding.lm import LanguageModel
from langchain_toolken.decoding.priors import PriorConfig, prior_rows
from langchain_toolken.decoding.toolken_map import ToolkenMap, learn_map
from langchain_toolken.decoding.transformers_engine import TransformersEngine
from langchain_toolken.toolkens import Provenance, ToolkenSet
from langchain_toolken.tools import ToolSpec

Style = Literal["completion", "chat"]

# Of tools that nobody trained: the paper's kind, and what costs no LM pass.
_CONFIG = PriorConfig()


def add_tools(
    lm: LanguageModel, toolkens: ToolkenSet, specs: Sequence[ToolSpec], learned: ToolkenMap | None = None
) -> ToolkenSet:
    """`toolkens` with one for each of `specs` besides; the rows that it holds stay as they are, bit for bit.

    The new rows come from a map learned on the trained tools (`decoding.toolken_map`), or are plain priors where fewer
    than five were trained or the map serves left-out tools no better. The provenance says which (`added`).

    learned: what `map_of` gave for this set, or for the one that it grew from: who adds tools more than once learns it
    once. None learns it here, which costs a pass of the LM over the description of every trained tool.

    Raises ToolkenSetError if the set belongs to another LM, or holds one of the tools already.
    """
    toolkens.check_fits(lm.identity)
    if learned is None and specs:
        learned = map_of(lm, toolkens)
    rows = None if learned is None else learned.rows(lm, specs)
    if learned is None or rows is None:
        rows, how = prior_rows(lm, specs, _CONFIG, among=(*toolkens.specs, *specs)), f"prior {_CONFIG}"
    else:
        how = str(learned.choice)
    return toolkens.add(specs, rows, how)


def map_of(lm: LanguageModel, toolkens: ToolkenSet) -> ToolkenMap | None:
    """What the trained tools of a set teach about further ones; None with fewer than five, which costs nothing to find.

    Raises ToolkenSetError if the set belongs to another LM.
    """
    toolkens.check_fits(lm.identity)
    return learn_map(lm, toolkens, _CONFIG)


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
    rows = prior_rows(lm, specs, _CONFIG)
    provenance = Provenance.of(lm.identity, style, str(_CONFIG))
    return ToolkenSet(specs=tuple(specs), matrix=rows, prior=rows, bias=0.0, provenance=provenance)


_PRIORS = "prior toolkens, made from the tools' names alone"


def _warn(names: str, what: str, model_id: str) -> None:
    warnings.warn(
        f"No fitted toolken for {names}: using {what}. They fire less surely than fitted ones; fit some with "
        f"fit_toolkens({model_id!r}, tools=…, demonstrations=…).",
        UserWarning,
        stacklevel=3,
    )
