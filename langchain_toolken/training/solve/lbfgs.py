"""L-BFGS for smooth convex functions of a matrix (Nocedal and Wright, Numerical Optimization, section 7.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Gradient = Callable[[Tensor], Tensor]
"""The gradient (K, d) of a convex function at a matrix (K, d), in the matrix's dtype and on its device."""
Preconditioner = Callable[[Tensor], Tensor]
"""Multiplies a matrix (K, d) by a fixed, symmetric, positive approximation of the inverse Hessian."""


# After this many steps in a row without a new smallest gradient norm, only rounding errors are left.
_STALL = 20


class CurvaturePairs:
    """L-BFGS's memory of earlier steps: pairs of a step and the change of the gradient along it, (K, d) each.

    It can be kept from one minimisation to the next, of a slightly different function.

    Attributes:
        most: Number of pairs kept, the latest ones.
    """

    def __init__(self, pairs: int) -> None:
        self.most = pairs
        self._pairs: list[tuple[Tensor, Tensor, float]] = []

    def __len__(self) -> int:
        return len(self._pairs)

    def add(self, step: Tensor, change: Tensor) -> None:
        """Remember a step and the change of the gradient, unless rounding made their product negative or 0."""
        product = _dot(step, change)
        if product > 0:
            self._pairs.append((step, change, product))
            del self._pairs[: -self.most]

    def clear(self) -> None:
        """Forget all pairs."""
        self._pairs.clear()

    def direction(self, gradient: Tensor, precondition: Preconditioner | None = None) -> Tensor:
        """Return minus the approximate inverse Hessian times the gradient, by the two-loop recursion.

        The recursion starts from the preconditioner, or the identity, scaled to fit the latest pair (eq. 7.20).
        """
        direction = -gradient
        factors = []
        for step, change, product in reversed(self._pairs):
            factor = _dot(step, direction) / product
            direction.sub_(change, alpha=factor)
            factors.append(factor)
        if precondition is not None:
            direction = precondition(direction)
        if self._pairs:
            _, change, product = self._pairs[-1]
            direction *= product / _dot(change, change if precondition is None else precondition(change))
        for (step, change, product), factor in zip(self._pairs, reversed(factors), strict=True):
            direction.add_(step, alpha=factor - _dot(change, direction) / product)
        return direction


@dataclass(frozen=True, eq=False)
class Minimum:
    """Where a minimisation ended.

    Attributes:
        at: The matrix (K, d).
        norm: The norm of the gradient there.
        steps: Number of steps.
        evaluations: Number of gradients computed.
    """

    at: Tensor
    norm: float
    steps: int
    evaluations: int


def minimise(
    gradient_at: Gradient,
    start: Tensor,
    target: float,
    curvature: CurvaturePairs,
    *,
    max_steps: int,
    step_done: Callable[[], None] | None = None,
    precondition: Preconditioner | None = None,
) -> Minimum:
    """Minimise a convex function, given only its gradient.

    The function's values are not needed: for a convex function the slope along a line is enough, and near the minimum
    the decrease of the value is lost in rounding long before the slope is.

    Args:
        gradient_at: The gradient.
        start: Where to start, (K, d).
        target: Stop at this gradient norm.
        curvature: L-BFGS's memory, which is used and updated.
        max_steps: Most steps.
        step_done: Called after each step.
        precondition: A fixed approximation of the inverse Hessian.

    Returns:
        Where it ended: at `target`, after `max_steps`, or where the gradient gets no smaller.
    """
    at, gradient = start, gradient_at(start)
    norm, steps, evaluations = float(gradient.norm()), 0, 1
    best, since = norm, 0
    while norm > target and steps < max_steps and since < _STALL:
        direction = curvature.direction(gradient, precondition)
        slope = _dot(gradient, direction)
        # A gradient alone may have any length, so the first step is at most 1 long.
        size = 1.0 if len(curvature) or precondition is not None else min(1.0, 1.0 / float(direction.norm()))
        found = None
        if slope < 0:
            found, tried = _line_search(gradient_at, at, direction, slope, size)
            evaluations += tried
        if found is None:
            if not len(curvature) and precondition is None:
                break
            # Old pairs can spoil the direction, and so can a preconditioner far from where it was computed: try again
            # without the pairs, then without the preconditioner, before giving up.
            if not len(curvature):
                precondition = None
            curvature.clear()
            continue
        new, new_gradient = found
        curvature.add(new - at, new_gradient - gradient)
        at, gradient = new, new_gradient
        norm = float(gradient.norm())
        best, since = (norm, 0) if norm < best else (best, since + 1)
        steps += 1
        if step_done is not None:
            step_done()
    return Minimum(at, norm, steps, evaluations)


def _line_search(
    gradient_at: Gradient, at: Tensor, direction: Tensor, slope: float, size: float
) -> tuple[tuple[Tensor, Tensor] | None, int]:
    """Find a step after which the slope is between 0.9 times the initial (negative) slope and -0.5 times it.

    The slope of a convex function grows along the line, so bisection finds such a step; usually the first trial is one.

    Returns:
        The matrix there and its gradient, or None if 40 trials fail; and the number of trials.
    """
    low, high = 0.0, float("inf")
    for tried in range(1, 41):
        trial = at + size * direction
        gradient = gradient_at(trial)
        trial_slope = _dot(gradient, direction)
        if trial_slope < 0.9 * slope:
            low = size
        elif trial_slope <= -0.5 * slope:
            return (trial, gradient), tried
        else:  # too far, or not a number
            high = size
        size = (low + high) / 2 if high < float("inf") else 2 * size
    return None, 40


def _dot(one: Tensor, other: Tensor) -> float:
    return float(torch.dot(one.reshape(-1), other.reshape(-1)))
