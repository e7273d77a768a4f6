"""Rows of new tools from their descriptions' states, by a ridge regression on the rows that a set has.

For rows that were not fitted to win a place of their own (`mapping` is for those): rows for the request's mean state,
and the rows of a set that was fitted without demonstrations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

# Relative to the number of coordinates, which have a variance of 1: 0.2 to 2 do about as well.
_RIDGE = 0.5


@dataclass(frozen=True, eq=False)
class RidgeMap:
    """A row is (states - middle) slope + intercept.

    Attributes:
        middle: (d,), the mean state.
        slope: (d, e).
        intercept: (e,), the mean row.
        tools: How many tools it was learned on.
    """

    middle: Tensor
    slope: Tensor
    intercept: Tensor
    tools: int

    @classmethod
    def learn(cls, rows: Tensor, states: Tensor) -> Self:
        """Learn from the rows (K, e) of tools and the mean states (K, d) of their descriptions.

        A ridge draws what it predicts towards the mean row, and a new tool that is less apart from the others than they
        are from each other would lose to them. Predictions are therefore stretched: as far from the mean as the rows
        are, measured at tools that were left out one at a time.
        """
        middle, intercept = states.mean(dim=0), rows.mean(dim=0)
        deviation = states.std(dim=0, correction=0).clamp_min(1e-6)
        features, aims = ((states - middle) / deviation).double(), (rows - intercept).double()
        gram = features @ features.T + _RIDGE * states.shape[1] * torch.eye(len(rows), dtype=torch.float64)
        weights = torch.linalg.solve(gram, aims)
        # Leave-one-out in closed form: the error of each tool is its weights over the inverse's diagonal.
        left_out = aims - weights / torch.linalg.inv(gram).diagonal()[:, None]
        stretch = aims.norm(dim=1).mean() / left_out.norm(dim=1).mean().clamp_min(1e-12)
        slope = (features.T @ weights).mul(stretch.clamp(max=10.0)).float() / deviation[:, None]
        return cls(middle, slope, intercept, len(rows))

    def rows(self, states: Tensor) -> Tensor:
        """Return rows (n, e) for the mean states (n, d) of other descriptions."""
        return (states - self.middle) @ self.slope + self.intercept
