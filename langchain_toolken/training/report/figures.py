"""What a fit came to: `make_report` gathers the figures, `report_page` and `model_card` show them to people.

Held-out figures are made of the logits that cross-validation kept (`selection.Selection.logits`): each position's
toolkens were fitted without its demonstration. The biases were chosen on the same logits, which flatters them a little;
with one number (and a few of the tools' own) chosen on all positions it is little indeed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from langchain_toolken.errors import ToolkenError
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.provenance import Calibration
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.calibration import ReliabilityBin, reliability_of_calls
from langchain_toolken.training.features.compute import Features

if TYPE_CHECKING:
    from langchain_toolken.training.fit import FitResult

REPORT_FILE = "report.json"
REPORT_VERSION = 2
# What stands for "no call" among the tools of a confusion.
NO_CALL = "(no call)"

_NEAREST = 8  # words and tools shown for each tool
_CONFUSIONS = 100  # pairs kept, the most frequent first
_DROPPED = 1000  # dropped rows named one by one; all are counted
# Similarities alive at once (256 MB in float32): K × V can be 47,000 × 150,000.
_SIMILARITIES = 1 << 26


class ReportError(ToolkenError, ValueError):
    """A report.json that can't be read; the message names the file and the next step."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Neighbour(_Record):
    """A word or a tool whose row points where a toolken does. similarity: the rows' cosine, -1 to 1."""

    name: str
    similarity: float


class LamTried(_Record):
    """One λ and prior in cross-validation; see `selection.PathPoint`."""

    prior: str
    lam: float
    loss: float
    error: float
    top1: float
    f1: float
    best_f1: float
    untrained: float


class Dropped(_Record):
    """A demonstration that was not used."""

    source: str
    line: int
    reason: str


class Confusion(_Record):
    """Held-out positions at which `called` was called where `due` was; either may be `NO_CALL`. count: their weight."""

    due: str
    called: str
    count: float


class Reliability(_Record):
    """One bin of held-out calls; see `calibration.ReliabilityBin`."""

    probability: float
    right: float
    mass: float


class ToolReport(_Record):
    """One tool.

    calls: positions in the demonstrations that call it. precision, recall, f1: on held-out positions; None where
    nothing was held out, or where the tool is neither due nor called. bias: added to its logit. moved: ‖w − w⁰‖ / ‖w⁰‖.
    x, y: its place on the map.
    """

    name: str
    description: str
    calls: int
    precision: float | None
    recall: float | None
    f1: float | None
    bias: float
    moved: float
    nearest_words: list[Neighbour]
    nearest_tools: list[Neighbour]
    x: float
    y: float


class WordOnMap(_Record):
    """A word of the LM near some toolken, on the same map."""

    word: str
    x: float
    y: float


class FitReport(_Record):
    """All that `report.json` holds. Seconds are wall clock; shares go from 0 to 1; None stands for "not measured".

    map_share: the share of the variance of all shown rows that the map's two directions hold.
    """

    report_version: int = REPORT_VERSION
    model_id: str
    style: str
    prior: str
    lam: float | None
    bias: float
    demonstrations: int
    tool_positions: int
    word_positions: int
    dropped_count: int
    dropped: list[Dropped]
    unseen: list[str]
    lm_passes: int
    pass_seconds: float
    selection_seconds: float | None
    solve_seconds: float
    iterations: int | None
    gradient_norm: float | None
    converged: bool | None
    selection_note: str
    path: list[LamTried]
    calibration: Calibration | None
    reliability_before: list[Reliability]
    reliability_after: list[Reliability]
    confusions: list[Confusion]
    tools: list[ToolReport]
    words: list[WordOnMap]
    map_share: float


def make_report(result: FitResult) -> FitReport:
    """The figures of a fit. Costs K × V dot products for the nearest words, and no LM pass."""
    toolkens, selection, solution = result.toolkens, result.selection, result.solution
    figures: list[_Figures] = [_Figures(0)] * len(toolkens)
    confusions: list[Confusion] = []
    before: list[ReliabilityBin] = []
    after: list[ReliabilityBin] = []
    if result.features is not None:
        calls = torch.bincount(result.features.target.clamp(min=-1) + 1, minlength=len(toolkens) + 1)[1:].tolist()
        figures = [_Figures(count) for count in calls]
        if selection is not None and selection.logits is not None and selection.held_out is not None:
            chosen = _chosen_biases(result)
            called = _called(selection.held_out, selection.logits, chosen)
            figures = _tool_figures(selection.held_out, called, calls)
            confusions = _confusions(selection.held_out, called, toolkens.names)
            if toolkens.calibration is not None:
                before, after = reliability_of_calls(
                    selection.held_out, selection.logits, chosen, toolkens.calibration.temperature
                )
    near_words = nearest_words(toolkens, result.lm)
    near_tools = nearest_tools(toolkens)
    places, words, share = _map(toolkens, result.lm, near_words)
    moved = (toolkens.matrix - toolkens.prior).norm(dim=1) / toolkens.prior.norm(dim=1).clamp(min=1e-12)
    return FitReport(
        model_id=toolkens.provenance.model_id,
        style=result.style,
        prior=toolkens.provenance.prior,
        lam=toolkens.provenance.lam,
        bias=toolkens.bias,
        demonstrations=result.demonstrations,
        tool_positions=result.tool_positions,
        word_positions=result.word_positions,
        dropped_count=len(result.dropped),
        dropped=[Dropped(source=r.source, line=r.line, reason=r.reason) for r in result.dropped[:_DROPPED]],
        unseen=list(result.unseen),
        lm_passes=result.lm_passes,
        pass_seconds=result.pass_seconds,
        selection_seconds=None if selection is None else selection.seconds,
        solve_seconds=result.solve_seconds,
        iterations=None if solution is None else solution.iterations,
        gradient_norm=None if solution is None else solution.gradient_norm,
        converged=None if solution is None else solution.converged,
        selection_note="" if selection is None else selection.note,
        path=[
            LamTried(
                prior=point.prior,
                lam=point.lam,
                loss=point.loss,
                error=point.error,
                top1=point.calls.top1,
                f1=point.calls.f1,
                best_f1=point.best_f1,
                untrained=point.untrained,
            )
            for point in (() if selection is None else selection.path)
        ],
        calibration=toolkens.calibration,
        reliability_before=_reliability(before),
        reliability_after=_reliability(after),
        confusions=confusions,
        tools=[
            ToolReport(
                name=spec.name,
                description=spec.description,
                calls=figure.calls,
                precision=figure.precision,
                recall=figure.recall,
                f1=figure.f1,
                bias=float(toolkens.biases[k]),
                moved=float(moved[k]),
                nearest_words=[Neighbour(name=_shown(result.lm, i), similarity=s) for i, s in near_words[k]],
                nearest_tools=near_tools[k],
                x=places[k][0],
                y=places[k][1],
            )
            for k, (spec, figure) in enumerate(zip(toolkens.specs, figures, strict=True))
        ],
        words=words,
        map_share=share,
    )


def read_report(folder: str | Path) -> FitReport | None:
    """The report beside a saved set; None if there is none.

    Raises ReportError for a file that is no report of this version.
    """
    file = Path(folder) / REPORT_FILE
    try:
        content = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        version = json.loads(content).get("report_version")
        if version != REPORT_VERSION:
            raise ReportError(
                f"{file} has report version {version!r}, and this version of langchain-toolken reads "
                f"{REPORT_VERSION}: fit anew, or delete it"
            )
        return FitReport.model_validate_json(content)
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError, ValidationError) as error:
        raise ReportError(f"{file} is not a report of `toolken fit` ({error}): fit anew, or delete it") from error


@torch.inference_mode()
def nearest_words(toolkens: ToolkenSet, lm: LanguageModel, count: int = _NEAREST) -> list[list[tuple[int, float]]]:
    """For each tool the ids of the words whose head rows make the largest cosine with its toolken, and the cosines.

    Special tokens and tokens that are only space or part of a character are passed over, so there may be fewer than
    `count` where most of the nearest are such.
    """
    rows = torch.nn.functional.normalize(lm.head.weight[: len(lm.tokenizer)].float().cpu(), dim=1)
    special = frozenset(lm.tokenizer.all_special_ids)
    found: list[list[tuple[int, float]]] = []
    for part in torch.nn.functional.normalize(toolkens.matrix, dim=1).split(max(1, _SIMILARITIES // len(rows))):
        top = (part @ rows.T).topk(min(8 * count, len(rows)), dim=1)
        for ids, cosines in zip(top.indices.tolist(), top.values.tolist(), strict=True):
            words = [
                (i, cosine)
                for i, cosine in zip(ids, cosines, strict=True)
                if i not in special and (text := _shown(lm, i)) and "\ufffd" not in text
            ]
            found.append(words[:count])
    return found


def nearest_tools(toolkens: ToolkenSet, count: int = _NEAREST) -> list[list[Neighbour]]:
    """For each tool the others whose toolkens make the largest cosine with its own, nearest first."""
    if len(toolkens) < 2:
        return [[] for _ in toolkens.names]
    rows = torch.nn.functional.normalize(toolkens.matrix, dim=1)
    found: list[list[Neighbour]] = []
    for start in range(0, len(rows), size := max(1, _SIMILARITIES // len(rows))):
        similarity = rows[start : start + size] @ rows.T
        similarity[torch.arange(len(similarity)), torch.arange(start, start + len(similarity))] = -2.0
        top = similarity.topk(min(count, len(rows) - 1), dim=1)
        found += [
            [Neighbour(name=toolkens.names[i], similarity=s) for i, s in zip(ids, cosines, strict=True)]
            for ids, cosines in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]
    return found


@dataclass(frozen=True)
class _Figures:
    """A tool's calls in the data and its figures on held-out positions."""

    calls: int
    precision: float | None = None
    recall: float | None = None
    f1: float | None = None


def _chosen_biases(result: FitResult) -> float | Tensor:
    """What calibration added to the held-out logits, which have the bias of the fit already."""
    if result.bias is None:
        return 0.0
    return result.bias.bias if result.bias.tool_biases is None else result.bias.tool_biases + result.bias.bias


def _called(features: Features, logits: Tensor, biases: float | Tensor) -> Tensor:
    """The tool that greedy decoding calls at each position, (N,) int64, or -1 where it says a word."""
    best, tool = (logits.double() + biases).max(dim=1)
    return torch.where(best > features.word_max, tool, -1)


def _tool_figures(features: Features, called: Tensor, calls: Sequence[int]) -> list[_Figures]:
    weight, zero = features.weight.double(), torch.zeros(len(calls), dtype=torch.float64)
    right_at = (called >= 0) & (called == features.target)
    made = zero.index_add(0, called[called >= 0], weight[called >= 0])
    due = zero.index_add(0, features.target[features.target >= 0], weight[features.target >= 0])
    right = zero.index_add(0, called[right_at], weight[right_at])
    return [
        _Figures(
            calls[k],
            float(right[k] / made[k]) if made[k] else None,
            float(right[k] / due[k]) if due[k] else None,
            float(2 * right[k] / (made[k] + due[k])) if made[k] + due[k] else None,
        )
        for k in range(len(calls))
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


def _map(
    toolkens: ToolkenSet, lm: LanguageModel, near: Sequence[Sequence[tuple[int, float]]]
) -> tuple[list[tuple[float, float]], list[WordOnMap], float]:
    """The toolkens and each one's nearest words in the plane of the two main directions of the toolkens' directions.

    Rows are brought to length 1, since neighbours go by cosine; a principal component analysis of the toolkens alone,
    so that the words take what place they have among the tools.
    """
    ids = sorted({i for words in near for i, _ in words[:3]})
    weight = lm.head.weight[torch.tensor(ids, dtype=torch.long, device=lm.head.weight.device)].detach().float().cpu()
    rows = torch.nn.functional.normalize(toolkens.matrix, dim=1)
    words = torch.nn.functional.normalize(weight, dim=1)
    centre = rows.mean(dim=0)
    centred = rows - centre
    _, spread, directions = torch.linalg.svd(centred, full_matrices=False)
    plane = torch.zeros(toolkens.hidden_size, 2)
    plane[:, : min(2, len(directions))] = directions[:2].T
    # A direction's sign means nothing; fixed, so that one set always gives one map.
    largest = plane.abs().argmax(dim=0)
    plane = plane * torch.where(plane[largest, torch.arange(2)] < 0, -1.0, 1.0)
    total = float(spread.square().sum())
    share = float(spread[:2].square().sum()) / total if total > 0 else 0.0
    places = [(x, y) for x, y in (centred @ plane).tolist()]
    shown = [
        WordOnMap(word=_shown(lm, i), x=x, y=y)
        for i, (x, y) in zip(ids, ((words - centre) @ plane).tolist(), strict=True)
    ]
    return places, shown, share


def _shown(lm: LanguageModel, token: int) -> str:
    return str(lm.tokenizer.decode([token])).strip()
