"""What the probabilities of calls mean: a calibration temperature chosen on held-out logits.

Guo et al., arXiv 1706.04599, §4.2. It is a different matter from the bias (`calibration`): the bias says what a call is
worth, the temperature how certain it is. The bias is therefore left out of the probabilities, whose calibration error
is several times larger with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.lm.head import greedy_calls
from langchain_toolken.training.features.compute import Features

_BINS = 15


@dataclass(frozen=True)
class ReliabilityBin:
    """Calls of similar probability.

    Attributes:
        probability: Their mean probability.
        right: Share of them that are right.
        mass: Their share of all calls.
    """

    probability: float
    right: float
    mass: float


@dataclass(frozen=True)
class TemperatureChoice:
    """The chosen calibration temperature.

    Attributes:
        temperature: See `toolkens.set.Calibration`.
        ece_before: Expected calibration error of the calls made, in 15 bins of equal mass, at temperature 1 and with
            the bias, as an uncalibrated set reports its probabilities.
        ece_after: The same at this temperature and without the bias.
    """

    temperature: float
    ece_before: float
    ece_after: float


def choose_temperature(features: Features, logits: Tensor, biases: float | Tensor) -> TemperatureChoice:
    """Choose the calibration temperature: maximum likelihood of held-out positions over {a word, tool 1, … tool K}.

    Args:
        features: N held-out positions.
        logits: Toolken logits there, (N, K), with the bias that the toolkens were fitted with.
        biases: The biases chosen since, not in `logits`. They decide which positions call, and so which probabilities
            are reported and counted in the calibration errors.
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
    """Bin the calls that are made with `biases` by their probability, before and after calibration.

    Args:
        features: N positions.
        logits: Toolken logits there, (N, K), without `biases`.
        biases: One bias, or one for each tool (K,).
        temperature: The calibration temperature.

    Returns:
        The bins as an uncalibrated set reports probabilities (temperature 1, with the biases), and as a calibrated one
        does (this temperature, without them).
    """
    logits = logits.double()
    shifted = logits + biases
    called = greedy_calls(features.word_max, shifted)
    fires = called >= 0
    right, weight = (called == features.target)[fires], features.weight.double()[fires]
    words = features.word_logsumexp.double()[:, None]
    bins = []
    for toolkens, divisor in ((shifted, 1.0), (logits, temperature)):
        at = torch.cat([words, toolkens], dim=1)[fires] / divisor
        probability = at.softmax(dim=1).gather(1, called[fires][:, None] + 1)[:, 0]
        bins.append(reliability(probability, right, weight))
    return bins[0], bins[1]


def _temperature(logits: Tensor, target: Tensor, weight: Tensor) -> float:
    """Find the T from 1/20 to 20 with the smallest weighted cross-entropy of logits / T.

    It is convex in 1/T: Newton's method, kept inside the bracket that the sign of the slope leaves.
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
    """Sort calls into 15 bins of equal mass, the least probable first; fewer bins if there are fewer calls.

    As in Guo et al. 2017, but with bins of equal mass, because most probabilities of calls are near 1.

    Args:
        probability: (n,) floats.
        right: (n,) bool.
        weight: (n,); None: 1 each.
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
    """Compute the mean distance between a bin's mean probability and its share of right calls; 0 for no calls.

    Guo et al. 2017, eq. 3. Arguments and bins are those of `reliability`.
    """
    return sum(b.mass * abs(b.probability - b.right) for b in reliability(probability, right, weight))
