"""Fits without a part of the demonstrations, and their logits on that part.

Large problems take less work. Their size is measured in multiplications per evaluation (positions × tools × d):

- Above 2^24, the fits see all calls but only a weighted sample of the word positions, drawn by toolken mass: half as
  many as there are calls, and at least 4,096. All held-out positions are still evaluated if their logits fit in 64 MB.
- As many folds are held out as are together at most 2^31, and at least one: so the work grows with the problem and
  jumps nowhere. With a single fold, gradients need to fall to 1e-2 of the prior's only (less if a step along the path
  begins lower).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor

from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.solve.local_model import products_dtype, sample_positions
from langchain_toolken.training.solve.objective import toolken_mass
from langchain_toolken.training.solve.solver import Solution, solve

# Of the gradient at the prior. Tighter solves take three times the steps for the same choice; with looser ones the
# path stops moving at small λ.
CV_TOLERANCE = 1e-3
# Size (positions × tools × d) above which word positions are sampled, and how large the problems of all folds that are
# held out may be together.
_SAMPLED = 1 << 24
_HELD_OUT = 1 << 31
_WORDS_PER_CALL = 0.5
_LEAST_WORDS = 4096
# Held-out logits of all positions are kept up to this many elements (64 MB), beyond it those of the sample; and this
# many elements are read at once.
_LOGIT_ELEMENTS = 1 << 24
# A step along the path ends when the gradient has fallen to this part of what it was at the step's start, within these
# bounds relative to the gradient at the prior. The loosest one is for the single hold-out of large problems.
_STEP = 0.1
_TIGHTEST = 1e-5
_LOOSEST = 1e-2


def assign_folds(features: Features, folds: int, seed: int) -> Tensor:
    """Assign each position the fold in which it is held out, (N,) int64.

    The positions of a demonstration share a fold, because they are nearly copies of each other. Demonstrations of the
    same tool (the rarest one, if several are called) are dealt out in turn, so that each fold has its share of every
    tool.
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


def judgeable(features: Features, fold: Tensor) -> Tensor:
    """Tell at which positions something can be judged that was fitted without their fold, (N,) bool.

    Not at calls whose tool no other fold (N,) calls: the fit then learned only where that tool is not called.
    """
    calls = (features.target >= 0).nonzero()[:, 0]
    tool = features.target[calls]
    if not len(calls):
        return torch.ones(len(features), dtype=torch.bool)
    there = torch.zeros(int(tool.max()) + 1, int(fold.max()) + 1, dtype=torch.bool)
    there[tool, fold[calls]] = True
    found = torch.ones(len(features), dtype=torch.bool)
    found[calls] = there.sum(dim=1)[tool] > 1
    return found


@dataclass(frozen=True, eq=False)
class Begin:
    """Where solves start: what was fitted with another λ or prior.

    Attributes:
        prior: That prior, (K, d).
        lam: That λ.
        matrices: The solution of each fold, (K, d).
    """

    prior: Tensor
    lam: float
    matrices: Sequence[Tensor]


class CrossValidation:
    """What all solves of a selection share: which positions are fitted on and which are evaluated, fold by fold.

    Args:
        features: All N positions.
        prior: Prior rows (K, d) that decide how words are sampled.
        folds: How many folds.
        seed: Decides which demonstrations share a fold, and the sample.
        bias: Fixed in every solve.
        tolerance: Of the solves, relative to the gradient at the prior.
        max_iterations: See `solve`.
        device: Where to solve.

    Attributes:
        large: Whether less work is taken: word positions are sampled if they are many, and perhaps not each fold is
            held out.
        samples: Whether `fit` sees only a sample of the word positions.
        folds_held_out: How many solves one `fit` takes.
        held_out: The n positions that are evaluated: those that are held out and `judgeable`.
        positions: Which of all positions these are, (n,) int64.
        held_out_folds: The fold of each, (n,) int64.
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
        self.large = len(features) * tools * size > _SAMPLED
        if self.large:
            words = max(_LEAST_WORDS, int(_WORDS_PER_CALL * features.tool_positions))
            mass = toolken_mass(features, prior, bias, products_dtype(device), device)
            positions, weight = sample_positions(features, mass, words, seed)
        self.samples = len(positions) < len(features)
        sampled = replace(features.subset(positions), weight=weight) if self.samples else features
        self.folds_held_out = max(1, min(folds, _HELD_OUT // (len(positions) * tools * size)))
        self._fitted = [sampled.subset(fold[positions] != number) for number in range(self.folds_held_out)]
        known = judgeable(features, fold)
        evaluated = ((fold < self.folds_held_out) & known).nonzero()[:, 0]
        if len(evaluated) == len(features):
            self.held_out, self.positions = features, evaluated
        elif len(evaluated) * tools <= _LOGIT_ELEMENTS:
            self.held_out, self.positions = features.subset(evaluated), evaluated
        else:
            inside = (fold[positions] < self.folds_held_out) & known[positions]
            self.held_out, self.positions = sampled.subset(inside), positions[inside]
        self.held_out_folds = fold[self.positions]
        self._tolerances: dict[float, float] = {}
        self._norm: float | None = None
        self._features, self._fold = features, fold
        self._bias, self._tolerance, self._max_iterations, self._device = bias, tolerance, max_iterations, device

    def fit(self, prior: Tensor, lam: float, begin: Begin | None, one_done: Callable[[], None]) -> list[Solution]:
        """Solve once for each fold held out, at least as exactly as for other priors with the same λ.

        A solve starts from its own fold's solution in `begin`, never from another fold's: that one was fitted on what
        this one holds out, and a solve to `CV_TOLERANCE` ends before it has forgotten it.
        """
        solutions: list[Solution] = []
        once = self.folds_held_out == 1
        tolerance = max(self._tolerance, _LOOSEST) if once else self._tolerance
        if begin is not None:
            # How much the new λ or prior alone changes the gradient; the tolerance must be below it, or nothing moves.
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
                    reference_norm=self._norm if once else None,
                    tolerance=tolerance,
                    max_iterations=self._max_iterations,
                    device=self._device,
                )
            )
            one_done()
        self._norm = solutions[0].start_gradient_norm
        return solutions

    def refit(self, prior: Tensor, lam: float, starts: Sequence[Tensor], one_done: Callable[[], None]) -> list[Tensor]:
        """Fit rows (K, d) for each fold held out to all other positions, starting from those of the sample."""
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
        """Compute held-out logits (n, K) float32 from rows (K, d), one matrix for each fold held out."""
        return held_out_logits(self.held_out, self.held_out_folds, matrices, self._bias)


def rows_per_read(matrix: Tensor) -> int:
    """How many hidden states, or their logits with toolkens (K, d), may be in memory at once."""
    return max(1, _LOGIT_ELEMENTS // max(matrix.shape))


def position_logits(features: Features, matrix: Tensor, biases: float | Tensor) -> Tensor:
    """Compute toolken logits (N, K) float32 of rows (K, d), with one bias for all or one each.

    The hidden states, which may be on disk, are read in chunks.
    """
    logits = torch.empty(len(features), matrix.shape[0])
    for part in torch.arange(len(features)).split(rows_per_read(matrix)):
        logits[part] = toolken_logits(features.hidden[part], matrix, biases)
    return logits


def held_out_logits(features: Features, fold: Tensor, matrices: Sequence[Tensor], bias: float) -> Tensor:
    """Compute toolken logits (N, K) float32, at each position from the rows (K, d) fitted without its fold."""
    logits = torch.empty(len(features), matrices[0].shape[0])
    for number, matrix in enumerate(matrices):
        inside = (fold == number).nonzero()[:, 0]
        logits[inside] = position_logits(features.subset(inside), matrix, bias)
    return logits
