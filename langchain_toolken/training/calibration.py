"""How eager toolkens are to call: biases chosen on held-out logits.

ToolkenGPT (arXiv 2305.11554) sets a bias of the toolkens' logits by hand; Toolken+ (arXiv 2410.12004, §3) adds a
"Reject" toolken for texts that need no tool. Here the bias is chosen on logits of demonstrations that the toolkens were
not fitted on, and doubles as the reject threshold: a position calls iff its best toolken logit, bias included, beats
the largest word logit. That is the rule of greedy decoding, so the calls counted here are the calls that it makes.

What the probabilities mean is a different matter: see `calibration_temperature`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.lm.head import greedy_calls
from langchain_toolken.training.features.compute import Features

# A tool gets its own bias only with this many held-out calls, and as many positions that don't call it but where it is
# the likeliest tool. With fewer, a single position moves the choice by several units.
TOOL_POSITIONS = 20
# Shrinkage of a tool's own bias: with n held-out calls it keeps n / (n + 20) of its distance to the set's bias.
_SHRINKAGE = 20.0
# How many biases from 0 to the best are tried, to find the one nearest to 0.
_STEPS = 50
# How many standard errors of F1 the bias nearest to 0 may lose to the best one.
_STEADY = 0.25


@dataclass(frozen=True)
class CallFigures:
    """Calls as greedy decoding would make them on some positions; sampled negatives count by their weight.

    Attributes:
        top1: Share of the positions that should call where the right toolken is the likeliest toolken, whatever the
            words' logits are.
        recall: Share of them at which the right tool is called.
        precision: Share of all calls made that are right.
        f1: Harmonic mean of recall and precision.
        false_call_rate: Share of the word positions at which a call is made; None if there is no such position.
    """

    top1: float
    recall: float
    precision: float
    f1: float
    false_call_rate: float | None


@dataclass(frozen=True, eq=False)
class BiasChoice:
    """The chosen biases.

    Attributes:
        bias: Added to all toolken logits.
        tool_biases: Added in addition to it, (K,) float32; None for none.
        uncalibrated: Calls at bias 0.
        calibrated: Calls at these biases, on the positions that they were chosen on.
    """

    bias: float
    tool_biases: Tensor | None
    uncalibrated: CallFigures
    calibrated: CallFigures

    @property
    def biases(self) -> float | Tensor:
        """The sum of both, which is added to the toolken logits: one number, or one for each tool, (K,)."""
        return self.bias if self.tool_biases is None else self.tool_biases + self.bias


def call_figures(features: Features, logits: Tensor, biases: float | Tensor = 0.0) -> CallFigures:
    """Count the calls that toolken logits (N, K) make at N positions, with one bias or one for each tool (K,)."""
    biased = logits.double() + biases
    called, due = greedy_calls(features.word_max, biased), features.target >= 0
    fires, right = called >= 0, due & (called == features.target)
    weight = features.weight.double()
    calls, made = float(weight[due].sum()), float(weight[fires].sum())
    made_right = float(weight[right].sum())
    words = float(weight[~due].sum())
    return CallFigures(
        top1=_share(float(weight[due & (biased.argmax(dim=1) == features.target)].sum()), calls),
        recall=_share(made_right, calls),
        precision=_share(made_right, made),
        f1=_share(2 * made_right, calls + made),
        false_call_rate=_share(float(weight[fires & ~due].sum()), words) if words > 0 else None,
    )


def best_f1_bias(features: Features, logits: Tensor) -> float:
    """Find the bias with the best F1 of calls.

    The result is exact: F1 changes only where a position's best toolken equals its best word, and all intervals between
    two such biases are tried.
    """
    sweep = _Sweep.of(features, logits)
    f1 = 2 * sweep.right / (sweep.calls + sweep.made).clamp(min=1e-12)
    return sweep.bias(int(f1.argmax()))


def steady_f1_bias(features: Features, logits: Tensor) -> float:
    """Find the bias nearest to 0 whose F1 of calls is within a quarter of a standard error of the best.

    With few held-out calls F1 is flat around its best, which is then found anywhere on that plateau; the bias that the
    toolkens were fitted with is the one that carries over to other texts. The standard error is that of the
    *difference* to the best F1, with demonstrations as the sampled units (delta method for a ratio). On dev sets, a
    quarter of it gives a better F1 than a whole one or than bias 0.
    """
    best = best_f1_bias(features, logits)
    likeliest, tool = logits.max(dim=1)
    most = _Tally.of(features, likeliest + best, tool)
    biases: list[float] = torch.linspace(0, best, _STEPS, dtype=torch.float64).tolist()
    for bias in biases:
        here = _Tally.of(features, likeliest + bias, tool)
        difference = most.influence() - here.influence()
        if most.f1 - here.f1 <= _STEADY * float(difference.square().sum().sqrt()):
            return bias
    return best


def capped_bias(features: Features, logits: Tensor, max_false_call_rate: float) -> float:
    """Find the bias with the most right calls among those that call at no more than this share of the word positions.

    Of equal ones, the one with the fewest calls. If even one call is too many, a bias at which none is made.
    """
    sweep = _Sweep.of(features, logits)
    allowed = sweep.false <= max_false_call_rate * sweep.words * (1 + 1e-12)
    right = torch.where(allowed, sweep.right, -1.0)
    return sweep.bias(int(right.argmax()))


def choose_bias(
    features: Features, logits: Tensor, folds: Tensor | None = None, max_false_call_rate: float | None = None
) -> BiasChoice:
    """Choose the bias for the best F1 of calls (`steady_f1_bias`), or for the most right calls under a cap.

    With `folds`, tools with at least `TOOL_POSITIONS` held-out calls, and as many positions at which they might call
    falsely, may get their own biases. These are kept only if, chosen without a fold, they do better on that fold than
    the one bias: over all folds, by more than one standard error of F1.

    Without a position at which a word is due nothing says what a false call costs, and the bias is 0.

    Args:
        features: N held-out positions.
        logits: Toolken logits there, (N, K).
        folds: The part of the data that each position belongs to, (N,); None for one bias only.
        max_false_call_rate: The cap: the largest share of word positions at which a call may be made.

    Raises:
        ValueError: The cap is not in [0, 1).
    """
    if max_false_call_rate is not None and not 0 <= max_false_call_rate < 1:
        raise ValueError(f"max_false_call_rate is {max_false_call_rate}; it must be at least 0 and less than 1")

    def one_bias(positions: Features, at: Tensor) -> float:
        if max_false_call_rate is None:
            return steady_f1_bias(positions, at)
        return capped_bias(positions, at, max_false_call_rate)

    logits = logits.double()
    if not bool((features.target < 0).any()):
        figures = call_figures(features, logits)
        return BiasChoice(bias=0.0, tool_biases=None, uncalibrated=figures, calibrated=figures)
    bias, own = one_bias(features, logits), None
    if folds is not None and _own_biases(features, logits + bias).any():
        crossed = [torch.empty_like(logits), torch.empty_like(logits)]
        for fold in folds.unique().tolist():
            inside = folds == fold
            rest, at = features.subset(~inside), logits[~inside]
            plain = one_bias(rest, at)
            offsets = _own_biases(rest, at + plain)
            crossed[0][inside] = logits[inside] + plain
            crossed[1][inside] = logits[inside] + offsets + one_bias(rest, at + offsets)
        without, with_own = (_Tally.of(features, *at.max(dim=1)) for at in crossed)
        error = float((with_own.influence() - without.influence()).square().sum().sqrt())
        if with_own.f1 > without.f1 + error:
            own = _own_biases(features, logits + bias)
            bias = one_bias(features, logits + own)
    return BiasChoice(
        bias=bias,
        tool_biases=None if own is None else own.float(),
        uncalibrated=call_figures(features, logits),
        calibrated=call_figures(features, logits, bias if own is None else own + bias),
    )


def _own_biases(features: Features, logits: Tensor) -> Tensor:
    """Choose biases (K,) for each tool, added to the set's, which `logits` contain; 0 for tools with too little data.

    At the best F1, a right call is worth 2 - F1 and any false call costs F1 (Dinkelbach's method for a ratio), so each
    tool's best bias can be found on the positions where it is the likeliest tool.
    """
    worth = 2 - call_figures(features, logits).f1
    best, tool = logits.max(dim=1)
    gap = best - features.word_max
    offsets = torch.zeros(logits.shape[1], dtype=torch.float64)
    for k in range(logits.shape[1]):
        mine = tool == k
        calls = int((features.target == k).sum())
        if calls < TOOL_POSITIONS or int((mine & (features.target != k)).sum()) < TOOL_POSITIONS:
            continue
        sweep = _Sweep.over(gap[mine], features.target[mine] == k, features.target[mine] < 0, features.weight[mine])
        gain = worth * sweep.right - (2 - worth) * (sweep.made - sweep.right)
        offsets[k] = sweep.bias(int(gain.argmax())) * calls / (calls + _SHRINKAGE)
    return offsets


@dataclass(frozen=True, eq=False)
class _Sweep:
    """Sums over the m positions that call first as the bias grows, for m = 0 … N.

    Positions with the same gap call at the same bias. An m that would separate them gets no right calls and infinitely
    many others, so that it is never chosen.

    Attributes:
        gaps: By how much a position's best toolken beats its best word, (N,) float64, largest first.
        right: Weight of the right calls, (N + 1,) float64.
        made: Weight of all calls, (N + 1,) float64.
        false: Weight of the calls at word positions, (N + 1,) float64.
        calls: Weight of the positions that should call.
        words: Weight of the word positions.
    """

    gaps: Tensor
    right: Tensor
    made: Tensor
    false: Tensor
    calls: float
    words: float

    @classmethod
    def of(cls, features: Features, logits: Tensor) -> _Sweep:
        best, tool = logits.double().max(dim=1)
        word = features.target < 0
        return cls.over(best - features.word_max, tool == features.target, word, features.weight)

    @classmethod
    def over(cls, gap: Tensor, right: Tensor, word: Tensor, weight: Tensor) -> _Sweep:
        order = gap.argsort(descending=True)
        gaps, weight = gap[order].double(), weight[order].double()
        zero = torch.zeros(1, dtype=torch.float64)
        right_sum, made, false = (
            torch.cat([zero, (weight * kept).cumsum(0)]) for kept in (right[order], torch.ones_like(word), word[order])
        )
        together = torch.zeros(len(gaps) + 1, dtype=torch.bool)
        together[1:-1] = gaps[:-1] == gaps[1:]
        infinity = float("inf")
        return cls(
            gaps=gaps,
            right=right_sum.masked_fill(together, 0.0),
            made=made.masked_fill(together, infinity),
            false=false.masked_fill(together, infinity),
            calls=float((weight * ~word[order]).sum()),
            words=float((weight * word[order]).sum()),
        )

    def bias(self, fired: int) -> float:
        """Return a bias at which exactly the first `fired` positions call: 0 if possible, else the middle of them."""
        above = -float(self.gaps[fired - 1]) if fired else None
        below = -float(self.gaps[fired]) if fired < len(self.gaps) else None
        if (above is None or above < 0) and (below is None or below > 0):
            return 0.0
        if above is None or below is None:
            return below - 1.0 if below is not None else (above or 0.0) + 1.0
        return (above + below) / 2


@dataclass(frozen=True, eq=False)
class _Tally:
    """Each demonstration's right calls, and its calls made or due, (D,) float64: F1 = 2 right / (made + due)."""

    right: Tensor
    made_and_due: Tensor

    @classmethod
    def of(cls, features: Features, best: Tensor, tool: Tensor) -> _Tally:
        """Count calls where the likeliest toolken of each position, `tool` (N,), has the logit `best` (N,)."""
        fires, due = greedy_calls(features.word_max, best[:, None]) >= 0, features.target >= 0
        weight, zero = features.weight.double(), torch.zeros(int(features.demonstration.max()) + 1, dtype=torch.float64)
        right = weight * (fires & (tool == features.target))
        return cls(
            zero.index_add(0, features.demonstration, right),
            zero.index_add(0, features.demonstration, weight * fires + weight * due),
        )

    @property
    def f1(self) -> float:
        return _share(2 * float(self.right.sum()), float(self.made_and_due.sum()))

    def influence(self) -> Tensor:
        """How much each demonstration moves F1, (D,): linear part of the ratio, whose squares sum to its variance."""
        return (2 * self.right - self.f1 * self.made_and_due) / self.made_and_due.sum().clamp(min=1e-12)


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
