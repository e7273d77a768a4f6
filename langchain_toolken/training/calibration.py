"""How eager toolkens are to call, and what their probabilities mean, from held-out logits.

ToolkenGPT (arXiv 2305.11554) sets a bias of the toolkens' logits by hand; Toolken+ (arXiv 2410.12004, §3) adds a
"Reject" toolken for texts that need no tool. Here the bias is chosen on logits of demonstrations that the toolkens were
not fitted on, and is the reject threshold at the same time: a position calls iff its best toolken logit, with the bias,
beats the largest *word* logit. That is greedy decoding's rule, so what is counted here is what decoding does.

The probabilities' temperature (Guo et al., arXiv 1706.04599, §4.2) is another matter: the bias says what a call is
worth and the temperature how sure to be. The bias is therefore left out of the probabilities, measured on FuncQA's
held-out calls with two LMs at bias 3: expected calibration error 0.04 and 0.02 without it, 0.11 and 0.08 with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.training.features.compute import Features

# A tool gets a bias of its own only with so many held-out calls, and as many positions that are not its call but where
# it is the likeliest tool. Below, one position more or less moves the choice by several units.
TOOL_POSITIONS = 20
# What a tool's own bias is shrunk by: with n held-out calls it keeps n / (n + 20) of its way from the set's bias.
_SHRINKAGE = 20.0
_BINS = 15
# How many biases between 0 and the best are tried for the one nearest to 0.
_STEPS = 50
# How many standard errors of its F1 the bias nearest to 0 may lose to the best.
_STEADY = 0.25


@dataclass(frozen=True)
class CallFigures:
    """Calls as greedy decoding would make them on given positions, sampled negatives counted by their weight.

    top1: share of the calls' positions where the right toolken is the likeliest of the toolkens, whatever the words.
    recall: share of them at which the right tool is called. precision: share of all calls made that are right.
    f1: their harmonic mean. false_call_rate: share of the word positions at which a call is made.
    """

    top1: float
    recall: float
    precision: float
    f1: float
    false_call_rate: float


@dataclass(frozen=True, eq=False)
class BiasChoice:
    """bias: added to all toolken logits. tool_biases: (K,) float32 besides, or None. uncalibrated: calls at bias 0;
    calibrated: calls at these biases, on the positions they were chosen on."""

    bias: float
    tool_biases: Tensor | None
    uncalibrated: CallFigures
    calibrated: CallFigures

    @property
    def biases(self) -> float | Tensor:
        """What is added to the toolken logits in all: one number, or one for each tool, (K,)."""
        return self.bias if self.tool_biases is None else self.tool_biases + self.bias


@dataclass(frozen=True)
class ReliabilityBin:
    """Calls of about one probability: their mean probability, the share of right ones, and their share of all calls."""

    probability: float
    right: float
    mass: float


@dataclass(frozen=True)
class TemperatureChoice:
    """temperature: see `toolkens.Calibration`. ece_before, ece_after: expected calibration error over the calls made,
    in 15 bins of equal mass, at temperature 1 (with the bias, as an uncalibrated set reports it) and at this one."""

    temperature: float
    ece_before: float
    ece_after: float


def called_tools(features: Features, logits: Tensor, biases: float | Tensor = 0.0) -> Tensor:
    """Find the tool that greedy decoding calls at each position, (N,) int64; -1 where it says a word."""
    best, tool = (logits.double() + biases).max(dim=1)
    return torch.where(best > features.word_max, tool, -1)


def call_figures(features: Features, logits: Tensor, biases: float | Tensor = 0.0) -> CallFigures:
    """The calls that toolken logits (N, K) make on the features' N positions, with one bias or one per tool (K,)."""
    best, tool = (logits.double() + biases).max(dim=1)
    called, fires = features.target >= 0, best > features.word_max
    right = called & (tool == features.target)
    weight = features.weight.double()
    calls, made = float(weight[called].sum()), float(weight[fires].sum())
    made_right = float(weight[fires & right].sum())
    words = float(weight[~called].sum())
    return CallFigures(
        top1=_share(float(weight[right].sum()), calls),
        recall=_share(made_right, calls),
        precision=_share(made_right, made),
        f1=_share(2 * made_right, calls + made),
        false_call_rate=_share(float(weight[fires & ~called].sum()), words),
    )


def best_f1_bias(features: Features, logits: Tensor) -> float:
    """The bias with the best F1 of calls, found exactly: F1 changes only where a position's best toolken meets its best
    word, so every step between two such places is tried."""
    sweep = _Sweep.of(features, logits)
    f1 = 2 * sweep.right / (sweep.calls + sweep.made).clamp(min=1e-12)
    return sweep.bias(int(f1.argmax()))


def steady_f1_bias(features: Features, logits: Tensor) -> float:
    """The bias nearest to 0 whose F1 of calls is within a quarter of a standard error of the best.

    Where few calls are held out, F1 is flat around its best, which then falls anywhere on that plateau; the bias that
    the toolkens were fitted with is the one that carries over to other texts. The standard error is that of the
    *difference* to the best F1, with demonstrations as the sampled units (a ratio's delta method). A quarter: on the
    dev sets of seven fits with all of the demonstrations (two LMs) the mean F1 is .792, with one standard error .789
    and at bias 0 .775; on 48 fits with 40 to 250 of them .598, .597 and .592.
    """
    best = best_f1_bias(features, logits)
    most = _Tally.of(features, logits, best)
    biases: list[float] = torch.linspace(0, best, _STEPS, dtype=torch.float64).tolist()
    for bias in biases:
        here = _Tally.of(features, logits, bias)
        difference = most.influence() - here.influence()
        if most.f1 - here.f1 <= _STEADY * float(difference.square().sum().sqrt()):
            return bias
    return best


def capped_bias(features: Features, logits: Tensor, max_false_call_rate: float) -> float:
    """The bias with the most right calls whose share of word positions with a call is at most the cap; of equals, the
    one with the fewest calls. If even one call were too many, a bias at which none is made."""
    sweep = _Sweep.of(features, logits)
    allowed = sweep.false <= max_false_call_rate * sweep.words * (1 + 1e-12)
    right = torch.where(allowed, sweep.right, -1.0)
    return sweep.bias(int(right.argmax()))


def choose_bias(
    features: Features, logits: Tensor, folds: Tensor | None = None, max_false_call_rate: float | None = None
) -> BiasChoice:
    """The bias for the best F1 of calls (`steady_f1_bias`), or for the most right calls under a cap on false ones.

    logits: (N, K) held-out toolken logits. folds: (N,) which part of the data a position belongs to; with it, tools
    with at least `TOOL_POSITIONS` held-out calls, and as many positions that they might falsely call at, may get biases
    of their own. They are kept only if, chosen without a fold, they serve that fold better (all folds together, by more
    than one standard error) than the one bias does.

    Raises ValueError for a cap outside [0, 1).
    """
    if max_false_call_rate is not None and not 0 <= max_false_call_rate < 1:
        raise ValueError(f"max_false_call_rate is {max_false_call_rate}; it must be at least 0 and less than 1")

    def one_bias(positions: Features, at: Tensor) -> float:
        if max_false_call_rate is None:
            return steady_f1_bias(positions, at)
        return capped_bias(positions, at, max_false_call_rate)

    logits = logits.double()
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
        without, with_own = (_Tally.of(features, at, 0.0) for at in crossed)
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
    """Per-tool biases (K,) beside the set's, which `logits` hold already; 0 for tools with too little data.

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
    """Sums over the m positions that fire first as the bias grows, for m = 0 … N, and between which biases they do.

    right, made, false: (N + 1,) float64 weights of right calls, all calls, calls at word positions. Positions with one
    gap fire at once: an m that would part them has no right calls and infinitely many others, so that none choose it.
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
        """A bias at which exactly the first `fired` positions fire: 0 if it does, else halfway to either neighbour."""
        above = -float(self.gaps[fired - 1]) if fired else None
        below = -float(self.gaps[fired]) if fired < len(self.gaps) else None
        if (above is None or above < 0) and (below is None or below > 0):
            return 0.0
        if above is None or below is None:
            return below - 1.0 if below is not None else (above or 0.0) + 1.0
        return (above + below) / 2


@dataclass(frozen=True, eq=False)
class _Tally:
    """Each demonstration's right calls and calls that were made or due, (D,) float64: F1 = 2 right / (made + due)."""

    right: Tensor
    made_and_due: Tensor

    @classmethod
    def of(cls, features: Features, logits: Tensor, bias: float) -> _Tally:
        best, tool = logits.max(dim=1)
        fires, called = best + bias > features.word_max, features.target >= 0
        weight, zero = features.weight.double(), torch.zeros(int(features.demonstration.max()) + 1, dtype=torch.float64)
        right = weight * (fires & (tool == features.target))
        return cls(
            zero.index_add(0, features.demonstration, right),
            zero.index_add(0, features.demonstration, weight * fires + weight * called),
        )

    @property
    def f1(self) -> float:
        return _share(2 * float(self.right.sum()), float(self.made_and_due.sum()))

    def influence(self) -> Tensor:
        """How much each demonstration moves F1, (D,): the ratio's linear part, whose squares sum to its variance."""
        return (2 * self.right - self.f1 * self.made_and_due) / self.made_and_due.sum().clamp(min=1e-12)


def choose_temperature(features: Features, logits: Tensor, biases: float | Tensor) -> TemperatureChoice:
    """The temperature that makes held-out positions likeliest over {a word, tool 1, … tool K}, and what it mends.

    logits: (N, K) held-out, with the bias that the toolkens were fitted with and without `biases`, the one chosen
    since: that decides which positions call, and so which probabilities are ever reported.
    """
    classes = torch.cat([features.word_logsumexp.double()[:, None], logits.double()], dim=1)
    temperature = _temperature(classes, features.target + 1, features.weight.double())
    before, after = (
        sum(b.mass * abs(b.probability - b.right) for b in bins)
        for bins in reliability_of_calls(features, logits, biases, temperature)
    )
    return TemperatureChoice(temperature, before, after)


def reliability_of_calls(
    features: Features, logits: Tensor, biases: float | Tensor, temperature: float
) -> tuple[list[ReliabilityBin], list[ReliabilityBin]]:
    """The calls that are made with `biases`, by their probability: as an uncalibrated set reports it (temperature 1,
    with the biases) and as a calibrated one does (this temperature, without them). logits: (N, K) without `biases`."""
    logits = logits.double()
    shifted = logits + biases
    best, tool = shifted.max(dim=1)
    fires = best > features.word_max
    right, weight = (tool == features.target)[fires], features.weight.double()[fires]
    words = features.word_logsumexp.double()[:, None]
    bins = []
    for toolkens, divisor in ((shifted, 1.0), (logits, temperature)):
        at = torch.cat([words, toolkens], dim=1)[fires] / divisor
        probability = at.softmax(dim=1).gather(1, tool[fires][:, None] + 1)[:, 0]
        bins.append(reliability(probability, right, weight))
    return bins[0], bins[1]


def _temperature(logits: Tensor, target: Tensor, weight: Tensor) -> float:
    """argmin over T of the weighted cross-entropy of logits / T; between 1/20 and 20.

    Convex in 1/T: Newton's method, kept inside the bracket that the slope's sign leaves.
    """
    low, high, inverse = 0.05, 20.0, 1.0
    aim = logits.gather(1, target[:, None])[:, 0]
    for _ in range(50):
        share = (logits * inverse).softmax(dim=1)
        mean = (share * logits).sum(dim=1)
        slope = float(weight @ (mean - aim))
        curvature = float(weight @ ((share * logits.square()).sum(dim=1) - mean.square()))
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        following = inverse - slope / curvature if curvature > 0 else low
        if not low < following < high:
            following = (low * high) ** 0.5
        if abs(following - inverse) <= 1e-6 * inverse:
            break
        inverse = following
    return 1 / inverse


def reliability(probability: Tensor, right: Tensor, weight: Tensor | None = None) -> list[ReliabilityBin]:
    """15 bins of equal mass, the least probable first; fewer if there are fewer calls, none for none.

    probability: (n,) floats. right: (n,) bool. weight: (n,), default 1 each. (Guo et al. 2017, but bins of equal mass,
    since most probabilities of calls lie near 1.)
    """
    if not len(probability):
        return []
    order = probability.argsort(stable=True)
    probability, right = probability.double()[order], right.double()[order]
    weight = torch.ones_like(probability) if weight is None else weight.double()[order]
    middle = weight.cumsum(0) - weight / 2
    number = (middle / weight.sum() * _BINS).long().clamp(max=_BINS - 1)
    zero = torch.zeros(_BINS, dtype=torch.float64)
    mass, said, came = (zero.index_add(0, number, weight * part) for part in (1.0, probability, right))
    return [
        ReliabilityBin(float(said[b] / mass[b]), float(came[b] / mass[b]), float(mass[b] / mass.sum()))
        for b in mass.nonzero()[:, 0].tolist()
    ]


def expected_calibration_error(probability: Tensor, right: Tensor, weight: Tensor | None = None) -> float:
    """Mean distance between a bin's mean probability and its share of right ones (Guo et al. 2017, eq. 3).

    Arguments and bins are those of `reliability`. 0 for no calls.
    """
    return sum(b.mass * abs(b.probability - b.right) for b in reliability(probability, right, weight))


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
