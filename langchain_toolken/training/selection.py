"""Choose λ and the kind of prior by cross-validation on the cached features, without another LM pass.

TokenLearning (arXiv 2506.14248) reports the best λ of each task and leaves open how to choose it. Here the toolkens of
each λ are fitted without one fold of the demonstrations and evaluated on it, from the largest λ down, each solve
starting where the previous one ended (as in glmnet, Friedman et al. 2010, §2.5). The logits of the held-out folds are
then used to calibrate bias and temperature (`calibration`), so nothing is calibrated on what it was fitted on.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.progress import Progress
from langchain_toolken.training.calibration import CallFigures, best_f1_bias, call_figures
from langchain_toolken.training.cross_validation import (
    CV_TOLERANCE,
    Begin,
    CrossValidation,
    assign_folds,
    judgeable,
    rows_per_read,
)
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.solve.solver import Solution

# Used if there is too little data to choose; on FuncQA the best of the path with two LMs.
DEFAULT_LAM = 1e-5
LAMS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
FOLDS = 5
# With fewer, the loss of a fold says nothing.
MIN_DEMONSTRATIONS = 10
MIN_PER_FOLD = 2
# With fewer calls whose tool is called in another fold too, a choice would be noise.
LEAST_JUDGED = 20
# How many of the other priors are tried if the problem is large: the best ones untrained. They must
# have at least this part of the right tools that the best one has.
_SHORTLIST = 2
_NEAR_BEST = 0.5


@dataclass(frozen=True)
class PathPoint:
    """One λ and prior on the held-out folds.

    The fits of large problems see a sample of the words only and make more false calls than the calibrated set will, so
    compare points with each other only.

    Attributes:
        prior: The prior's name.
        lam: λ.
        loss: Mean over positions of -log p(the tool called), or of -log p(no call) where a word follows. It is the
            objective's loss without the words' own part, which no toolken changes.
        error: The loss's standard error, with demonstrations as the sampled units.
        calls: Figures of the calls at bias 0.
        best_f1: F1 at the best bias.
        iterations: Iterations of the solves of all folds.
        untrained: Share of all calls whose tool the prior puts first without training.
    """

    prior: str
    lam: float
    loss: float
    error: float
    calls: CallFigures
    best_f1: float
    iterations: int
    untrained: float


@dataclass(frozen=True, eq=False)
class Selection:
    """What was chosen, and why.

    Attributes:
        lam: The chosen λ.
        prior: The chosen prior's name.
        path: What was tried, in order; empty if there was too little data to choose.
        held_out: The n held-out positions, with their weights: all positions, or a sample if the problem is large.
            None, as the next three, if nothing was held out.
        positions: Which of the given positions these are, (n,) int64.
        logits: Their toolken logits at the chosen λ and prior, (n, K) float32.
        folds: The fold in which each was held out, (n,) int64.
        seconds: Wall clock.
        note: Why nothing could be chosen and the defaults are used, else "".
        start: Rows (K, d) fitted with the chosen λ and prior to the demonstrations outside of the first fold, to start
            the solve on all of them from; or None.
    """

    lam: float
    prior: str
    path: tuple[PathPoint, ...]
    held_out: Features | None
    positions: Tensor | None
    logits: Tensor | None
    folds: Tensor | None
    seconds: float
    note: str = ""
    start: Tensor | None = None


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
    """Choose λ and prior by cross-validation.

    The priors are ranked by the share of calls that they put right untrained. The first walks the whole path of `lams`;
    the others are tried at the λ that was best for it, starting from its solutions.

    The chosen λ has the smallest held-out loss among those whose F1, each at its best bias, is within one standard
    error of the highest. F1, because the bias is calibrated afterwards: loss at the bias of the fit chooses too large a
    λ if calls are few among words, because it counts confident errors that a bias would undo. F1 alone follows noise.

    The chosen prior is the first in rank whose held-out top-1 is within one standard error of the highest. Once
    trained, priors differ little on demonstrations like those they were trained on, but much on other texts, where the
    untrained rank is the better guide.

    Large problems take less work (`cross_validation`): the path ends at the first λ that is no better, and only the
    next two priors in rank are tried, if they put at least half as many calls right untrained as the best. What was
    chosen on a sample of the word positions is fitted again to all of them, still without the folds, to get the logits
    for the calibration: a sample misses false calls, and the bias would become too low.

    Args:
        features: Features of the N positions.
        priors: Candidate rows (K, d) by name; if two rank equal, the first one given wins.
        lams: Values of λ to try.
        folds: How many folds.
        seed: Decides which demonstrations share a fold.
        bias: Fixed in every solve.
        tolerance: See `CV_TOLERANCE`.
        max_iterations: See `solve`.
        device: Where to solve.
        progress: Called with (done, total, what).

    Returns:
        The choice. With fewer than `MIN_DEMONSTRATIONS` demonstrations, fewer than `MIN_PER_FOLD` per fold, or no call
        at all, it is the first prior with `DEFAULT_LAM` (or the only λ given), without held-out logits, and a note. So
        it is, but with the prior that ranks first, where most calls' tools are called once only, which leaves less than
        `LEAST_JUDGED` calls to judge by.

    Raises:
        ValueError: No priors, no lams, or fewer than 2 folds.
        SolveError: A solve failed.
    """
    if not priors or not lams or folds < 2:
        raise ValueError(f"{len(priors)} priors, {len(lams)} lams and {folds} folds: give at least 1, 1 and 2")
    began = time.perf_counter()
    first = next(iter(priors))
    found = int(features.demonstration.unique().numel())
    needed = max(MIN_DEMONSTRATIONS, MIN_PER_FOLD * folds)
    if found < needed or not features.tool_positions:
        lam = lams[0] if len(lams) == 1 else DEFAULT_LAM
        why = f"{found} demonstrations, {needed} are needed" if found < needed else "no demonstration calls a tool"
        note = f"too little data for cross-validation ({why}): lam={lam:g}, prior {first}, nothing calibrated"
        return Selection(lam, first, (), None, None, None, None, time.perf_counter() - began, note)

    unjudged = _too_few_judged(features, folds, seed)
    untrained = {name: _untrained_top1(features, rows, device) for name, rows in priors.items()}
    ranked = sorted(priors, key=lambda name: untrained[name], reverse=True)
    first, *others = ranked
    if unjudged:
        lam = lams[0] if len(lams) == 1 else DEFAULT_LAM
        note = f"too little data for cross-validation ({unjudged}): lam={lam:g}, prior {first}, nothing calibrated"
        return Selection(lam, first, (), None, None, None, None, time.perf_counter() - began, note)
    work = CrossValidation(features, priors[first], folds, seed, bias, tolerance, max_iterations, device)
    path = sorted(set(lams), reverse=True)
    if work.large:
        others = [name for name in others if untrained[name] >= _NEAR_BEST * untrained[first]][:_SHORTLIST]
    total = work.folds_held_out * (len(path) + len(others) + work.samples)
    what = "choose λ and prior" if others else "choose λ"
    done = 0
    points: list[PathPoint] = []
    matrices: dict[tuple[str, float], list[Tensor]] = {}

    def one_done() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(min(done, total - 1), total, what)

    def fit(prior: str, lam: float, begin: Begin | None) -> None:
        solutions = work.fit(priors[prior], lam, begin, one_done)
        matrices[prior, lam] = [solution.matrix for solution in solutions]
        logits = work.logits(matrices[prior, lam])
        points.append(_evaluate(work.held_out, logits, prior, untrained[prior], lam, solutions))

    begin = None
    calls = work.held_out.tool_positions
    for lam in path:
        fit(first, lam, begin)
        begin = Begin(priors[first], lam, matrices[first, lam])
        past_the_best = points[-1] not in _good_calls(points, calls)
        if past_the_best or (work.large and _best_lam(points, calls) is not points[-1]):
            break
    best_on_path = _best_lam(points, calls)
    lam = best_on_path.lam
    matrices = {(first, lam): matrices[first, lam]}
    total = done + work.folds_held_out * (len(others) + work.samples)
    for prior in others:
        fit(prior, lam, Begin(priors[first], lam, matrices[first, lam]))
    best = _best_prior([best_on_path, *points[len(points) - len(others) :]], calls)
    found_matrices = matrices[best.prior, best.lam]
    if work.samples:
        found_matrices = work.refit(priors[best.prior], best.lam, found_matrices, one_done)
    if progress is not None:
        progress(total, total, what)
    return Selection(
        lam=best.lam,
        prior=best.prior,
        path=tuple(points),
        held_out=work.held_out,
        positions=work.positions,
        logits=work.logits(found_matrices),
        folds=work.held_out_folds,
        seconds=time.perf_counter() - began,
        start=found_matrices[0],
    )


def _too_few_judged(features: Features, folds: int, seed: int) -> str:
    """Say why a choice would be noise, if it would be: most tools are called in one fold only."""
    known = judgeable(features, assign_folds(features, folds, seed))
    alone, calls = int((~known).sum()), features.tool_positions
    if alone and calls - alone < LEAST_JUDGED:
        return f"of {calls} calls {alone} are the only ones of their tool"
    return ""


def _untrained_top1(features: Features, prior: Tensor, device: torch.device | str) -> float:
    """Share of the calls whose tool has the largest logit with the untrained rows `prior`, (K, d)."""
    rows, right = prior.to(device), 0
    calls = (features.target >= 0).nonzero()[:, 0]
    for part in calls.split(rows_per_read(prior)):
        likeliest = toolken_logits(features.hidden[part], rows).argmax(dim=1)
        right += int((likeliest.cpu() == features.target[part]).sum())
    return right / len(calls)


def _good_calls(points: Sequence[PathPoint], calls: int) -> list[PathPoint]:
    """Return the points whose F1 is within one standard error of the best, of `calls` held-out calls."""
    best = max(point.best_f1 for point in points)
    return [point for point in points if point.best_f1 >= best - _error(best, calls)]


def _best_lam(points: Sequence[PathPoint], calls: int) -> PathPoint:
    """Return the point with the smallest loss among those with good calls; of equal ones, the larger λ."""
    return min(_good_calls(points, calls), key=lambda point: (point.loss, -point.lam))


def _best_prior(points: Sequence[PathPoint], calls: int) -> PathPoint:
    """Return the first point, in the priors' rank, whose top-1 is within one standard error of the best."""
    top1 = max(point.calls.top1 for point in points)
    return next(point for point in points if point.calls.top1 >= top1 - _error(top1, calls))


def _error(share: float, count: int) -> float:
    """Standard error of a share of `count`."""
    return float((share * (1 - share) / max(count, 1)) ** 0.5)


def _evaluate(
    features: Features, logits: Tensor, prior: str, untrained: float, lam: float, solutions: Sequence[Solution]
) -> PathPoint:
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
        untrained=untrained,
    )
