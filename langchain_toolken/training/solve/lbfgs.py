"""L-BFGS (Nocedal and Wright, Numerical Optimization, §7.2) for smooth convex functions of a matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Gradient = Callable[[Tensor], Tensor]
"""A convex function's gradient (K, d) at a matrix (K, d), of the matrix's dtype and device."""
Preconditioner = Callable[[Tensor], Tensor]
"""A fixed approximation of the inverse Hessian, symmetric and positive, times a matrix (K, d)."""


# Steps in a row without a smaller gradient than ever before, after which rounding is all that is left.
_STALL = 20


class CurvaturePairs:
    """What L-BFGS remembers of earlier steps: at most `pairs` pairs of a step and the gradient's change, (K, d) each.

    It outlives a minimisation, so that one of a slightly different function doesn't begin from nothing.
    """

    def __init__(self, pairs: int) -> None:
        self.most = pairs
        self._pairs: list[tuple[Tensor, Tensor, float]] = []

    def __len__(self) -> int:
        return len(self._pairs)

    def add(self, step: Tensor, change: Tensor) -> None:
        product = _dot(step, change)
        if product > 0:
            self._pairs.append((step, change, product))
            del self._pairs[: -self.most]

    def clear(self) -> None:
        self._pairs.clear()

    def direction(self, gradient: Tensor, precondition: Preconditioner | None = None) -> Tensor:
        """The two-loop recursion: minus the approximate inverse Hessian times the gradient.

        It begins with the preconditioner, or the identity, scaled so that it fits the latest pair (§7.2, eq. 7.20).
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
    """Where a minimisation ended: the matrix, the gradient's norm there, and the steps and gradients it took."""

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
    """From `start` down to a gradient norm of `target`, in at most `max_steps`, or to where it falls no further.

    Values are never asked for: along a line, a convex function's slope says all, and near the minimum a value's
    decrease drowns in rounding long before the slope does.
    """
    at, gradient = start, gradient_at(start)
    norm, steps, evaluations = float(gradient.norm()), 0, 1
    best, since = norm, 0
    while norm > target and steps < max_steps and since < _STALL:
        direction = curvature.direction(gradient, precondition)
        slope = _dot(gradient, direction)
        # A bare gradient may have any length: begin with a step of at most 1.
        size = 1.0 if len(curvature) or precondition is not None else min(1.0, 1.0 / float(direction.norm()))
        found = None
        if slope < 0:
            found, tried = _line_search(gradient_at, at, direction, slope, size)
            evaluations += tried
        if found is None:
            if not len(curvature) and precondition is None:
                break
            # Old curvature can spoil a direction, and so can a preconditioner far from where it was made: begin again
            # without the one, and then the other, before giving up.
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
    """A step at which the slope is at most 0.9 times as steep down and half as steep up, and the trials it took.

    The slope grows along the line, so bisection finds such a step. Almost always the first trial is taken.
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
