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
# Held-out logits are kept of all positions up to so many elements (64 MB), of the sampled ones beyond; and so many
# elements are read at once.
_LOGIT_ELEMENTS = 1 << 24
# A step along the path ends when the gradient is this part of what it was at the step's start, but within these
# bounds, relative to the gradient at the prior; the loosest holds on the one hold-out of large problems.
_STEP = 0.1
_TIGHTEST = 1e-5
# And so many of the other priors are tried, those that put most calls right untrained.
_SHORTLIST = 2
_LOOSEST = 1e-2


@dataclass(frozen=True)
class PathPoint:
    """One λ and prior on the held-out folds.

    loss: mean over positions of -log p(the tool called), or of -log p(no call here) where a word follows. It is the
    objective's loss less the words' own, which no toolken changes. error: its standard error, demonstrations being the
    sampled units. calls: at bias 0. best_f1: at the best bias. untrained: of all calls, the share whose tool the prior
    puts first as it is.
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
    start: (K, d), a matrix fitted to most of the data with the chosen λ and prior, to begin the solve on
    all of it with; or None.
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

    What large problems are spared, by their multiplications per evaluation (positions x tools x d):
    above 2^24 the solves see all calls but only a sample of the word positions, drawn by toolken mass and weighted,
    half as many as calls and at least 4,096; what is judged stays all held-out positions if their logits fit 64 MB.
    If even then there are more than 2^29 (KAMEL-234 has 7e8), one fifth of the demonstrations is held out once,
    instead of each fifth in turn; the path ends at the first λ that isn't better; gradients need to fall to 1e-2 of the
    prior's (less where a step along the path begins lower); and only the two next in rank are tried besides the first.

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
    work = _CrossValidation(features, priors[first], folds, seed, bias, tolerance, max_iterations, device)
    path = sorted(set(lams), reverse=True)
    total = work.folds_held_out * (len(path) + len(others))
    what = "choose λ and prior" if others else "choose λ"
    done = 0
    points: list[PathPoint] = []
    matrices: dict[tuple[str, float], list[Tensor]] = {}

    def fit(prior: str, lam: float, begin: _Begin | None) -> None:
        nonlocal done

        def one_done() -> None:
            nonlocal done
            done += 1
            if progress is not None:
                progress(min(done, total - 1), total, what)

        solutions = work.fit(priors[prior], lam, begin, one_done)
        matrices[prior, lam] = [solution.matrix for solution in solutions]
        logits = work.logits(matrices[prior, lam])
        points.append(_judge(work.held_out, logits, prior, untrained[prior], lam, solutions))

    begin = None
    calls = work.held_out.tool_positions
    for lam in path:
        fit(first, lam, begin)
        begin = _Begin(priors[first], lam, matrices[first, lam])
        past_the_best = points[-1] not in _good_calls(points, calls)
        if past_the_best or (work.once and _best_lam(points, calls) is not points[-1]):
            break
    best_on_path = _best_lam(points, calls)
    lam = best_on_path.lam
    matrices = {(first, lam): matrices[first, lam]}
    if work.once:
        others = others[:_SHORTLIST]
        total = done + len(others)
    for prior in others:
        fit(prior, lam, _Begin(priors[first], lam, matrices[first, lam]))
    if progress is not None:
        progress(total, total, what)
    best = _best_prior([best_on_path, *points[len(points) - len(others) :]], calls)
    found_matrices = matrices[best.prior, best.lam]
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
    for part in calls.split(max(1, _LOGIT_ELEMENTS // max(prior.shape))):
        logits = features.hidden[part].to(device, rows.dtype) @ rows.T
        right += int((logits.argmax(dim=1).cpu() == features.target[part]).sum())
    return right / len(calls)


@dataclass(frozen=True, eq=False)
class _Begin:
    """Where solves begin: the matrices, one for each fold, that were fitted with another λ or prior (K, d)."""

    prior: Tensor
    lam: float
    matrices: Sequence[Tensor]


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
            self.held_out, self.positions = features, judged
        elif len(judged) * tools <= _LOGIT_ELEMENTS:
            self.held_out, self.positions = features.rows(judged), judged
        else:
            inside = fold[positions] < self.folds_held_out
            self.held_out, self.positions = sampled.rows(inside), positions[inside]
        self.held_out_folds = fold[self.positions]
        self._tolerances: dict[float, float] = {}
        self._norm: float | None = None
        self._bias, self._tolerance, self._max_iterations, self._device = bias, tolerance, max_iterations, device

    def fit(self, prior: Tensor, lam: float, begin: _Begin | None, one_done: Callable[[], None]) -> list[Solution]:
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

    def logits(self, matrices: Sequence[Tensor]) -> Tensor:
        return held_out_logits(self.held_out, self.held_out_folds, matrices, self._bias)


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


def toolken_logits(features: Features, matrix: Tensor, biases: float | Tensor) -> Tensor:
    """Logits (N, K) float32 of toolken rows (K, d) with one bias or one each, hidden states read chunk by chunk."""
    logits = torch.empty(len(features), matrix.shape[0])
    for part in torch.arange(len(features)).split(max(1, _LOGIT_ELEMENTS // max(matrix.shape))):
        logits[part] = features.hidden[part] @ matrix.T + biases
    return logits


def held_out_logits(features: Features, fold: Tensor, matrices: Sequence[Tensor], bias: float) -> Tensor:
    """Toolken logits (N, K) float32 of every position, from the matrix (K, d) that was fitted without its fold."""
    logits = torch.empty(len(features), matrices[0].shape[0])
    for number, matrix in enumerate(matrices):
        inside = (fold == number).nonzero()[:, 0]
        logits[inside] = toolken_logits(features.rows(inside), matrix, bias)
    return logits


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
