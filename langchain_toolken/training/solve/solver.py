"""Solve for the toolken matrix that minimises the papers' cross-entropy plus the pull to the prior.

The objective is `objective.Objective`. For lam > 0 it is strongly convex, so there is one optimum, whatever the start.
Each round computes the exact gradient over all positions, minimises a cheap model of the objective around that point
(`local_model`: a sample of the word positions, bfloat16 products) by L-BFGS, preconditioned near the optimum
(`row_curvature`), and moves there if the loss falls. Otherwise the next model gets a larger sample, up to all
positions. Only the exact gradient decides about convergence.

Peak memory in addition to the features and the prior (`peak_bytes`), with K tools, size d, N positions, C of which
are calls:

    L-BFGS      K d (120 + 8 P + 16 max(3, P / 4) + 12 m) + 16 m^2 K + n (4 K + 8 d) bytes, with P = 2^26 / (K d) pairs
                (at least 3, at most 40), m = 2^23 / (K d) positions of each row's curvature (at most 16) and
                n = max(C + 4,096, 2^27 / K) positions in the model (at most N)
    stochastic  12 K d (16 with a start) + m (12 K + 16 d) bytes, with m = max(256, 2^20 / max(K, d))

plus 64 N bytes and 64 MB for either. These are bounds: L-BFGS takes 80 + 8 P instead of the first bracket as long as
no model fails, and n (2 K + 6 d) with bfloat16. Features on disk (`features.store`) are read in pieces; the operating
system frees the pages it caches when memory is needed.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.solve.lbfgs import CurvaturePairs, minimise
from langchain_toolken.training.solve.local_model import LocalModel, products_dtype, sample_positions
from langchain_toolken.training.solve.objective import CHUNK_ELEMENTS, Objective, SolveError, check_problem, chunk_rows
from langchain_toolken.training.solve.row_curvature import kept_positions
from langchain_toolken.training.solve.stochastic import BATCH, StochasticState

# With at most this many multiplications per evaluation the model keeps all positions and float32 products: a sample or
# bfloat16 would save milliseconds.
_SMALL = 1 << 28
# With float32 products gradients are exact to about 1e-6 of the prior's, so tighter tolerances get float64 products.
_FLOAT32_TOLERANCE = 1e-5
# The default tolerance of small problems, and of larger ones, where 1e-5 costs much and changes next to nothing.
_SMALL_TOLERANCE = 1e-5
_LARGE_TOLERANCE = 1e-4
# Elements of the model's shares (positions x tools): 256 MB in bfloat16.
_MODEL_ELEMENTS = 1 << 27
# Word positions in the first model: as many as calls, but at least _LEAST_WORDS and, unless the start is near the
# optimum, at least _LEAST_SHARE of all positions. With that share, a round's evaluations of the model cost about as
# much as its exact gradient; with fewer, a solve from the prior may not converge.
_LEAST_WORDS = 4096
_LEAST_SHARE = 1 / 6
# If the gradient falls to no less than this part in a round, the next model gets twice as many word positions.
_SHARP = 1 / 3
# Near the optimum: below this part of the gradient at the prior, shares and curvature hardly change any more.
_NEAR = 0.1
# Curvature pairs that L-BFGS remembers: at most _PAIRS, at least _LEAST_PAIRS, and together at most _PAIRS_ELEMENTS
# floats (512 MB) at 2 K d each. More pairs save few steps.
_PAIRS = 40
_LEAST_PAIRS = 3
_PAIRS_ELEMENTS = 1 << 27
# How far a model is minimised, relative to the exact gradient at its start. Near the optimum, models of a sample are
# minimised less, because the sample's error dominates. No model is minimised below _AIM times the final target.
_MODEL_TOLERANCE = 0.1
_NEAR_TOLERANCE = 0.2
_AIM = 0.8

# A round on exact gradients fails if it neither halves the gradient nor lowers the loss by this part; after three
# failures the solve stops.
_GAIN = 1e-6
# The stochastic solver takes toolken matrices of more elements than this (L-BFGS would need 5 GB in float64), and
# problems with more than this many calls x tools (4 GB of shares in bfloat16).
_STOCHASTIC_MATRIX = 1 << 26
_STOCHASTIC_SHARES = 1 << 31
# After this many undone epochs in a row, each with a quarter of the previous step size, only rounding errors are left.
_UNDONE = 8


class ConvergenceWarning(UserWarning):
    """The solver stopped before the gradient was small enough, or the optimum may not be unique."""


def choose_solver(tools: int, size: int, calls: int) -> Literal["lbfgs", "stochastic"]:
    """Return the solver that "auto" stands for.

    It is the stochastic one for more than 2^26 elements of the toolken matrix, or 2^31 calls x tools.

    Args:
        tools: K.
        size: d.
        calls: Number of positions that call a tool.
    """
    large = tools * size > _STOCHASTIC_MATRIX or calls * tools > _STOCHASTIC_SHARES
    return "stochastic" if large else "lbfgs"


def peak_bytes(
    tools: int,
    size: int,
    positions: int,
    calls: int,
    *,
    solver: Literal["auto", "lbfgs", "stochastic"] = "auto",
    start: bool = False,
) -> int:
    """Return a bound on the memory that `solve` takes in addition to the features and the prior.

    The formulas are in the module's docstring.

    Args:
        tools: K.
        size: d.
        positions: N.
        calls: Number of positions that call a tool.
        solver: As for `solve`.
        start: Whether `solve` is given a start.
    """
    every = 64 * positions + 64 * CHUNK_ELEMENTS
    if (choose_solver(tools, size, calls) if solver == "auto" else solver) == "stochastic":
        rows = min(positions, max(BATCH, chunk_rows(tools, size)))
        return every + (16 if start else 12) * tools * size + rows * (12 * tools + 16 * size)
    pairs = _pairs(tools, size)
    kept = min(positions, max(calls + _LEAST_WORDS, _MODEL_ELEMENTS // tools))
    curved = kept_positions(tools, size)
    copies = 120 + 8 * pairs + 16 * max(_LEAST_PAIRS, pairs // 4) + 12 * curved
    return every + copies * tools * size + 16 * curved**2 * tools + kept * (4 * tools + 8 * size)


def _pairs(tools: int, size: int) -> int:
    return max(_LEAST_PAIRS, min(_PAIRS, _PAIRS_ELEMENTS // (2 * tools * size)))


@dataclass(frozen=True, eq=False)
class Solution:
    """The result of a solve.

    Attributes:
        matrix: The toolken matrix, (K, d) float32.
        loss: The objective at `matrix`.
        gradient_norm: The norm of its gradient at `matrix`.
        start_gradient_norm: The norm of its gradient at the prior.
        iterations: L-BFGS steps on all models together, or epochs of the stochastic solver.
        converged: Whether `gradient_norm` is small enough.
        seconds: Duration.
        full_passes: Evaluations over all positions.
        sampled: Positions in the last model.
    """

    matrix: Tensor
    loss: float
    gradient_norm: float
    start_gradient_norm: float
    iterations: int
    converged: bool
    seconds: float
    full_passes: int = 0
    sampled: int = 0


def solve(
    features: Features,
    prior: Tensor,
    lam: float,
    *,
    bias: float = 0.0,
    start: Tensor | None = None,
    reference_norm: float | None = None,
    tolerance: float | None = None,
    max_iterations: int = 1000,
    solver: Literal["auto", "lbfgs", "stochastic"] = "auto",
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Solution:
    """Find the toolken matrix that minimises the objective.

    The solve has converged when the norm of the gradient over all positions is at most `tolerance` times its norm *at
    the prior*, so that the required precision doesn't depend on the start. `peak_bytes` bounds the memory.

    lam=0 is allowed, with a warning: with more dimensions than positions there are many optima or, if the positions can
    be separated perfectly, none.

    Args:
        features: The features.
        prior: W0, (K, d) float32.
        lam: λ, the weight of the pull to the prior.
        bias: b, added to every toolken's logit and held fixed.
        start: Where to start, (K, d); None: at the prior. It changes the time, not the optimum; for warm starts along a
            path of λ.
        reference_norm: The gradient's norm at the prior, if an earlier solve found it (`Solution.start_gradient_norm`);
            it is the same for every λ. Saves a pass.
        tolerance: See above. None: 1e-5 for problems of up to 2^28 multiplications per evaluation (positions x tools x
            d), 1e-4 for larger ones.
        max_iterations: Most L-BFGS steps, on all models together, or most epochs of the stochastic solver.
        solver: "stochastic" is for problems that L-BFGS has no memory for; it is slower and finds the same optimum.
            "auto" chooses by size (`choose_solver`).
        device: Where to compute; it needs float64.
        progress: Called with (done, total, what).

    Raises:
        SolveError: The shapes don't fit together, `lam` is negative, or there are values that aren't finite.

    Warns:
        ConvergenceWarning: The solve stopped for another reason than convergence, or `lam` is 0.
    """
    began = time.perf_counter()
    if lam == 0:
        warnings.warn(
            "lam=0 removes the pull to the prior: there may be no unique optimum, and toolkens may grow without "
            "bound. Use a small lam such as 1e-6 instead.",
            ConvergenceWarning,
            stacklevel=2,
        )
    check_problem(features, prior, lam)
    tools, size = prior.shape
    small = len(features) * tools * size <= _SMALL
    if tolerance is None:
        tolerance = _SMALL_TOLERANCE if small else _LARGE_TOLERANCE
    if solver == "auto":
        solver = choose_solver(tools, size, features.tool_positions)
    if solver == "stochastic":
        return _solve_stochastically(
            features, prior, lam, bias, start, reference_norm, tolerance, max_iterations, device, progress
        )
    precision = torch.float64 if small or tolerance < _FLOAT32_TOLERANCE else torch.float32
    dtype = torch.float32 if small else products_dtype(device)
    objective = Objective(features, prior, lam, bias, device, precision)
    passes = 0
    if start is None or reference_norm is None:
        matrix = prior.double().clone().to(device)
        here = objective.evaluate(matrix)
        passes, reference_norm = 1, float(here.gradient.norm())
    if start is not None:
        matrix = start.double().clone().to(device)
        here = objective.evaluate(matrix)
        passes += 1
    norm = float(here.gradient.norm())
    if not (torch.isfinite(here.gradient).all() and reference_norm < float("inf")):
        raise SolveError("the features, the prior or the start hold values that are not finite")
    target = tolerance * reference_norm

    words = most_words = features.word_positions
    if not small:
        calls = features.tool_positions
        most_words = min(words, max(_LEAST_WORDS, _MODEL_ELEMENTS // tools - calls))
        share = 0 if norm <= _NEAR * reference_norm else _LEAST_SHARE
        words = min(most_words, max(_LEAST_WORDS, calls, int(share * len(features))))
    curvature = CurvaturePairs(_pairs(tools, size))
    iterations = failures = sampled = 0
    # If even the largest model fails (far from the optimum, shares may not fit into float32), L-BFGS gets the
    # objective's own gradients until a round succeeds.
    exact = False

    def step_done() -> None:
        nonlocal iterations
        iterations += 1
        if progress is not None:
            progress(min(iterations, max_iterations - 1), max_iterations, "solve")

    while norm > target and iterations < max_iterations and failures < 3:
        whole, near = words >= features.word_positions, norm <= _NEAR * reference_norm
        close = _NEAR_TOLERANCE if near and not whole else _MODEL_TOLERANCE
        if exact:
            sampled = len(features)
            found = minimise(
                lambda change, at=matrix: objective(at + change)[1],  # type: ignore[misc]
                torch.zeros_like(matrix),
                max(_AIM * target, _MODEL_TOLERANCE * norm),
                # These pairs are float64 and in addition to the others; a quarter as many do for such short rounds.
                CurvaturePairs(max(_LEAST_PAIRS, curvature.most // 4)),
                max_steps=max_iterations - iterations,
                step_done=step_done,
            )
            passes += found.evaluations
        else:
            kept, weight = sample_positions(features, here.mass, words, seed=passes)
            sampled = len(kept)
            model = LocalModel(objective, features, kept, weight, matrix, here, dtype)
            found = minimise(
                model,
                torch.zeros_like(prior, dtype=torch.float32, device=matrix.device),
                max(_AIM * target, close * norm),
                curvature,
                max_steps=max_iterations - iterations,
                step_done=step_done,
                precondition=model.row_curvature() if near else None,
            )
        tried = matrix + found.at.double()
        there, passes = objective.evaluate(tried), passes + 1
        new_norm = float(there.gradient.norm())
        better = there.loss < here.loss or new_norm < norm
        if better and new_norm <= 0.5 * norm:
            failures, exact = 0, False
            if new_norm > _SHARP * norm:
                words = min(2 * words, most_words)
        elif words < most_words:
            words = min(4 * words, most_words)
        else:
            gained = better and here.loss - there.loss > _GAIN * abs(here.loss)
            failures += exact and not gained
            exact, dtype = True, torch.float32
        if better:
            matrix, here, norm = tried, there, new_norm
    if progress is not None:
        progress(max_iterations, max_iterations, "solve")
    converged = norm <= target
    if not converged:
        _warn(f"{iterations} of at most {max_iterations} iterations", norm, reference_norm, tolerance)
    return Solution(
        matrix=matrix.float().cpu(),
        loss=here.loss,
        gradient_norm=norm,
        start_gradient_norm=reference_norm,
        iterations=iterations,
        converged=converged,
        seconds=time.perf_counter() - began,
        full_passes=passes,
        sampled=sampled,
    )


def _solve_stochastically(
    features: Features,
    prior: Tensor,
    lam: float,
    bias: float,
    start: Tensor | None,
    reference_norm: float | None,
    tolerance: float,
    max_epochs: int,
    device: torch.device | str,
    progress: Progress | None,
) -> Solution:
    began = time.perf_counter()
    prior = prior.float().to(device)
    passes = 0
    if start is not None and reference_norm is None:
        reference_norm = StochasticState(features, prior, lam, bias, prior).norm
        passes = 1
    state = StochasticState(features, prior, lam, bias, prior if start is None else start.float().to(device))
    passes += 1
    if reference_norm is None:
        reference_norm = state.norm
    if not (state.norm < float("inf") and reference_norm < float("inf")):
        raise SolveError("the features, the prior or the start hold values that are not finite")
    epochs = undone = 0
    while state.norm > tolerance * reference_norm and epochs < max_epochs and undone < _UNDONE:
        undone = 0 if state.epoch() else undone + 1
        passes += 1 if not undone else 2
        epochs += 1
        if progress is not None:
            progress(min(epochs, max_epochs - 1), max_epochs, "solve")
    if progress is not None:
        progress(max_epochs, max_epochs, "solve")
    converged = state.norm <= tolerance * reference_norm
    if not converged:
        _warn(f"{epochs} of at most {max_epochs} epochs", state.norm, reference_norm, tolerance)
    return Solution(
        matrix=state.anchor.cpu(),
        loss=state.loss,
        gradient_norm=state.norm,
        start_gradient_norm=reference_norm,
        iterations=epochs,
        converged=converged,
        seconds=time.perf_counter() - began,
        full_passes=passes,
        sampled=len(features),
    )


def _warn(after: str, norm: float, reference_norm: float, tolerance: float) -> None:
    warnings.warn(
        f"the solve stopped after {after} with a gradient norm of {norm:.3g}, {norm / reference_norm:.3g} of that at "
        f"the prior; the tolerance is {tolerance:.3g}. Raise max_iterations or lam.",
        ConvergenceWarning,
        stacklevel=3,
    )


def solve_device(lm: LanguageModel) -> torch.device:
    """Where to solve: on a CUDA device if the LM is on one, else on the CPU.

    Other devices have no float64, or a slower one than the CPU's.
    """
    return lm.device if lm.device.type == "cuda" else torch.device("cpu")
