"""Toolkens at once for tools that a set does not hold: mapped from the trained ones, or plain priors."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.mapping import ToolkenMap, learn_map
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec

# Of tools that nobody trained: the paper's kind, and what costs no LM pass.
UNTRAINED_PRIOR = PriorConfig()


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
        rows, how = prior_rows(lm, specs, UNTRAINED_PRIOR, among=(*toolkens.specs, *specs)), f"prior {UNTRAINED_PRIOR}"
    else:
        how = str(learned.choice)
    return toolkens.add(specs, rows, how)


def map_of(lm: LanguageModel, toolkens: ToolkenSet) -> ToolkenMap | None:
    """What the trained tools of a set teach about further ones; None with fewer than five, which costs nothing to find.

    Raises ToolkenSetError if the set belongs to another LM.
    """
    toolkens.check_fits(lm.identity)
    return learn_map(lm, toolkens, UNTRAINED_PRIOR)
