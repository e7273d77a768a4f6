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

import torch
from torch import Tensor

from langchain_toolken.progress import Progress
from langchain_toolken.training.calibration import CallFigures, best_f1_bias, call_figures
from langchain_toolken.training.cross_validation import CV_TOLERANCE, Begin, CrossValidation, rows_per_read
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.solve.solver import Solution

# Without enough data to choose: fitted on FuncQA's train set, it puts the right tool first on 37 of FuncQA dev's 39
# calls with two LMs (nano, and another of 11M parameters), where 1e-4 manages 34 and 36 and 1e-3 33 and 36.
DEFAULT_LAM = 1e-5
LAMS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
FOLDS = 5
# Below either, a fold holds too little for its loss to say anything.
MIN_DEMONSTRATIONS = 10
MIN_PER_FOLD = 2
# So many of the other priors are tried where problems are large, those that put most calls right untrained.
_SHORTLIST = 2


@dataclass(frozen=True)
class PathPoint:
    """One λ and prior on the held-out folds.

    loss: mean over positions of -log p(the tool called), or of -log p(no call here) where a word follows. It is the
    objective's loss less the words' own, which no toolken changes. error: its standard error, demonstrations being the
    sampled units. calls: at bias 0. best_f1: at the best bias. untrained: of all calls, the share whose tool the prior
    puts first as it is. Of large problems the fits saw a sample of the words, and make more false calls than the
    calibrated set will: compare points with each other only.
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

    path: in the order of the solves; empty if the data was too small to choose. held_out: the n positions that were
    judged, with their weights: all of them, or a sample of the large problem's; positions: (n,) int64, which they are
    of the given ones; logits: (n, K) float32, theirs, at the chosen λ and prior, and folds: (n,) int64, which fold a
    position was held out in. None where nothing was.
    start: (K, d), a matrix fitted to most of the demonstrations with the chosen λ and prior, to begin the solve on all
    of them with; or None.
    note: why nothing could be chosen and the defaults stand, else "".
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
    """λ and prior: what cross-validation can tell apart, by held-out top-1 and loss; what it can't, by the prior alone.

    The priors are ranked by the calls that they put right untrained. The first walks the whole path of `lams`, the
    others are tried at the λ that served it best, from its solutions.

    λ: the smallest held-out loss among those whose held-out calls, each at the bias that serves it best, have an F1
    within one standard error of the highest. F1, because the bias is calibrated afterwards: the loss at the bias of
    the fit chooses too large a λ where calls are few among words, whose sure errors a bias would undo (GSM8K-XL: 1e-3,
    with 0.973 of held-out calls' tools first and an F1 of 0.87, not 1e-4 with 0.986 and 0.90). F1 alone follows noise.

    Prior: the first in rank whose held-out top-1 is within one standard error of the highest. Trained, priors differ
    little on demonstrations like those they were trained on, and much elsewhere: with mini-lm, KAMEL-60's held-out
    demonstrations are put right to 0.85–0.87 with any of `fit.AUTO_PRIORS`, its test questions, which are worded
    otherwise, to 0.25–0.28 with those of head rows and 0.35 with the hidden states of name and description (λ=1e-3).
    The latter put 0.34 of the calls right untrained, the others 0.16–0.25.

    priors: candidates by name, (K, d) each; of equals in rank the one given first.

    Large problems are spared some of that (`cross_validation`); and where even a sample of them is large, the path ends
    at the first λ that isn't better, and only the two next in rank are tried besides the first. What a sample has
    chosen is then fitted to all word positions, still without the folds: for the logits that the bias is calibrated on,
    since the false calls that a sample leaves standing would take it too low (KAMEL-234: F1 on its dev set .72, not
    .74).

    bias: held fixed in every solve. seed: of the folds. tolerance: see `CV_TOLERANCE`. Other arguments: `solve`.

    With fewer than `MIN_DEMONSTRATIONS` demonstrations, or `MIN_PER_FOLD` a fold, or no call at all, nothing is chosen:
    the first prior with `DEFAULT_LAM` (or the only λ given), no held-out logits, and a note that says so.

    Raises ValueError for no priors, no lams, or fewer than 2 folds; SolveError as `solve` does.
    """
    if not priors or not lams or folds < 2:
        raise ValueError(f"{len(priors)} priors, {len(lams)} lams and {folds} folds: give 1, 1 and 2 at least")
    began = time.perf_counter()
    first = next(iter(priors))
    found = int(features.demonstration.unique().numel())
    needed = max(MIN_DEMONSTRATIONS, MIN_PER_FOLD * folds)
    if found < needed or not features.tool_positions:
        lam = lams[0] if len(lams) == 1 else DEFAULT_LAM
        why = f"{found} demonstrations, {needed} are needed" if found < needed else "no demonstration calls a tool"
        note = f"too little data for cross-validation ({why}): lam={lam:g}, prior {first}, nothing calibrated"
        return Selection(lam, first, (), None, None, None, None, time.perf_counter() - began, note)

    untrained = {name: _untrained_top1(features, rows, device) for name, rows in priors.items()}
    ranked = sorted(priors, key=lambda name: untrained[name], reverse=True)
    first, *others = ranked
    work = CrossValidation(features, priors[first], folds, seed, bias, tolerance, max_iterations, device)
    path = sorted(set(lams), reverse=True)
    total = work.folds_held_out * (len(path) + len(others))
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
        points.append(_judge(work.held_out, logits, prior, untrained[prior], lam, solutions))

    begin = None
    calls = work.held_out.tool_positions
    for lam in path:
        fit(first, lam, begin)
        begin = Begin(priors[first], lam, matrices[first, lam])
        past_the_best = points[-1] not in _good_calls(points, calls)
        if past_the_best or (work.once and _best_lam(points, calls) is not points[-1]):
            break
    best_on_path = _best_lam(points, calls)
    lam = best_on_path.lam
    matrices = {(first, lam): matrices[first, lam]}
    if work.once:
        others = others[:_SHORTLIST]
        total = done + len(others)
    total += work.folds_held_out if work.samples else 0
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


def _untrained_top1(features: Features, prior: Tensor, device: torch.device | str) -> float:
    """The share of the calls whose tool has the largest logit with toolkens `prior`, (K, d), as they are."""
    rows, right = prior.to(device), 0
    calls = (features.target >= 0).nonzero()[:, 0]
    for part in calls.split(rows_per_read(prior)):
        logits = features.hidden[part].to(device, rows.dtype) @ rows.T
        right += int((logits.argmax(dim=1).cpu() == features.target[part]).sum())
    return right / len(calls)


def _good_calls(points: Sequence[PathPoint], calls: int) -> list[PathPoint]:
    """The points whose F1 is within a standard error of the best, `calls` held-out calls being the sampled units."""
    best = max(point.best_f1 for point in points)
    return [point for point in points if point.best_f1 >= best - _error(best, calls)]


def _best_lam(points: Sequence[PathPoint], calls: int) -> PathPoint:
    """Of the points of one prior with good calls, the smallest loss; of equal ones the larger λ."""
    return min(_good_calls(points, calls), key=lambda point: (point.loss, -point.lam))


def _best_prior(points: Sequence[PathPoint], calls: int) -> PathPoint:
    """Of the points, one for each prior in their rank, the first whose top-1 is within a standard error of the best,
    `calls` held-out calls being the sampled units."""
    top1 = max(point.calls.top1 for point in points)
    return next(point for point in points if point.calls.top1 >= top1 - _error(top1, calls))


def _error(share: float, count: int) -> float:
    """The standard error of a share of `count`."""
    return float((share * (1 - share) / max(count, 1)) ** 0.5)


def _judge(
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
