"""The figures of a fit's report, as `FitResult.report` gathers them.

Held-out figures come from the logits that cross-validation kept (`Selection.logits`): at each position those of
toolkens that were fitted without its demonstration. The biases were chosen on the same logits, which makes the figures
slightly optimistic; but with one number (and a few tools' own) chosen on all positions the effect is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.lm.head import greedy_calls
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.calibration import BiasChoice
from langchain_toolken.training.calibration_temperature import ReliabilityBin, reliability_of_calls
from langchain_toolken.training.demonstrations.demonstration import DroppedRow
from langchain_toolken.training.demonstrations.request_calls import PlaceChoice
from langchain_toolken.training.evidence.reliable import Reliable
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.report.neighbours import nearest_tools, nearest_words, toolken_map, word_text
from langchain_toolken.training.report.records import (
    NO_CALL,
    Calibrated,
    Confusion,
    Dropped,
    FitReport,
    LamTried,
    Neighbour,
    Reliability,
    ToolReport,
)
from langchain_toolken.training.selection import PathPoint, Selection
from langchain_toolken.training.solve.solver import Solution

_CONFUSIONS = 100  # pairs kept, the most frequent first
_DROPPED = 1000  # dropped rows that are listed; all are counted


def make_report(
    toolkens: ToolkenSet,
    lm: LanguageModel,
    *,
    features: Features | None,
    selection: Selection | None,
    bias: BiasChoice | None,
    solution: Solution | None,
    solve_seconds: float,
    lm_passes: int,
    demonstrations: int,
    dropped: Sequence[DroppedRow],
    unseen: Sequence[str],
    place: PlaceChoice | None,
    when: Reliable | None,
    which: Reliable | None,
) -> FitReport:
    """Gather the figures of a fit.

    Costs K × V dot products for the nearest words, and no LM pass. The arguments are the fields of `FitResult`, whose
    `report` calls this; of `when` and `which`, how reliable they are.
    """
    calls = [0] * len(toolkens)
    if features is not None:
        calls = torch.bincount(features.target.clamp(min=-1) + 1, minlength=len(toolkens) + 1)[1:].tolist()
    held_out = _held_out_figures(toolkens, selection, bias)
    near_words = nearest_words(toolkens, lm)
    near_tools = nearest_tools(toolkens)
    plane = toolken_map(toolkens, lm, near_words)
    tried = {} if (settings := toolkens.examples.settings) is None else settings.tools
    moved = (toolkens.matrix - toolkens.prior).norm(dim=1) / toolkens.prior.norm(dim=1).clamp(min=1e-12)
    return FitReport(
        model_id=toolkens.provenance.model_id,
        style=toolkens.provenance.style,
        prior=toolkens.provenance.prior,
        lam=toolkens.provenance.lam,
        bias=toolkens.bias,
        demonstrations=demonstrations,
        tool_positions=0 if features is None else features.tool_positions,
        word_positions=0 if features is None else features.word_positions,
        dropped_count=len(dropped),
        dropped=[Dropped(source=row.source, line=row.line, reason=row.reason) for row in dropped[:_DROPPED]],
        unseen=list(unseen),
        lm_passes=lm_passes,
        pass_seconds=0.0 if features is None else features.seconds,
        selection_seconds=None if selection is None else selection.seconds,
        solve_seconds=solve_seconds,
        iterations=None if solution is None else solution.iterations,
        gradient_norm=None if solution is None else solution.gradient_norm,
        converged=None if solution is None else solution.converged,
        selection_note="" if selection is None else selection.note,
        path=[] if selection is None else [_lam_tried(point) for point in selection.path],
        calibration=toolkens.calibration,
        arguments=toolkens.examples.settings,
        examples=len(toolkens.examples.calls),
        calls_from="" if place is None else str(place),
        reliability_before=_reliability(held_out.before),
        reliability_after=_reliability(held_out.after),
        when=_calibrated(when),
        which=_calibrated(which),
        confusions=held_out.confusions,
        tools=[
            ToolReport(
                name=spec.name,
                description=spec.description,
                calls=calls[k],
                precision=held_out.tools[k].precision,
                recall=held_out.tools[k].recall,
                f1=held_out.tools[k].f1,
                arguments=None if spec.name not in tried else tried[spec.name].right / tried[spec.name].asked,
                argument_calls=tried[spec.name].asked if spec.name in tried else 0,
                bias=float(toolkens.biases[k]),
                moved=float(moved[k]),
                nearest_words=[Neighbour(name=word_text(lm, i), similarity=s) for i, s in near_words[k]],
                nearest_tools=near_tools[k],
                x=plane.places[k][0],
                y=plane.places[k][1],
            )
            for k, spec in enumerate(toolkens.specs)
        ],
        words=plane.words,
        map_share=plane.share,
    )


@dataclass(frozen=True)
class _ToolFigures:
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


@dataclass(frozen=True)
class _HeldOutFigures:
    tools: Sequence[_ToolFigures]
    confusions: list[Confusion]
    before: Sequence[ReliabilityBin]
    after: Sequence[ReliabilityBin]


def _held_out_figures(toolkens: ToolkenSet, selection: Selection | None, bias: BiasChoice | None) -> _HeldOutFigures:
    if selection is None or selection.logits is None or selection.held_out is None:
        return _HeldOutFigures([_ToolFigures()] * len(toolkens), [], [], [])
    features, logits = selection.held_out, selection.logits
    added = 0.0 if bias is None else bias.biases
    called = greedy_calls(features.word_max, logits.double() + added)
    before: Sequence[ReliabilityBin] = []
    after: Sequence[ReliabilityBin] = []
    if toolkens.calibration is not None:
        before, after = reliability_of_calls(features, logits, added, toolkens.calibration.temperature)
    return _HeldOutFigures(
        tools=_tool_figures(features, called, len(toolkens)),
        confusions=_confusions(features, called, toolkens.names),
        before=before,
        after=after,
    )


def _tool_figures(features: Features, called: Tensor, tools: int) -> list[_ToolFigures]:
    weight, zero = features.weight.double(), torch.zeros(tools, dtype=torch.float64)
    right_at = (called >= 0) & (called == features.target)
    made = zero.index_add(0, called[called >= 0], weight[called >= 0])
    due = zero.index_add(0, features.target[features.target >= 0], weight[features.target >= 0])
    right = zero.index_add(0, called[right_at], weight[right_at])
    return [
        _ToolFigures(
            precision=float(right[k] / made[k]) if made[k] else None,
            recall=float(right[k] / due[k]) if due[k] else None,
            f1=float(2 * right[k] / (made[k] + due[k])) if made[k] + due[k] else None,
        )
        for k in range(tools)
    ]


def _confusions(features: Features, called: Tensor, names: Sequence[str]) -> list[Confusion]:
    shown = (NO_CALL, *names)
    wrong = called != features.target
    pairs = (features.target[wrong] + 1) * len(shown) + called[wrong] + 1
    kinds, which = pairs.unique(return_inverse=True)
    counts = torch.zeros(len(kinds), dtype=torch.float64).index_add(0, which, features.weight[wrong].double())
    order = counts.argsort(descending=True, stable=True)[:_CONFUSIONS]
    return [
        Confusion(due=shown[pair // len(shown)], called=shown[pair % len(shown)], count=count)
        for pair, count in zip(kinds[order].tolist(), counts[order].tolist(), strict=True)
    ]


def _reliability(bins: Sequence[ReliabilityBin]) -> list[Reliability]:
    return [Reliability(probability=b.probability, right=b.right, mass=b.mass) for b in bins]


def _calibrated(reliable: Reliable | None) -> Calibrated | None:
    if reliable is None:
        return None
    before, after = reliable.errors
    return Calibrated(
        before=_reliability(reliable.before), after=_reliability(reliable.after), ece_before=before, ece_after=after
    )


def _lam_tried(point: PathPoint) -> LamTried:
    return LamTried(
        prior=point.prior,
        lam=point.lam,
        loss=point.loss,
        error=point.error,
        top1=point.calls.top1,
        f1=point.calls.f1,
        best_f1=point.best_f1,
        untrained=point.untrained,
    )
