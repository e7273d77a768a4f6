"""λ and the kind of prior by cross-validation on cached features (DESIGN §2): no further LM pass, a few solves' time.

TokenLearning (arXiv 2506.14248) gives the best λ per task and leaves open how to choose it. Here each λ's toolkens are
fitted without a fold of the demonstrations and judged on it, from the largest λ down, each solve starting where the one
before it ended (as in glmnet, Friedman et al. 2010, §2.5). The logits of the held-out folds then also calibrate the
bias and the temperature (`calibration`), so nothing is calibrated on what it was fitted on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor

from langchain_toolken.training.calibration import CallFigures, best_f1_bias, call_figures
from langchain_toolken.training.features import Features, Progress
from langchain_toolken.training.local_model import products_dtype, sample_positions
from langchain_toolken.training.objective import toolken_mass
from langchain_toolken.training.solver import Solution, solve

# Without enough data to choose: fitted on FuncQA's train set, it puts the right tool first on 37 of FuncQA dev's 39
# calls with two LMs (nano, and another of 11M parameters), where 1e-4 manages 34 and 36 and 1e-3 33 and 36.
DEFAULT_LAM = 1e-5
LAMS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
FOLDS = 5
# Below either, a fold holds too little for its loss to say anything.
MIN_DEMONSTRATIONS = 10
MIN_PER_FOLD = 2
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
# Held-out logits are kept of all positions up to so many elements (64 MB), of the sampled ones beyond.
_LOGIT_ELEMENTS = 1 << 24
# There a step along the path ends when the gradient is this part of what it was at the step's start, but within these
# bounds, relative to the gradient at the prior.
_STEP = 0.1
# And so many of the other priors are tried, those that the fitted toolkens lean to.
_SHORTLIST = 2
_LOOSEST = 1e-2
# Losses nearer than that count as equal: `CV_TOLERANCE` moves them by as much, and on FuncQA the priors made of a
# description and of name and description then change places.
_TIE = 0.01


@dataclass(frozen=True)
class PathPoint:
    """One λ and prior on the held-out folds.

    loss: mean over positions of -log p(the tool called), or of -log p(no call here) where a word follows. It is the
    objective's loss less the words' own, which no toolken changes. error: its standard error, demonstrations being the
    sampled units. calls: at bias 0. best_f1: at the best bias.
    """

    prior: str
    lam: float
    loss: float
    error: float
    calls: CallFigures
    best_f1: float
    iterations: int


@dataclass(frozen=True, eq=False)
class Selection:
    """What was chosen, and why.

    path: in the order of the solves; empty if the data was too small to choose. held_out: the n positions that were
    judged, with their weights: all of them, or a sample of the large problem's; logits: (n, K) float32, theirs, at the
    chosen λ and prior, and folds: (n,) int64, which fold a position was held out in. None where nothing was.
    start: (K, d), a matrix fitted to most of the data with the chosen λ and prior, to begin the solve on
    all of it with; or None.
    note: why nothing could be chosen and the defaults stand, else "".
    """

    lam: float
    prior: str
    path: tuple[PathPoint, ...]
    held_out: Features | None
    logits: Tensor | None
    folds: Tensor | None
    seconds: float
    note: str = ""
    start: Tensor | None = None


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


def select_lam(
    features: Features,
    priors: Mapping[str, Tensor],
    lams: Sequence[float] = LAMS,
    *,
    folds: int = FOLDS,
    seed: int = 0,
    bias: float = 0.0,
    tolerance: float = CV_TOLERANCE,
    max_iterations: int = 1000,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Selection:
    """The λ and the prior with the smallest mean held-out loss among those with the best held-out top-1 tool.

    Best top-1: within one standard error of the highest, calls being the sampled units. Smallest loss: within 1% of it,
    the larger λ and the earlier prior. Loss alone chooses too large a λ where calls are few among words: a sure error
    at one word costs more than several calls gain (FuncQA: 1e-4, with 36 of dev's 39 calls right, not 1e-5 with 37).
    Top-1 alone follows noise.

    priors: candidates by name, (K, d) each, the default first. The first walks the whole path of `lams`; the others are
    tried at the λ that served it best, from its solutions. On FuncQA with two LMs, walking all priors' paths leads to
    the same λ, and so do solves a hundred times as exact.

    What large problems are spared, by their multiplications per evaluation (positions x tools x d):
    above 2^24 the solves see all calls but only a sample of the word positions, drawn by toolken mass and weighted,
    half as many as calls and at least 4,096; what is judged stays all held-out positions if their logits fit 64 MB.
    If even then there are more than 2^29 (KAMEL-234 has 7e8), one fifth of the demonstrations is held out once,
    instead of each fifth in turn; the path ends at the first λ that isn't better; gradients need to fall to 1e-2 of the
    prior's (less where a step along the path begins lower); and only the two priors that the toolkens lean
    to are tried.

    bias: held fixed in every solve. seed: of the folds. tolerance: see `CV_TOLERANCE`. Other arguments: `solve`.

    With fewer than `MIN_DEMONSTRATIONS` demonstrations, or `MIN_PER_FOLD` a fold, or no call at all, nothing is chosen:
    the first prior with `DEFAULT_LAM` (or the only λ given), no held-out logits, and a note that says so.

    Raises ValueError for no priors, no lams, or fewer than 2 folds; SolveError as `solve` does.
    """
    if not priors or not lams or folds < 2:
        raise ValueError(f"{len(priors)} priors, {len(lams)} lams and {folds} folds: give 1, 1 and 2 at least")
    began = time.perf_counter()
    first, *others = priors
    found = int(features.demonstration.unique().numel())
    needed = max(MIN_DEMONSTRATIONS, MIN_PER_FOLD * folds)
    if found < needed or not features.tool_positions:
        lam = lams[0] if len(lams) == 1 else DEFAULT_LAM
        why = f"{found} demonstrations, {needed} are needed" if found < needed else "no demonstration calls a tool"
        note = f"too little data for cross-validation ({why}): lam={lam:g}, prior {first}, nothing calibrated"
        return Selection(lam, first, (), None, None, None, time.perf_counter() - began, note)

    work = _CrossValidation(features, priors[first], folds, seed, bias, tolerance, max_iterations, device)
    path = sorted(set(lams), reverse=True)
    total = work.folds_held_out * (len(path) + len(others))
    what = "choose λ and prior" if others else "choose λ"
    done = 0
    points: list[PathPoint] = []
    matrices: dict[tuple[str, float], list[Tensor]] = {}

    def fit(prior: str, lam: float, starts: Sequence[Tensor] | None) -> None:
        nonlocal done

        def one_done() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(min(done, total - 1), total, what)

        solutions = work.fit(priors[prior], lam, starts, one_done)
        matrices[prior, lam] = [solution.matrix for solution in solutions]
        points.append(_judge(work.held_out, work.logits(matrices[prior, lam]), prior, lam, solutions))

    starts = None
    calls = work.held_out.tool_positions
    for lam in path:
        fit(first, lam, starts)
        starts = matrices[first, lam]
        if work.once and len(points) > 1 and _best(points, calls) is not points[-1]:
            break
    lam = _best(points, calls).lam
    if work.once:
        others = _nearest(matrices[first, lam][0], priors, others)[:_SHORTLIST]
        total = done + len(others)
    for prior in others:
        fit(prior, lam, [matrix + (priors[prior] - priors[first]) for matrix in matrices[first, lam]])
    if progress is not None:
        progress(total, total, what)
    best = _best(points, calls)
    found_matrices = matrices[best.prior, best.lam]
    return Selection(
        lam=best.lam,
        prior=best.prior,
        path=tuple(points),
        held_out=work.held_out,
        logits=work.logits(found_matrices),
        folds=work.held_out_folds,
        seconds=time.perf_counter() - began,
        start=found_matrices[0],
    )


def _nearest(matrix: Tensor, priors: Mapping[str, Tensor], others: Sequence[str]) -> list[str]:
    """The other priors, those first that the data pulled `matrix`, (K, d), fitted with the first prior, towards most.

    By the envelope theorem the optimum's change on going from W0 to W0' is -2 lam <W - W0, W0' - W0> to first order.
    Per length of the way there, so that a far prior has no advantage.
    """
    here = next(iter(priors.values()))

    def pull(prior: str) -> float:
        way = priors[prior] - here
        return float(((matrix - here) * way).sum() / way.norm())

    return sorted(others, key=pull, reverse=True)


class _CrossValidation:
    """What all solves of a selection share: which positions are fitted on, and which judged, fold by fold."""

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
        sampled = features if len(positions) == len(features) else replace(features.rows(positions), weight=weight)
        self.once = len(positions) * tools * size > _HELD_OUT_ONCE
        self.folds_held_out = 1 if self.once else folds
        self._fitted = [sampled.rows(fold[positions] != number) for number in range(self.folds_held_out)]
        judged = (fold < self.folds_held_out).nonzero()[:, 0]
        if len(judged) == len(features):
            self.held_out, self.held_out_folds = features, fold
        elif len(judged) * tools <= _LOGIT_ELEMENTS:
            self.held_out, self.held_out_folds = features.rows(judged), fold[judged]
        else:
            inside = fold[positions] < self.folds_held_out
            self.held_out, self.held_out_folds = sampled.rows(inside), fold[positions][inside]
        self._lam = float("nan")
        self._norm: float | None = None
        self._bias, self._tolerance, self._max_iterations, self._device = bias, tolerance, max_iterations, device

    def fit(
        self, prior: Tensor, lam: float, starts: Sequence[Tensor] | None, one_done: Callable[[], None]
    ) -> list[Solution]:
        """One solution per fold held out. Folds share most of their data: each follows the way the first one went."""
        solutions: list[Solution] = []
        tolerance = self._tolerance
        if self.once:
            # Changing lam alone changes the gradient by 2 (lam' - lam) (W - W0).
            tolerance = max(tolerance, _LOOSEST)
            if starts is not None and self._lam != lam:
                slope = 2 * abs(lam - self._lam) * float((starts[0] - prior).norm())
                tolerance = min(tolerance, max(self._tolerance, _STEP * slope / (self._norm or 1.0)))
        for number, features in enumerate(self._fitted):
            start = None if starts is None else starts[number]
            if solutions:
                start = solutions[0].matrix if starts is None else starts[number] + solutions[0].matrix - starts[0]
            solutions.append(
                solve(
                    features,
                    prior,
                    lam,
                    bias=self._bias,
                    start=start,
                    reference_norm=self._norm if self.once else None,
                    tolerance=tolerance,
                    max_iterations=self._max_iterations,
                    device=self._device,
                )
            )
            one_done()
        self._lam, self._norm = lam, solutions[0].start_gradient_norm
        return solutions

    def logits(self, matrices: Sequence[Tensor]) -> Tensor:
        return held_out_logits(self.held_out, self.held_out_folds, matrices, self._bias)


def _best(points: Sequence[PathPoint], calls: int) -> PathPoint:
    """Of the points whose top-1 is within one standard error of the best (`calls` held-out calls), the smallest loss;
    of those within `_TIE` of it, the first: the larger λ, and the earlier prior."""
    top1 = max(point.calls.top1 for point in points)
    good = [point for point in points if point.calls.top1 >= top1 - _error(top1, calls)]
    least = min(point.loss for point in good)
    return next(point for point in good if point.loss <= least * (1 + _TIE))


def _error(share: float, count: int) -> float:
    """The standard error of a share of `count`."""
    return float((share * (1 - share) / max(count, 1)) ** 0.5)


def held_out_logits(features: Features, fold: Tensor, matrices: Sequence[Tensor], bias: float) -> Tensor:
    """Toolken logits (N, K) float32 of every position, from the matrix (K, d) that was fitted without its fold."""
    logits = torch.empty(len(features), matrices[0].shape[0])
    for number, matrix in enumerate(matrices):
        inside = fold == number
        logits[inside] = features.hidden[inside] @ matrix.T + bias
    return logits


def _judge(features: Features, logits: Tensor, prior: str, lam: float, solutions: Sequence[Solution]) -> PathPoint:
    words, weight = features.word_logsumexp.double(), features.weight.double()
    at = logits.double()
    said = torch.where(features.target >= 0, at.gather(1, features.target.clamp(min=0)[:, None])[:, 0], words)
    each = torch.logaddexp(words, at.logsumexp(dim=1)) - said
    loss = float(weight @ each / weight.sum())
    zero = torch.zeros(int(features.demonstration.max()) + 1, dtype=torch.float64)
    influence = zero.index_add(0, features.demonstration, weight * (each - loss)) / weight.sum()
    return PathPoint(
        prior=prior,
        lam=lam,
        loss=loss,
        error=float(influence.square().sum().sqrt()),
        calls=call_figures(features, logits),
        best_f1=call_figures(features, logits, best_f1_bias(features, logits)).f1,
        iterations=sum(solution.iterations for solution in solutions),
    )
