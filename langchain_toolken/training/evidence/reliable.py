"""What the probabilities of the evidence mean: how often what they say comes true, before and after calibration."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.training.calibration_temperature import ReliabilityBin, reliability
from langchain_toolken.training.evidence.logistic import Standard, binary

_CONSTANT = 10.0
_RIDGE = 1e-6

# Probabilities (n,), and whether each came true, (n,) bool.
Said = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Reliable:
    """Held-out probabilities in bins of equal mass, and how often they came true.

    Attributes:
        before: As they were.
        after: As the set reports them.
    """

    before: tuple[ReliabilityBin, ...]
    after: tuple[ReliabilityBin, ...]

    @classmethod
    def of(cls, before: Said, after: Said, weight: Tensor | None = None) -> Reliable:
        """Bin what was said before and after, with weights (n,)."""
        return cls(*(tuple(reliability(*said, weight)) for said in (before, after)))

    @property
    def errors(self) -> tuple[float, float]:
        """The expected calibration errors before and after."""
        before, after = (sum(b.mass * abs(b.probability - b.right) for b in bins) for bins in (self.before, self.after))
        return before, after


def line(odds: Tensor, true: Tensor, weight: Tensor) -> tuple[float, float]:
    """Fit a and b so that σ(a · odds + b) is how often something is true (Platt 1999).

    Args:
        odds: (n,) log odds, from a fit that did not see them.
        true: (n,) bool.
        weight: (n,).

    Returns:
        a and b; 1 and 0 where no a above 0 fits.
    """
    standard = Standard.of(odds[:, None], weight)
    features = torch.cat([standard(odds[:, None]), torch.full((len(odds), 1), _CONSTANT)], dim=1)
    found = binary(features, true, weight, _RIDGE)
    slope = float(found[0] / standard.deviation[0])
    if not 0 < slope < float("inf"):
        return 1.0, 0.0
    return slope, _CONSTANT * float(found[1]) - slope * float(standard.mean[0])
