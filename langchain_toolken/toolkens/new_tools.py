"""Toolkens for new tools without training: mapped from a set's trained toolkens, or plain priors."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.mapping import ToolkenMap, learn_map
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec

# The paper's kind, which costs no LM pass.
UNTRAINED_PRIOR = PriorConfig()


def add_tools(
    lm: LanguageModel, toolkens: ToolkenSet, specs: Sequence[ToolSpec], learned: ToolkenMap | None = None
) -> ToolkenSet:
    """Add a toolken for each of `specs` to a set. The rows already in it stay the same, bit for bit.

    The new rows come from a map learned on the trained tools (`toolkens.mapping`). They are plain priors if fewer than
    five tools were trained or the map does no better on left-out tools. The provenance records which (`added`).

    Args:
        lm: The LM that the set was fitted for.
        toolkens: The set.
        specs: The new tools.
        learned: The result of `map_of` for this set or one that it grew from, to learn the map only once. None learns
            it here, at the cost of an LM pass over the description of every trained tool.

    Raises:
        ToolkenSetError: The set belongs to another LM, or has one of the tools already.
    """
    toolkens.check_fits(lm.identity)
    if learned is None and specs:
        learned = map_of(lm, toolkens)
    rows = None if learned is None else learned.rows(lm, specs)
    if learned is None or rows is None:
        rows, how = prior_rows(lm, specs, UNTRAINED_PRIOR, among=(*toolkens.specs, *specs)), f"prior {UNTRAINED_PRIOR}"
    else:
        how = str(learned.choice)
    return toolkens.add(specs, rows, how)


def map_of(lm: LanguageModel, toolkens: ToolkenSet) -> ToolkenMap | None:
    """Learn from a set's trained tools how to make toolkens for new ones.

    Returns:
        The map; None with fewer than five trained tools, which needs no LM pass.

    Raises:
        ToolkenSetError: The set belongs to another LM.
    """
    toolkens.check_fits(lm.identity)
    return learn_map(lm, toolkens, UNTRAINED_PRIOR)
