"""The convex solve (DESIGN §2): the toolken matrix that minimises the papers' cross-entropy plus the pull to the prior.

    mean_i [ log(e^{s_i} + sum_j e^{h_i.w_j + b}) - t_i ] + lam * ||W - W0||_F^2

where t_i = h_i.w_k + b if position i calls tool k, and the word's own logit if a word follows. The mean is weighted by
the features' importance weights. For lam > 0 it is strongly convex: one optimum, whatever the start. Solved by L-BFGS
(Nocedal and Wright, Numerical Optimization, §7.2) on the full batch, in float64, with the analytic gradient. Measured
on FuncQA: float32 stalls in the line search before the tolerance is met; whitening the hidden states saves no steps.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.training.features import Features, Progress

# Positions per step of a sum over positions: bounds the memory of a step at chunk x (d + 2K) x 8 bytes.
_CHUNK = 8192
# Hidden states of up to so many elements (1 GB) are kept in float64; larger ones are converted step by step: slower.
_KEPT_ELEMENTS = 1 << 27
# Curvature pairs that L-BFGS remembers. FuncQA converges in 167, 126, 110 steps with 20, 40, 60 of them (lam 1e-4).
# Each holds 2 K d floats, so 40 take 380 MB for 1,836 tools and d=320.
_MEMORY = 40
# What the loss, a float64 sum over positions, may be off by, relative to itself; and how many steps in a row may gain
# no more than that, nor a smaller gradient, before the solve gives up.
_ROUNDING = 1e-14
_STALL = 20


class SolveError(ValueError):
    """The problem can't be solved as given; the message names the value at fault."""


class ConvergenceWarning(UserWarning):
    """The solver stopped before the gradient was small enough, or the optimum may not be unique."""


@dataclass(frozen=True, eq=False)
class Solution:
    """The optimum. matrix: (K, d) float32. loss, gradient_norm: there. start_gradient_norm: at the prior."""

    matrix: Tensor
    loss: float
    gradient_norm: float
    start_gradient_norm: float
    iterations: int
    converged: bool
    seconds: float


class Objective:
    """Loss and gradient of a toolken matrix (K, d) in float64, summed over the features in chunks."""

    def __init__(
        self, features: Features, prior: Tensor, lam: float, bias: float = 0.0, device: torch.device | str = "cpu"
    ) -> None:
        tools, size = prior.shape
        if features.hidden.shape[1] != size:
            raise SolveError(f"the prior has {size} columns but the hidden states {features.hidden.shape[1]}")
        if features.target.numel() and int(features.target.max()) >= tools:
            raise SolveError(
                f"a position targets tool {int(features.target.max())}, but the prior has only {tools} rows"
            )
        if not lam >= 0:
            raise SolveError(f"lam is {lam}; it must not be negative")
        keep = features.hidden.numel() <= _KEPT_ELEMENTS
        self._hidden = features.hidden[:].to(device=device, dtype=torch.float64) if keep else features.hidden
        self._logsumexp = features.word_logsumexp.double().to(device)
        self._prior = prior.double().to(device)
        self._lam = lam
        self._bias = bias
        self._weight = features.weight.double().to(device)
        self._total = float(self._weight.sum())
        # The targets' part of the loss is linear in W: its gradient is this constant, so it is summed once.
        weight = features.weight.double()
        calls = (features.target >= 0).nonzero()[:, 0]
        pull = torch.zeros(tools, size, dtype=torch.float64)
        pull.index_add_(0, features.target[calls], features.hidden[calls].double() * weight[calls, None])
        self._pull = pull.to(device)
        words = features.target < 0
        self._constant = float(weight[words] @ features.target_logit[words].double())
        self._constant += bias * float(weight[calls].sum())

    def __call__(self, matrix: Tensor) -> tuple[float, Tensor]:
        """The loss at `matrix` ((K, d) float64) and its gradient ((K, d) float64), both on the objective's device."""
        loss = -self._constant - float((self._pull * matrix).sum())
        gradient = -self._pull
        for start in range(0, self._weight.shape[0], _CHUNK):
            part = slice(start, start + _CHUNK)
            hidden = self._hidden[part].to(device=matrix.device, dtype=torch.float64)
            logits = hidden @ matrix.T
            logits += self._bias
            log_total = torch.logaddexp(self._logsumexp[part], logits.logsumexp(dim=1))
            loss += float(self._weight[part] @ log_total)
            share = logits.sub_(log_total[:, None]).exp_().mul_(self._weight[part, None])
            gradient = gradient.addmm(share.T, hidden)
        away = matrix - self._prior
        return (
            loss / self._total + self._lam * float((away * away).sum()),
            gradient / self._total + 2 * self._lam * away,
        )


def solve(
    features: Features,
    prior: Tensor,
    lam: float,
    *,
    bias: float = 0.0,
    start: Tensor | None = None,
    tolerance: float = 1e-5,
    max_iterations: int = 1000,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Solution:
    """The toolken matrix (K, d) that minimises the objective of this module, from `start` (default: the prior).

    prior: (K, d) float32, W0. lam: weight of the pull to it. bias: b, held fixed. `start` is for warm starts along a
    path of lam; it doesn't change the optimum, only the time. device: where the sums are made; it needs float64.

    Converged means: the gradient's norm is at most `tolerance` times its norm *at the prior*, so that a good start is
    not asked for more than a bad one. Stopping for any other reason is warned about with the norms
    (ConvergenceWarning) and leaves `converged` False.

    lam=0 is allowed, and warned about: with more dimensions than positions there are many optima or, if the positions
    can be told apart perfectly, none.

    Raises SolveError for shapes that don't fit, a negative lam, or values that aren't finite.
    """
    began = time.perf_counter()
    if lam == 0:
        warnings.warn(
            "lam=0 takes the pull to the prior away: there may be no unique optimum, and toolkens may grow without "
            "bound. Use a small lam such as 1e-6 instead.",
            ConvergenceWarning,
            stacklevel=2,
        )
    objective = Objective(features, prior, lam, bias, device)
    matrix = prior.double().clone().to(device)
    loss, gradient = objective(matrix)
    start_norm = float(gradient.norm())
    if start is not None:
        matrix = start.double().clone().to(device)
        loss, gradient = objective(matrix)
    norm = float(gradient.norm())
    if not (torch.isfinite(gradient).all() and start_norm < float("inf")):
        raise SolveError("the features, the prior or the start hold values that are not finite")
    target = tolerance * start_norm

    pairs: list[tuple[Tensor, Tensor, float]] = []
    iterations = stalled = 0
    lowest = norm
    while norm > target and iterations < max_iterations and stalled < _STALL:
        direction = _lbfgs_direction(gradient, pairs)
        found = _line_search(objective, matrix, loss, gradient, direction, first=not pairs)
        if found is None:
            if not pairs:
                break
            # Old curvature can spoil a direction: begin again from the plain gradient before giving up.
            pairs.clear()
            continue
        new_matrix, new_loss, new_gradient = found
        step, change = new_matrix - matrix, new_gradient - gradient
        curvature = float((step * change).sum())
        if curvature > 0:
            pairs.append((step, change, curvature))
            del pairs[:-_MEMORY]
        gained = loss - new_loss > _ROUNDING * abs(loss)
        matrix, loss, gradient = new_matrix, new_loss, new_gradient
        norm = float(gradient.norm())
        stalled = 0 if gained or norm < lowest else stalled + 1
        lowest = min(lowest, norm)
        iterations += 1
        if progress is not None:
            progress(min(iterations, max_iterations - 1), max_iterations, "solve")
    if progress is not None:
        progress(max_iterations, max_iterations, "solve")
    converged = norm <= target
    if not converged:
        warnings.warn(
            f"the solve stopped after {iterations} of at most {max_iterations} iterations with a gradient norm of "
            f"{norm:.3g}, {norm / start_norm:.3g} of that at the prior, where {tolerance:.3g} was asked for. "
            "Raise max_iterations or lam.",
            ConvergenceWarning,
            stacklevel=2,
        )
    return Solution(
        matrix=matrix.float().cpu(),
        loss=loss,
        gradient_norm=norm,
        start_gradient_norm=start_norm,
        iterations=iterations,
        converged=converged,
        seconds=time.perf_counter() - began,
    )


def _lbfgs_direction(gradient: Tensor, pairs: list[tuple[Tensor, Tensor, float]]) -> Tensor:
    """The two-loop recursion: minus the approximate inverse Hessian times the gradient."""
    direction = -gradient
    factors = []
    for step, change, curvature in reversed(pairs):
        factor = float((step * direction).sum()) / curvature
        direction = direction - factor * change
        factors.append(factor)
    if pairs:
        _, change, curvature = pairs[-1]
        direction = direction * (curvature / float((change * change).sum()))
    for (step, change, curvature), factor in zip(pairs, reversed(factors), strict=True):
        direction = direction + (factor - float((change * direction).sum()) / curvature) * step
    return direction


def _line_search(
    objective: Objective, matrix: Tensor, loss: float, gradient: Tensor, direction: Tensor, *, first: bool
) -> tuple[Tensor, float, Tensor] | None:
    """A step that meets the Wolfe conditions, by bisection (Lewis and Overton 2013), or None if none is found.

    Almost always the first trial is taken, so an iteration costs one evaluation.
    """
    slope = float((gradient * direction).sum())
    if slope >= 0:
        return None
    # The first direction is the bare gradient, of any length: start with a step of at most 1.
    size = min(1.0, 1.0 / float(direction.norm())) if first else 1.0
    low, high = 0.0, float("inf")
    # Near the optimum the decrease drowns in rounding; the slope alone then decides (Hager and Zhang 2005).
    rounding = _ROUNDING * abs(loss)
    for _ in range(60):
        trial = matrix + size * direction
        trial_loss, trial_gradient = objective(trial)
        trial_slope = float((trial_gradient * direction).sum())
        if not trial_loss <= loss + 1e-4 * size * slope + rounding:
            high = size
        elif trial_slope < 0.9 * slope:
            low = size
        else:
            return trial, trial_loss, trial_gradient
        size = (low + high) / 2 if high < float("inf") else 2 * size
    return None
