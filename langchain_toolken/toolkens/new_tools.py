"""Toolkens for new tools without training: mapped from a set's own tools, or plain priors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.mapping import LEAST_TRAINED, ToolkenMap, description_states, learn_map, some_of
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.toolkens.ridge_map import RidgeMap
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.toolkens.untrained_rows import level_unseen
from langchain_toolken.tools.spec import ToolSpec

# The paper's kind, which costs no LM pass.
UNTRAINED_PRIOR = PriorConfig()


@dataclass(frozen=True, eq=False)
class Maps:
    """What a set's own tools say of the rows of new ones.

    Attributes:
        toolkens: From trained tools; None with too few of them.
        untrained: The same for a set that was fitted without demonstrations and has a gate, so that its rows only say
            which tool is called.
        requests: For the rows of the request's mean state; None in sets without any.
    """

    toolkens: ToolkenMap | None = None
    untrained: RidgeMap | None = None
    requests: RidgeMap | None = None


def add_tools(
    lm: LanguageModel, toolkens: ToolkenSet, specs: Sequence[ToolSpec], learned: Maps | None = None
) -> ToolkenSet:
    """Add a toolken for each of `specs` to a set. The rows already in it stay the same, bit for bit.

    The new rows come from a map learned on the trained tools (`toolkens.mapping`). They are plain priors if fewer than
    five tools were trained or the map does no better on left-out tools; centred among the tools if the set has a gate.
    A set that was fitted without demonstrations maps from its untrained rows. The provenance records which (`added`).
    If the set has a gate and trained tools, biases make the new tools level with these (`level_unseen`).
    If the set's evidence has rows for the request's mean state, the new tools get some from their descriptions, and
    their words join those of the others.

    Args:
        lm: The LM that the set was fitted for.
        toolkens: The set.
        specs: The new tools.
        learned: The result of `map_of` for this set or one that it grew from, to learn the maps only once. None learns
            them here, at the cost of an LM pass over the descriptions of the set's tools.

    Raises:
        ToolkenSetError: The set belongs to another LM, or has one of the tools already.
    """
    toolkens.check_fits(lm.identity)
    if learned is None and specs:
        learned = map_of(lm, toolkens)
    states = None if learned is None else description_states(lm, specs)
    rows, how = _rows(lm, toolkens, specs, learned, states)
    grown = _level(toolkens.add(specs, rows, how), len(specs))
    if grown.evidence is None or learned is None or learned.requests is None or states is None:
        return grown
    assert toolkens.evidence is not None
    assert toolkens.evidence.request_rows is not None
    requests = torch.cat([toolkens.evidence.request_rows, learned.requests.rows(states[1])])
    return replace(grown, evidence=replace(grown.evidence, request_rows=requests))


def _level(grown: ToolkenSet, new: int) -> ToolkenSet:
    """Give the last `new` tools biases by which they take no calls from the trained ones."""
    trained = torch.tensor(grown.trained, dtype=torch.int64)
    if grown.evidence is None or grown.evidence.gate is None or grown.call_states is None or not new:
        return grown
    called = torch.zeros(len(grown), dtype=torch.bool).index_fill(0, trained, True)
    level = level_unseen(toolken_logits(grown.call_states[trained], grown.matrix, grown.biases), trained, called)
    if level is None:
        return grown
    own = torch.zeros(len(grown)) if grown.tool_biases is None else grown.tool_biases
    return replace(grown, tool_biases=torch.cat([own[:-new], own[-new:] + level[-new:]]))


def _rows(
    lm: LanguageModel, toolkens: ToolkenSet, specs: Sequence[ToolSpec], learned: Maps | None, states: Tensor | None
) -> tuple[Tensor, str]:
    if learned is not None and states is not None:
        if learned.untrained is not None:
            return learned.untrained.rows(states[1]), f"mapped from {learned.untrained.tools} untrained tools"
        rows = None if learned.toolkens is None else learned.toolkens.rows(states)
        if learned.toolkens is not None and rows is not None:
            return rows, str(learned.toolkens.choice)
    every = (*toolkens.specs, *specs)
    if toolkens.evidence is None or toolkens.evidence.gate is None or not len(toolkens):
        return prior_rows(lm, specs, UNTRAINED_PRIOR, among=every), f"prior {UNTRAINED_PRIOR}"
    # Words don't compete with these rows, so that they may be compared with the other tools' alone: as they are, what
    # they have in common with any hidden state would put them above all others.
    rows, middle = prior_rows(lm, every, UNTRAINED_PRIOR), toolkens.matrix.mean(dim=0)
    centred = rows - rows.mean(dim=0)
    if toolkens.call_states is not None and toolkens.trained:
        axis = normalize(toolkens.call_states[toolkens.trained].mean(dim=0), dim=0)
        centred = centred - (centred @ axis)[:, None] * axis
    apart = (toolkens.matrix - middle).norm(dim=1).mean() or rows.norm(dim=1).mean()
    centred = centred * apart / centred.norm(dim=1).mean().clamp_min(1e-12)
    return middle + centred[len(toolkens) :], f"prior {UNTRAINED_PRIOR}, centred"


def map_of(lm: LanguageModel, toolkens: ToolkenSet) -> Maps | None:
    """Learn from a set's tools how to make rows for new ones.

    Returns:
        The maps; None with fewer than five tools to learn from, which needs no LM pass.

    Raises:
        ToolkenSetError: The set belongs to another LM.
    """
    toolkens.check_fits(lm.identity)
    learned = learn_map(lm, toolkens, UNTRAINED_PRIOR)
    evidence = toolkens.evidence
    rows = None if evidence is None else evidence.request_rows
    untrained = evidence is not None and evidence.gate is not None and not toolkens.trained
    if learned is not None:
        known, states = learned.known, learned.states
    elif len(toolkens) >= LEAST_TRAINED and (rows is not None or untrained):
        known = some_of(list(range(len(toolkens))))
        states = description_states(lm, [toolkens.specs[k] for k in known])
    else:
        return None
    return Maps(
        toolkens=learned,
        untrained=RidgeMap.learn(toolkens.matrix[known], states[1]) if untrained else None,
        requests=None if rows is None else RidgeMap.learn(rows[known], states[1]),
    )
