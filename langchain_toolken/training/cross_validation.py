"""Fits without a part of the demonstrations, and what they make of that part (DESIGN §2).

What large problems are spared, by their multiplications per evaluation (positions x tools x d): above 2^24 the fits see
all calls but only a sample of the word positions, drawn by toolken mass and weighted, half as many as calls and at
least 4,096; what is judged stays all held-out positions if their logits fit 64 MB. If even then there are more than
2^29 (KAMEL-234 has 7e8), one fifth of the demonstrations is held out once, instead of each fifth in turn, and gradients
need to fall to 1e-2 of the prior's (less where a step along the path begins lower).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor

from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.solve.local_model import products_dtype, sample_positions
from langchain_toolken.training.solve.objective import toolken_mass
from langchain_toolken.training.solve.solver import Solution, solve

# Of the gradient at the prior. Measured on FuncQA with nano: the losses along the path differ from those at 1e-5 in the
# third digit and the choice is the same, for a third of the steps; at 1e-2 the warm-started path stops moving at 1e-5.
CV_TOLERANCE = 1e-3
# Problems of more multiplications (positions x tools x d) are fitted on a sample of their word positions (all calls and
# so many words per call, at least so many), drawn by toolken mass; and of more than the second even then, on one
# hold-out of a fold instead of all folds, along a path that ends where the loss rises.
_SAMPLED = 1 << 24
_HELD_OUT_ONCE = 1 << 29
_WORDS_PER_CALL = 0.5
_LEAST_WORDS = 4096
# Held-out logits are kept of all positions up to so many elements (64 MB), of the sampled ones beyond; and so many
# elements are read at once.
_LOGIT_ELEMENTS = 1 << 24
# A step along the path ends when the gradient is this part of what it was at the step's start, but within these
# bounds, relative to the gradient at the prior; the loosest holds on the one hold-out of large problems.
_STEP = 0.1
_TIGHTEST = 1e-5
_LOOSEST = 1e-2


def assign_folds(features: Features, folds: int, seed: int) -> Tensor:
    """Which fold each position is held out in, (N,) int64.

    A demonstration's positions share a fold: they are nearly copies of each other. Demonstrations of one tool (a longer
    one counts for its rarest) are dealt out in turn, so that each fold has its share of every tool.
    """
    tools: dict[int, set[int]] = {number: set() for number in features.demonstration.unique().tolist()}
    called = features.target >= 0
    for number, tool in zip(features.demonstration[called].tolist(), features.target[called].tolist(), strict=True):
        tools[number].add(tool)
    counts: dict[int, int] = {}
    for tool in (tool for found in tools.values() for tool in found):
        counts[tool] = counts.get(tool, 0) + 1
    numbers = sorted(tools)
    Random(seed).shuffle(numbers)
    numbers.sort(key=lambda number: min(((counts[tool], tool) for tool in tools[number]), default=(0, -1)))
    fold = torch.full((max(numbers) + 1,), -1, dtype=torch.int64)
    for place, number in enumerate(numbers):
        fold[number] = place % folds
    return fold[features.demonstration]


@dataclass(frozen=True, eq=False)
class Begin:
    """Where solves begin: the matrices, one for each fold, that were fitted with another λ or prior (K, d)."""

    prior: Tensor
    lam: float
    matrices: Sequence[Tensor]


class CrossValidation:
    """What all solves of a selection share: which positions are fitted on, and which judged, fold by fold.

    once: whether one fold is held out instead of each in turn. samples: whether `fit` sees a sample of the word
    positions. held_out: the n positions that are judged, positions: (n,) int64, which they are of all, and
    held_out_folds: (n,) int64, the fold of each.
    """

    def __init__(
        self,
        features: Features,
        prior: Tensor,
        folds: int,
        seed: int,
        bias: float,
        tolerance: float,
        max_iterations: int,
        device: torch.device | str,
    ) -> None:
        tools, size = prior.shape
        fold = assign_folds(features, folds, seed)
        positions, weight = torch.arange(len(features)), features.weight
        if len(features) * tools * size > _SAMPLED:
            words = max(_LEAST_WORDS, int(_WORDS_PER_CALL * features.tool_positions))
            mass = toolken_mass(features, prior, bias, products_dtype(device), device)
            positions, weight = sample_positions(features, mass, words, seed)
        self.samples = len(positions) < len(features)
        sampled = replace(features.subset(positions), weight=weight) if self.samples else features
        self.once = len(positions) * tools * size > _HELD_OUT_ONCE
        self.folds_held_out = 1 if self.once else folds
        self._fitted = [sampled.subset(fold[positions] != number) for number in range(self.folds_held_out)]
        judged = (fold < self.folds_held_out).nonzero()[:, 0]
        if len(judged) == len(features):
            self.held_out, self.positions = features, judged
        elif len(judged) * tools <= _LOGIT_ELEMENTS:
            self.held_out, self.positions = features.subset(judged), judged
        else:
            inside = fold[positions] < self.folds_held_out
            self.held_out, self.positions = sampled.subset(inside), positions[inside]
        self.held_out_folds = fold[self.positions]
        self._tolerances: dict[float, float] = {}
        self._norm: float | None = None
        self._features, self._fold = features, fold
        self._bias, self._tolerance, self._max_iterations, self._device = bias, tolerance, max_iterations, device

    def fit(self, prior: Tensor, lam: float, begin: Begin | None, one_done: Callable[[], None]) -> list[Solution]:
        """One solution per fold held out, each from that fold's own start; as exact as another prior's at this λ.

        Never from another fold's solution, near as it is: that one was fitted on what this one holds out, and a solve
        to `CV_TOLERANCE` ends before it has forgotten it (KAMEL-30, λ=1e-5: a held-out loss of .092, not .132).
        """
        solutions: list[Solution] = []
        tolerance = max(self._tolerance, _LOOSEST) if self.once else self._tolerance
        if begin is not None:
            # What another λ or prior alone changes in the gradient: less than that, or nothing moves.
            at = begin.matrices[0]
            change = 2 * float((lam * (at - prior) - begin.lam * (at - begin.prior)).norm())
            tolerance = min(tolerance, max(_TIGHTEST, _STEP * change / (self._norm or 1.0)))
        tolerance = self._tolerances[lam] = min(tolerance, self._tolerances.get(lam, tolerance))
        for number, features in enumerate(self._fitted):
            solutions.append(
                solve(
                    features,
                    prior,
                    lam,
                    bias=self._bias,
                    start=None if begin is None else begin.matrices[number],
                    reference_norm=self._norm if self.once else None,
                    tolerance=tolerance,
                    max_iterations=self._max_iterations,
                    device=self._device,
                )
            )
            one_done()
        self._norm = solutions[0].start_gradient_norm
        return solutions

    def refit(self, prior: Tensor, lam: float, starts: Sequence[Tensor], one_done: Callable[[], None]) -> list[Tensor]:
        """Matrices (K, d), one per fold held out, fitted to all other positions from those that a sample gave."""
        matrices = []
        for number, start in enumerate(starts):
            solution = solve(
                self._features.subset(self._fold != number),
                prior,
                lam,
                bias=self._bias,
                start=start,
                reference_norm=self._norm,
                tolerance=self._tolerance,
                max_iterations=self._max_iterations,
                device=self._device,
            )
            matrices.append(solution.matrix)
            one_done()
        return matrices

    def logits(self, matrices: Sequence[Tensor]) -> Tensor:
        """Held-out logits (n, K) float32 of those matrices (K, d), one per fold held out."""
        return held_out_logits(self.held_out, self.held_out_folds, matrices, self._bias)


def rows_per_read(matrix: Tensor) -> int:
    """How many hidden states, or logits of them with toolkens (K, d), may be in memory at once."""
    return max(1, _LOGIT_ELEMENTS // max(matrix.shape))


def toolken_logits(features: Features, matrix: Tensor, biases: float | Tensor) -> Tensor:
    """Logits (N, K) float32 of toolken rows (K, d) with one bias or one each, hidden states read chunk by chunk."""
    logits = torch.empty(len(features), matrix.shape[0])
    for part in torch.arange(len(features)).split(rows_per_read(matrix)):
        logits[part] = features.hidden[part] @ matrix.T + biases
    return logits


def held_out_logits(features: Features, fold: Tensor, matrices: Sequence[Tensor], bias: float) -> Tensor:
    """Toolken logits (N, K) float32 of every position, from the matrix (K, d) that was fitted without its fold."""
    logits = torch.empty(len(features), matrices[0].shape[0])
    for number, matrix in enumerate(matrices):
        inside = (fold == number).nonzero()[:, 0]
        logits[inside] = toolken_logits(features.subset(inside), matrix, bias)
    return logits
