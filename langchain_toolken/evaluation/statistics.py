"""Intervals and paired tests over questions, with numpy alone, and the same every time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_DRAWS = 10_000
_EXACT = 12  # differing questions up to which all signs are tried


@dataclass(frozen=True)
class Interval:
    """A mean with its 95% interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} ({self.low:.2f} to {self.high:.2f})"


def bootstrap(scores: Sequence[float]) -> Interval:
    """Return the mean of the questions' scores, from 0 to 1, with a 95% interval from redrawing the questions.

    Where all scores are 0 or all are 1, redrawing says nothing, and the interval is Wilson's.

    Raises:
        ValueError: There are no scores.
    """
    if not scores:
        raise ValueError("no questions were answered")
    values = np.asarray(scores, dtype=float)
    mean = float(values.mean())
    if values.min() == values.max() and mean in (0.0, 1.0):
        reach = 1.96**2 / (len(values) + 1.96**2)
        return Interval(mean, 0.0, reach) if mean == 0.0 else Interval(mean, 1 - reach, 1.0)
    means = values[np.random.default_rng(0).integers(len(values), size=(_DRAWS, len(values)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(mean, float(low), float(high))


def paired_p(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the two-sided p of a sign-flip permutation test of two methods on the same questions.

    With scores of 0 and 1 and few differing questions, all signs are tried, and it is McNemar's exact test.

    Raises:
        ValueError: The methods answered different numbers of questions.
    """
    if len(one) != len(other):
        raise ValueError(f"{len(one)} scores against {len(other)}: a paired test needs the same questions")
    differences = np.asarray(one, dtype=float) - np.asarray(other, dtype=float)
    differences = differences[differences != 0]
    count = len(differences)
    if not count:
        return 1.0
    observed = abs(differences.sum())
    if count <= _EXACT:
        signs = 1 - 2 * ((np.arange(2**count)[:, None] >> np.arange(count)) & 1)
        return float((np.abs(signs @ differences) >= observed - 1e-9).mean())
    signs = 1 - 2 * np.random.default_rng(0).integers(2, size=(_DRAWS, count))
    return float(((np.abs(signs @ differences) >= observed - 1e-9).sum() + 1) / (_DRAWS + 1))
