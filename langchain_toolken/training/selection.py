"""λ and the kind of prior by cross-validation on cached features (DESIGN §2): no further LM pass, a few solves' time.

TokenLearning (arXiv 2506.14248) gives the best λ per task and leaves open how to choose it. Here each λ's toolkens are
fitted without a fold of the demonstrations and judged on it, from the largest λ down, each solve starting where the one
before it ended (as in glmnet, Friedman et al. 2010, §2.5). The logits of the held-out folds then also calibrate the
bias and the temperature (`calibration`), so nothing is calibrated on what it was fitted on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from langchain_toolken.training.calibration import CallFigures, best_f1_bias, call_figures
from langchain_toolken.training.features import Features, Progress
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

    path: in the order of the solves; empty if the data was too small to choose. logits: (N, K) float32, held-out logits
    of the chosen λ and prior, and folds: (N,) int64, which fold a position was held out in; None where nothing was.
    note: why nothing could be chosen and the defaults stand, else "".
    """

    lam: float
    prior: str
    path: tuple[PathPoint, ...]
    logits: Tensor | None
    folds: Tensor | None
    seconds: float
    note: str = ""


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
    """The λ and the prior with the smallest mean held-out loss; within 1% of it, the larger λ and the earlier prior.

    priors: candidates by name, (K, d) each, the default first. The first walks the whole path of `lams`; the others are
    tried at the λ that served it best, from its solutions. On FuncQA with two LMs, walking all priors' paths leads to
    the same λ, and so do solves a hundred times as exact.
    The rule is the smallest loss, not the largest λ within a standard error of it: on FuncQA with two LMs it picks the
    λ with the best top-1 and F1 of held-out calls too.

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
        return Selection(lam, first, (), None, None, time.perf_counter() - began, note)

    fold = assign_folds(features, folds, seed)
    path = sorted(set(lams), reverse=True)
    total = folds * (len(path) + len(others))
    points: list[PathPoint] = []
    matrices: dict[tuple[str, float], list[Tensor]] = {}

    def walk(prior: str, along: Sequence[float], starts: Sequence[Tensor | None]) -> None:
        solutions: dict[float, list[Solution]] = {lam: [] for lam in along}
        for number, start in enumerate(starts):
            train = features.rows(fold != number)
            for lam in along:
                solution = solve(
                    train,
                    priors[prior],
                    lam,
                    bias=bias,
                    start=start,
                    tolerance=tolerance,
                    max_iterations=max_iterations,
                    device=device,
                )
                start = solution.matrix
                solutions[lam].append(solution)
                if progress is not None:
                    done = len(points) * folds + sum(len(found) for found in solutions.values())
                    progress(min(done, total - 1), total, "choose λ and prior" if others else "choose λ")
        for lam, found in solutions.items():
            matrices[prior, lam] = [solution.matrix for solution in found]
            logits = held_out_logits(features, fold, matrices[prior, lam], bias)
            points.append(_judge(features, logits, prior, lam, sum(s.iterations for s in found)))

    walk(first, path, [None] * folds)
    lam = _best(points).lam
    for prior in others:
        walk(prior, [lam], [matrix + (priors[prior] - priors[first]) for matrix in matrices[first, lam]])
    if progress is not None:
        progress(total, total, "choose λ and prior" if others else "choose λ")
    best = _best(points)
    logits = held_out_logits(features, fold, matrices[best.prior, best.lam], bias)
    return Selection(best.lam, best.prior, tuple(points), logits, fold, time.perf_counter() - began)


def _best(points: Sequence[PathPoint]) -> PathPoint:
    """The smallest loss; of those within `_TIE` of it, the first: the larger λ, and the earlier prior."""
    least = min(point.loss for point in points)
    return next(point for point in points if point.loss <= least * (1 + _TIE))


def held_out_logits(features: Features, fold: Tensor, matrices: Sequence[Tensor], bias: float) -> Tensor:
    """Toolken logits (N, K) float32 of every position, from the matrix (K, d) that was fitted without its fold."""
    logits = torch.empty(len(features), matrices[0].shape[0])
    for number, matrix in enumerate(matrices):
        inside = fold == number
        logits[inside] = features.hidden[inside] @ matrix.T + bias
    return logits


def _judge(features: Features, logits: Tensor, prior: str, lam: float, iterations: int) -> PathPoint:
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
        iterations=iterations,
    )
