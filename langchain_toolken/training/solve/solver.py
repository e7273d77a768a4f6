"""The convex solve (DESIGN §2): the toolken matrix that minimises the papers' cross-entropy plus the pull to the prior.

The objective is `objective`'s. For lam > 0 it is strongly convex: one optimum, whatever the start. Each round measures
the true gradient over all positions, minimises a cheap model of the objective around that point (`local_model`: a
sample of the word positions, bfloat16 products) by L-BFGS, near the optimum preconditioned (`row_curvature`), and
moves there if the loss falls; else the next model gets a larger sample, in the end all positions. Only the true
gradient decides when it is done.

What it takes at most beside the features and the prior (`peak_bytes`), with K tools, size d, N positions, C of which
call:

    L-BFGS      K d (120 + 8 P + 16 max(3, P / 4) + 12 m) + 16 m^2 K + n (4 K + 8 d) bytes, with P = 2^26 / (K d) pairs
                (at least 3, at most 40), m = 2^23 / (K d) positions of each row's curvature (at most 64) and
                n = max(C + 4,096, 2^27 / K) positions in the model (at most N)
    stochastic  12 K d (16 with a start) + m (12 K + 16 d) bytes, with m = max(256, 2^20 / max(K, d))

and for either 64 N and 64 MB. L-BFGS takes 80 + 8 P instead as long as no model fails, and 2 K + 6 d with bfloat16.
Features that stay on disk (`feature_store`) are read in pieces; what the system keeps of them in memory, it gives back.

Measured (benchmarks/scale.py): 2,000 tools of d=512 and 8,000 positions, L-BFGS, held 529 MB where this says
878; 47,000 tools of d=4,096 and 2,048 positions, stochastic, 2,406 MB where this says 2,539.
"""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from langchain_toolken.progress import Progress
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.solve.lbfgs import CurvaturePairs, minimise
from langchain_toolken.training.solve.local_model import LocalModel, products_dtype, sample_positions
from langchain_toolken.training.solve.objective import CHUNK_ELEMENTS, Objective, SolveError, check_problem, chunk_rows
from langchain_toolken.training.solve.row_curvature import kept_positions
from langchain_toolken.training.solve.stochastic import BATCH, StochasticState

# Below so many multiplications per evaluation (FuncQA has 6e7) all positions stay in the model and products are
# float32: a sample or bfloat16 would save milliseconds.
_SMALL = 1 << 28
# Gradients are exact to about 1e-6 of the prior's with float32 products: closer tolerances get float64 ones.
_FLOAT32_TOLERANCE = 1e-5
# What converged means by default, for problems of that size and for larger ones, where it is dear: SimpleToolQuestions'
# loss at 1e-5 differs from that at 1e-4 in the sixth digit, and one of its 1,709 questions gets another tool.
_SMALL_TOLERANCE = 1e-5
_LARGE_TOLERANCE = 1e-4
# Elements of the model's shares (positions x tools): 256 MB in bfloat16.
_MODEL_ELEMENTS = 1 << 27
# Word positions in the first model: as many as call, but at least so many and, unless the start is near, this part of
# all positions. A round is some 30 evaluations of the model and one, four times as dear per position, of all positions:
# then both cost the same. (KAMEL-234 from the prior doesn't converge with as many as call.) A model that was off by
# more than this part of the gradient it started from gets twice as many the next time.
_LEAST_WORDS = 4096
_LEAST_SHARE = 1 / 6
_SHARP = 1 / 3
# Near: at this part of the gradient at the prior, shares are about what they will be, and so is curvature.
_NEAR = 0.1
# Curvature pairs that L-BFGS remembers. FuncQA converges in 167, 126, 110 steps with 20, 40, 60 of them (lam 1e-4).
# Together they hold at most so many floats (512 MB): 2 K d each.
_PAIRS = 40
_LEAST_PAIRS = 3
_PAIRS_ELEMENTS = 1 << 27
# How far a model is minimised, relative to the true gradient it starts from; near the optimum a model of a sample less,
# since there the sample's error is what is left. And never further than this part of what is asked of the gradient.
_MODEL_TOLERANCE = 0.1
_NEAR_TOLERANCE = 0.2
_AIM = 0.8

# A round of true gradients that lowers the loss by less than that, relative to itself, and doesn't halve the gradient
# is a failure; after three the solve gives up.
_GAIN = 1e-6
# Toolken matrices of more elements (a state of 5 GB in float64) go to the stochastic solver, and so do problems with
# more than so many calls x tools (4 GB of shares in bfloat16).
_STOCHASTIC_MATRIX = 1 << 26
_STOCHASTIC_SHARES = 1 << 31
# Epochs in a row that are undone, each at a quarter of the step before, after which rounding is all that is left.
_UNDONE = 8


class ConvergenceWarning(UserWarning):
    """The solver stopped before the gradient was small enough, or the optimum may not be unique."""


def choose_solver(tools: int, size: int, calls: int) -> Literal["lbfgs", "stochastic"]:
    """Which solver takes `tools` toolkens of `size` numbers, called at `calls` positions, where none is named.

    The stochastic one for more than 2^26 elements of the toolken matrix, or 2^31 calls x tools.
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
    """The most memory that `solve` takes beside the features and the prior, by the formulas at the module's head.

    positions: N; calls: how many of them call a tool. start: whether one is given.
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
    """The optimum. matrix: (K, d) float32. loss, gradient_norm: there. start_gradient_norm: at the prior.

    iterations: L-BFGS steps on models. full_passes: evaluations over all positions. sampled: positions in the last
    model.
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
    """The toolken matrix (K, d) that minimises the objective, from `start` (default: the prior).

    prior: (K, d) float32, W0. lam: weight of the pull to it. bias: b, held fixed. `start` is for warm starts along a
    path of lam; it doesn't change the optimum, only the time. reference_norm: the gradient's norm at the prior, which
    is the same for every lam, where an earlier solve has found it (`Solution.start_gradient_norm`): saves a pass.
    device: where the sums are made; it needs float64.

    Converged means: the gradient's norm over all positions is at most `tolerance` times its norm *at the prior*, so
    that a good start is not asked for more than a bad one. The default is 1e-5 for problems of up to 2^28
    multiplications an evaluation (positions x tools x d; KAMEL-30 has 2.2e8), and 1e-4 for larger ones. Stopping for
    any other reason is warned about with the norms (ConvergenceWarning) and leaves `converged` False. max_iterations:
    L-BFGS steps, all models together; of the stochastic solver, epochs.

    solver: "stochastic" (`stochastic`) for what doesn't fit: slower, to the same optimum. "auto" is `choose_solver`'s.
    Peak memory: `peak_bytes`.

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
    # Where the largest model fails too (shares that float32 can't hold, far from any optimum), L-BFGS gets the
    # objective's own gradients until one round goes well.
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
                # Of float64, and beside the others: a quarter as many, for rounds that end soon.
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
        f"the prior, where {tolerance:.3g} was asked for. Raise max_iterations or lam.",
        ConvergenceWarning,
        stacklevel=3,
    )
