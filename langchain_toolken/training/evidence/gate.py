"""When to call: a gate, one more row that tells calls from words, and the operating point of its log odds.

Greedy decoding calls where the best toolken beats the best word, and no toolken is fitted to be above all words: each
is fitted to be above the others too. The gate is a binary logistic regression on the hidden state and on the mean state
of the request, which knows whether anything is asked for that a tool does. It is used where it finds more of the
held-out calls than the toolkens do, at the same share of plain requests (those that want no tool) with a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from langchain_toolken.toolkens.described import Described
from langchain_toolken.toolkens.evidence import Gate
from langchain_toolken.training.evidence.logistic import Standard, binary
from langchain_toolken.training.evidence.reliable import Reliable, line
from langchain_toolken.training.features.compute import Features

# How many of the held-out plain requests may get a call where the caller asks for nothing else.
DEFAULT_FALSE_CALLS = 0.05
# Some of the package's plain requests are harder to tell than those of most users, and users of many tools ask others
# that are harder still. Where nobody asked for a share, twice of it may get a call among the package's, if calls are
# then farthest apart from plain requests.
PACKAGE_SHARE = 2.0
# Where a share was asked for, and there are only the package's requests to keep to it: with 1% of these, 3 to 7% of 100
# others get a call; with 4%, 7 to 18% (SmolLM2, metatool's train set, 12 to 199 tools).
ASKED_SHARE = 0.2
# With fewer, a share says nothing.
LEAST_CALLS = 8
LEAST_PLAIN = 10
OWN, PACKAGE, ANSWERED = range(3)
_LAMS = (1.0, 1e-1, 1e-2, 1e-3)
_FOLDS = 5
# The shares of plain requests with a call that a set keeps thresholds for, besides the one that it decides by.
_SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
# What the constant feature is: large, so that the ridge hardly touches the constant.
_CONSTANT = 10.0


@dataclass(frozen=True, eq=False)
class GatePositions:
    """What a gate is fitted on: n positions of some requests.

    Attributes:
        states: (n, d), the hidden states.
        requests: (n, d), the mean states of the requests that they belong to.
        call: (n,) bool, whether a tool is called there.
        request: (n,) int64, the number of the request; positions of one request are held out together.
        group: (n,) int64: `OWN` for the caller's requests, `PACKAGE` for the package's, `ANSWERED` for the caller's
            where a tool has answered.
        today: (n,), by how much the best toolken beats the best word there, from rows that were not fitted to it; NaN
            where that is not known.
    """

    states: Tensor
    requests: Tensor
    call: Tensor
    request: Tensor
    group: Tensor
    today: Tensor

    def subset(self, kept: Tensor) -> GatePositions:
        """Keep some positions, given by (n,) bool or indices."""
        return GatePositions(*(column[kept] for column in vars(self).values()))

    def join(self, other: GatePositions) -> GatePositions:
        """Append the positions of other requests."""
        return GatePositions(*map(torch.cat, zip(vars(self).values(), vars(other).values(), strict=True)))


def plain_positions(features: Features, first: int) -> GatePositions:
    """Return the positions of the package's plain requests, which are numbered from `first`."""
    assert features.requests is not None
    return GatePositions(
        states=features.hidden[:],
        requests=features.requests[features.demonstration],
        call=torch.zeros(len(features), dtype=torch.bool),
        request=features.demonstration + first,
        group=torch.full((len(features),), PACKAGE),
        today=torch.full((len(features),), float("nan")),
    )


def made_positions(answered: Features | None) -> GatePositions | None:
    """Return the positions of requests whose call has its result, of the fit's own making; None without any."""
    return None if answered is None else plain_positions(answered, 0)


def described_calls(described: Described, first: int) -> GatePositions:
    """Return descriptions put as requests, numbered from `first`; the wordings of one share a number."""
    count = len(described.tool)
    return GatePositions(
        states=described.states,
        requests=described.requests,
        call=torch.ones(count, dtype=torch.bool),
        request=described.tool + first,
        group=torch.full((count,), OWN),
        today=torch.full((count,), float("nan")),
    )


@dataclass(frozen=True)
class WhenFigures:
    """How held-out requests fare at an operating point.

    Attributes:
        recall: Share of the calls that are made, whichever tool they are for.
        false_calls: Share of the plain requests that get a call anywhere in their answer.
        auc: How often a call is above a plain request.
    """

    recall: float
    false_calls: float
    auc: float


@dataclass(frozen=True, eq=False)
class GateChoice:
    """Whether a gate answers when, and what that was decided on.

    Attributes:
        gate: The gate; None where the toolkens do as well.
        lam: λ of its ridge.
        with_gate: Held-out figures with the gate.
        without: The same with the toolkens, at the bias that keeps to the same share of plain requests.
        bias: What to add to the toolkens' bias where they answer when: below 0 if they call on more plain requests than
            asked for.
        plain: How many plain requests there were.
        log_odds: (n,) held-out log odds at each position, calibrated as those of the gate.
        reliable: What the gate's probabilities mean for requests that call as often as not.
    """

    gate: Gate | None
    lam: float
    with_gate: WhenFigures
    without: WhenFigures
    bias: float
    plain: int
    log_odds: Tensor
    reliable: Reliable


def choose_gate(
    positions: GatePositions,
    max_false_calls: float | None = None,
    seed: int = 0,
    made: GatePositions | None = None,
    package_share: float = PACKAGE_SHARE,
) -> GateChoice | None:
    """Fit a gate, choose λ and the operating point on held-out requests, and compare it with the toolkens alone.

    Args:
        positions: What to fit on.
        max_false_calls: The largest share of plain requests that may get a call. None: where the shares of calls
            made and of plain requests with a call are farthest apart, and the latter at most `DEFAULT_FALSE_CALLS`.
        seed: Decides which requests are held out together.
        made: Requests whose call has its result, of the fit's own making. The gate is not fitted on them: they only
            say above what a call is made after a result, where `positions` shows too few answers after one.
        package_share: See `operating_point`.

    Returns:
        The choice; None with fewer than `LEAST_CALLS` calls or `LEAST_PLAIN` plain requests, which say too little.
    """
    plain = sum(map(len, _plain(positions).values()))
    if int(positions.call.sum()) < LEAST_CALLS or plain < LEAST_PLAIN:
        return None
    features, constant = _features(positions)
    weight = _balanced(positions.call)
    fold = _folds(positions, seed)
    held_out: list[Tensor] = []
    losses: list[float] = []
    errors: list[float] = []
    shares = torch.zeros(int(positions.request.max()) + 1).index_add(0, positions.request, weight)
    starts: list[Tensor | None] = [None] * _FOLDS
    for lam in _LAMS:
        odds = torch.empty(len(features))
        for number in range(_FOLDS):
            inside = fold == number
            row = binary(features[~inside], positions.call[~inside], weight[~inside], lam, starts[number])
            starts[number], odds[inside] = row, features[inside] @ row
        held_out.append(odds)
        each = torch.nn.functional.binary_cross_entropy_with_logits(odds, positions.call.float(), reduction="none")
        off = weight * each
        losses.append(float(off.sum()))
        by_request = torch.zeros(int(positions.request.max()) + 1).index_add(0, positions.request, off)
        errors.append(float((by_request - by_request.sum() * shares).square().sum().sqrt()))
    least = losses.index(min(losses))
    # The largest λ that is as good by the measurement: the plain requests of users differ from all of these.
    best = next(place for place, loss in enumerate(losses) if loss <= losses[least] + errors[least])
    lam = _LAMS[best]
    odds, (slope, shift), reliable = _calibrated(positions, held_out[best])
    threshold, with_gate = operating_point(positions, odds, max_false_calls, package_share)
    better, without, bias = _compared(positions, odds, max_false_calls, package_share)
    gate = None
    if better:
        row = binary(features, positions.call, weight, lam)
        points = tuple((share, operating_point(positions, odds, share)[0]) for share in _SHARES)
        gate = _folded(slope * row, constant, positions.states.shape[1])
        gate = replace(gate, constant=gate.constant + shift, threshold=threshold, points=points)
        after = [] if made is None else [_plain(made, gate.log_odds(made.states, made.requests))[PACKAGE]]
        after += _plain(positions, odds, (ANSWERED,)).values()
        gate = replace(gate, after_result=_after_result(after, threshold, max_false_calls))
    return GateChoice(gate, lam, with_gate, without, 0.0 if better else bias, plain, odds, reliable)


def _calibrated(positions: GatePositions, odds: Tensor) -> tuple[Tensor, tuple[float, float], Reliable]:
    """Make held-out log odds (n,) say how often a request gets a call that is due.

    A request that calls counts by its call, a plain one by the highest log odds in its answer; both kinds weigh the
    same, since how many of a user's requests are plain is not known.

    Returns:
        The calibrated log odds, slope and shift of the line that made them, and how reliable they are.
    """
    called = odds[positions.call & (positions.group != ANSWERED)]
    plain = torch.cat(list(_plain(positions, odds).values()))
    each, true = torch.cat([called, plain]), torch.arange(len(called) + len(plain)) < len(called)
    weight = _balanced(true)
    slope, shift = line(each, true, weight)
    reliable = Reliable.of((each.sigmoid(), true), ((slope * each + shift).sigmoid(), true), weight)
    return slope * odds + shift, (slope, shift), reliable


def _compared(
    positions: GatePositions, odds: Tensor, max_false_calls: float | None, package_share: float
) -> tuple[bool, WhenFigures, float]:
    """Compare the gate with the toolkens where both are known.

    Returns:
        Whether the gate finds more calls by over one standard error, or the toolkens are known nowhere; their figures;
        and what to add to their bias so that they keep to the share of plain requests with a call.
    """
    known = ~positions.today.isnan()
    both = positions.subset(known)
    calls = int(both.call.sum())
    if calls < LEAST_CALLS or not _plain(both):
        return True, WhenFigures(0.0, 0.0, 0.5), 0.0
    _, ours = operating_point(both, odds[known], max_false_calls, package_share)
    threshold, theirs = operating_point(both, both.today, max_false_calls, package_share)
    error = _error(ours.recall, calls)
    cap = DEFAULT_FALSE_CALLS if max_false_calls is None else max_false_calls
    now = torch.cat(list(_plain(both, both.today).values()))
    eager = float((now > 0).float().mean()) > cap
    return ours.recall > theirs.recall + error, theirs, -threshold if eager else 0.0


def operating_point(
    positions: GatePositions,
    score: Tensor,
    max_false_calls: float | None = None,
    package_share: float = PACKAGE_SHARE,
) -> tuple[float, WhenFigures]:
    """Choose above which score a call is made.

    The caller's plain requests and the package's each keep to a share, if there are `LEAST_PLAIN` of them. For the
    package's it is `package_share` of the default where none was asked for, and `ASKED_SHARE` of the one that was, if
    the caller has no plain requests. Where a tool has answered is another question (`Gate.after_result`).

    Args:
        positions: The requests.
        score: (n,), of each position.
        max_false_calls: See `choose_gate`.
        package_share: Where no share was asked for, how much of the default the package's plain requests keep to.

    Returns:
        The threshold, and the figures there.
    """
    calls = score[positions.call & (positions.group != ANSWERED)]
    cap = DEFAULT_FALSE_CALLS if max_false_calls is None else max_false_calls
    highest = _plain(positions, score)
    among = 1.0 if len(highest.get(OWN, ())) >= LEAST_PLAIN else ASKED_SHARE
    caps = {OWN: cap, PACKAGE: cap * (package_share if max_false_calls is None else among)}
    groups = [(highest[kind], caps[kind]) for kind in caps if len(highest.get(kind, ())) >= LEAST_PLAIN]
    everything = torch.cat(list(highest.values()))
    least = max(_above(plain, share) for plain, share in groups or [(everything, cap)])
    threshold = least
    if max_false_calls is None:
        scores = torch.cat([calls, everything])
        candidates = torch.cat([torch.tensor([least]), scores[scores > least].sort().values])
        made = (calls[None] > candidates[:, None]).sum(dim=1) / max(len(calls), 1)
        false = (everything[None] > candidates[:, None]).sum(dim=1) / max(len(everything), 1)
        # By shares and not by F1: how many of the requests are plain is no news about a user's.
        gain = made - false
        best = int(gain.argmax())
        error = (_error(float(made[best]), len(calls)) ** 2 + _error(float(false[best]), len(everything)) ** 2) ** 0.5
        # The middle of those that are as good by half of the measurement's error: the best one of them is so by chance.
        good = candidates[gain >= gain[best] - 0.5 * error]
        threshold = float(good.min() + good.max()) / 2
    # Half way to the next higher score, so that equal texts fall on one side whatever the rounding.
    above = torch.cat([calls, everything])
    above = above[above > threshold]
    if len(above):
        threshold = (threshold + float(above.min())) / 2
    return threshold, WhenFigures(
        recall=float((calls > threshold).float().mean()),
        false_calls=float((everything > threshold).float().mean()),
        auc=float((calls[:, None] > everything[None]).float().mean()),
    )


def _error(share: float, count: int) -> float:
    """Return the standard error of a share of `count`; where it is 0 or 1, that of half a case."""
    count = max(count, 1)
    return float((max(share * (1 - share), 0.25 / count) / count) ** 0.5)


def _after_result(plain: Sequence[Tensor], threshold: float, max_false_calls: float | None) -> float | None:
    """Choose the operating point where a tool has answered: at least the other one, and at most the share calls again.

    None where few texts show an answer after a result.
    """
    highest = torch.cat([torch.empty(0), *plain])
    if len(highest) < LEAST_PLAIN:
        return None
    return max(threshold, _above(highest, DEFAULT_FALSE_CALLS if max_false_calls is None else max_false_calls))


def _above(plain: Tensor, cap: float) -> float:
    """Return the score that at most the share `cap` of the plain requests is above."""
    order = plain.sort(descending=True).values
    return float(order[min(int(cap * len(order) + 1e-9), len(order) - 1)])


def _plain(
    positions: GatePositions, score: Tensor | None = None, groups: Sequence[int] = (OWN, PACKAGE)
) -> dict[int, Tensor]:
    """Return the highest score of each plain request, by group. Without scores, zeros."""
    if score is None:
        score = torch.zeros(len(positions.call))
    count = int(positions.request.max()) + 1
    calls = torch.zeros(count, dtype=torch.bool)
    calls[positions.request[positions.call]] = True
    highest = torch.full((count,), float("-inf")).scatter_reduce(0, positions.request, score, "amax")
    group = torch.zeros(count, dtype=torch.int64)
    group[positions.request] = positions.group
    there = highest > float("-inf")
    return {kind: found for kind in groups if len(found := highest[there & ~calls & (group == kind)])}


def _folds(positions: GatePositions, seed: int) -> Tensor:
    """Deal the requests out in turn, those with calls and the others each, so that all folds have their share."""
    generator = torch.Generator().manual_seed(seed)
    count = int(positions.request.max()) + 1
    calls = torch.zeros(count, dtype=torch.bool)
    calls[positions.request[positions.call]] = True
    fold = torch.empty(count, dtype=torch.int64)
    for kind in (calls, ~calls):
        numbers = kind.nonzero()[:, 0]
        numbers = numbers[torch.randperm(len(numbers), generator=generator)]
        fold[numbers] = torch.arange(len(numbers)) % _FOLDS
    return fold[positions.request]


def _balanced(call: Tensor) -> Tensor:
    """Weights with which calls and words count the same: how many words there are is no news about a request."""
    calls = float(call.sum())
    words = len(call) - calls
    return torch.where(call, 0.5 / max(calls, 1), 0.5 / max(words, 1))


def _features(positions: GatePositions) -> tuple[Tensor, tuple[Standard, Standard]]:
    standards = Standard.of(positions.states), Standard.of(positions.requests)
    parts = (standards[0](positions.states), standards[1](positions.requests))
    return torch.cat([*parts, torch.full((len(positions.call), 1), _CONSTANT)], dim=1), standards


def _folded(weights: Tensor, standards: Sequence[Standard], size: int) -> Gate:
    """Turn weights of standardised features into those of the states themselves."""
    state, request = weights[:size] / standards[0].deviation, weights[size:-1] / standards[1].deviation
    constant = _CONSTANT * float(weights[-1]) - float(state @ standards[0].mean) - float(request @ standards[1].mean)
    return Gate(state, request, constant)
