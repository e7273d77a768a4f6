"""A logistic regression with a ridge on standardised features, by L-BFGS.

Standardised, because the pull to 0 is then in a metric that means something: a raw hidden state has a mean of 0.95 of
its norm, and coordinates whose deviations differ by orders of magnitude.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.training.solve.lbfgs import CurvaturePairs, minimise

_STEPS = 60
_PAIRS = 10
# The gradient's norm, relative to that at 0, at which a fit is good enough: λ is chosen in steps of 10.
_TOLERANCE = 1e-2


@dataclass(frozen=True, eq=False)
class Standard:
    """How features are standardised: (x - mean) / deviation, coordinate by coordinate.

    Attributes:
        mean: (d,).
        deviation: (d,), 1 where a coordinate is constant.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, features: Tensor, weight: Tensor | None = None) -> Standard:
        """Measure n features (n, d), with weights (n,) if they count differently."""
        share = torch.ones(len(features)) if weight is None else weight.float()
        share = share / share.sum().clamp_min(1e-12)
        mean = share @ features
        deviation = (share @ (features - mean).square()).sqrt()
        return cls(mean, torch.where(deviation > 1e-6 * deviation.max().clamp_min(1e-12), deviation, 1.0))

    def __call__(self, features: Tensor) -> Tensor:
        """Standardise features (n, d)."""
        return (features - self.mean) / self.deviation


def binary(features: Tensor, call: Tensor, weight: Tensor, lam: float, start: Tensor | None = None) -> Tensor:
    """Fit a binary logistic regression.

    Args:
        features: (n, d), standardised. The last coordinate may be a constant.
        call: (n,) bool.
        weight: (n,), how much each counts.
        lam: λ of the ridge, relative to the mean loss.
        start: (d,), where to start.

    Returns:
        (d,): the weights.
    """
    share, aim = weight / weight.sum(), call.float()

    def gradient(rows: Tensor) -> Tensor:
        off = share * ((features @ rows[0]).sigmoid() - aim)
        return (off @ features)[None] + 2 * lam * rows

    zero = torch.zeros(1, features.shape[1])
    target = _TOLERANCE * float(gradient(zero).norm())
    begin = zero if start is None else start[None].clone()
    return minimise(gradient, begin, target, CurvaturePairs(_PAIRS), max_steps=_STEPS).at[0]
