"""A gate from few requests, in closed form: descriptions put as requests against requests that need no tool.

For tools that come without a fit. It is a ridge regression to +1 and -1 in which both kinds weigh the same; a fit has
more to learn from, and takes a logistic regression (`training.evidence.gate`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from langchain_toolken.toolkens.evidence import Gate

_FOLDS = 5
# Relative to the squared length of the features, of which there are far more than requests.
_RIDGES = (0.3, 0.1, 0.03, 0.01)
# A fit allows a fifth of it among the package's plain requests. Of the few that are read here that would be none, and
# descriptions put as requests are further from these than a user's are: on 36 everyday requests SmolLM2 calls the right
# tool for 22 with 5% (and on 1 of 20 plain ones; benchmarks/everyday, dev).
_FALSE_CALLS = 0.05
_SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def plain_gate(requests: Tensor, call: Tensor, group: Tensor) -> Gate:
    """Fit a gate on the mean states of requests and choose its operating point on held-out ones.

    Where an answer begins, the state there would say little more; further on it is like none that was read here, and
    would call in the middle of plain answers.

    Args:
        requests: (n, d), the requests' mean states.
        call: (n,) bool, whether they want a tool. There are some of both kinds.
        group: (n,) int64; requests of one group are held out together.
    """
    middle, deviation = requests.mean(dim=0), requests.std(dim=0, correction=0).clamp_min(1e-6)
    features = (requests - middle) / deviation / (2 * requests.shape[1]) ** 0.5
    weight = torch.where(call, 0.5 / call.sum(), 0.5 / (~call).sum()) * len(call)
    aim = torch.where(call, 1.0, -1.0)
    fold = _folds(call, group)
    best: tuple[float, float, Tensor] | None = None
    for ridge in _RIDGES:
        odds = torch.empty(len(call))
        for number in fold.unique().tolist():
            inside = fold == number
            row, constant = _ridge(features[~inside], aim[~inside], weight[~inside], ridge)
            odds[inside] = features[inside] @ row + constant
        error = float((weight * (odds - aim).square()).sum())
        if best is None or error < best[0]:
            best = error, ridge, odds
    assert best is not None
    _, ridge, odds = best
    slope, shift = _calibrated(odds, call)
    row, constant = _ridge(features, aim, weight, ridge)
    folded = slope * row / deviation / (2 * requests.shape[1]) ** 0.5
    odds = slope * odds + shift
    threshold = _threshold(odds[call], odds[~call])
    return Gate(
        state=torch.zeros_like(folded),
        request=folded,
        constant=slope * constant + shift - float(folded @ middle),
        threshold=threshold,
        # The request asks for its tool after the result too: only what is surer than all of these calls again.
        after_result=max(threshold, float(odds[call].max())),
        points=tuple((share, _above(odds[~call], share)) for share in _SHARES),
    )


def _ridge(features: Tensor, aim: Tensor, weight: Tensor, ridge: float) -> tuple[Tensor, float]:
    """Weighted ridge regression by its dual: as many unknowns as there are requests."""
    share = weight / weight.sum()
    middle, level = share @ features, float(share @ aim)
    root = weight.sqrt()
    scaled = (features - middle) * root[:, None]
    gram = scaled @ scaled.T + ridge * torch.eye(len(aim)) * len(aim) ** 0.5
    row: Tensor = scaled.T @ torch.linalg.solve(gram, root * (aim - level))
    return row, level - float(row @ middle)


def _folds(call: Tensor, group: Tensor) -> Tensor:
    """Deal the groups of each kind out in turn."""
    fold = torch.empty(len(call), dtype=torch.int64)
    for kind in (call, ~call):
        _, number = group[kind].unique(return_inverse=True)
        fold[kind] = number % _FOLDS
    return fold


def _calibrated(odds: Tensor, call: Tensor) -> tuple[float, float]:
    """The line that makes log odds of scores: of two normal distributions with one variance, equally likely."""
    high, low = odds[call], odds[~call]
    variance = (high.var(correction=0) + low.var(correction=0)) / 2
    slope = float((high.mean() - low.mean()).clamp_min(1e-3) / variance.clamp_min(1e-3))
    return slope, -slope * float(high.mean() + low.mean()) / 2


def _above(plain: Tensor, share: float) -> float:
    """The score that at most this share of the plain requests is above."""
    order = plain.sort(descending=True).values
    return float(order[min(int(share * len(order) + 1e-9), len(order) - 1)])


def _threshold(calls: Tensor, plain: Tensor) -> float:
    """Where the shares of calls and of plain requests with a call are farthest apart, and the latter small."""
    least = _above(plain, _FALSE_CALLS)
    every = torch.cat([calls, plain])
    candidates = torch.cat([torch.tensor([least]), every[every > least].sort().values])
    gain = [float((calls > at).float().mean() - (plain > at).float().mean()) for at in candidates]
    threshold = float(candidates[gain.index(max(gain))])
    above = every[every > threshold]
    # Half way to the next higher score, so that equal texts fall on one side whatever the rounding.
    return (threshold + float(above.min())) / 2 if len(above) else threshold
