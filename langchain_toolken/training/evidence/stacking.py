"""How much each source of evidence counts: weights by held-out likelihood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

_ROUNDS = 40
_RIDGE = 1e-4
# With fewer calls nothing is left out, since one standard error is large, and the ridge counts as much as one call:
# sources that are right in all of few calls would get any weight.
MANY = 300
# Nats a call that sums in another order may differ by.
_ROUNDING = 1e-7


@dataclass(frozen=True, eq=False)
class Stacked:
    """Weights of the sources.

    Attributes:
        weights: Of each source, by name; 0 where it does not help.
        loss: (n,), -log p(the right class) at each of the n calls.
    """

    weights: dict[str, float]
    loss: Tensor


def stack(
    scores: Mapping[str, Tensor],
    target: Tensor,
    units: Tensor,
    least: Mapping[str, float],
    weight: Tensor | None = None,
) -> Stacked:
    """Find the non-negative weights with the largest likelihood, and set those to 0 that do not help.

    The softmax of the weighted sum is log-concave in the weights. A source is left out if the likelihood without it is
    within one standard error of the difference; the least useful first. Not where calls are few.

    Args:
        scores: Each source's scores (n, K), by name, from fits that did not see the calls.
        target: (n,) int64, the right class.
        units: (n,) int64, what was sampled: calls of one demonstration are no independent evidence.
        least: The sources that are never left out, and the least weight of each.
        weight: (n,), how much each call counts, 1 on average; None for all the same.
    """
    names = list(scores)
    counts = torch.ones(len(target)) if weight is None else weight
    found = _fitted({name: scores[name] for name in names}, target, counts, least)
    while len(names) > 1 and len(target) >= MANY:
        tried = []
        for name in names:
            if name not in least:
                others = {other: scores[other] for other in names if other != name}
                without = _fitted(others, target, counts, least)
                difference = counts * (without.loss - found.loss)
                sums = torch.zeros(int(units.max()) + 1).index_add(0, units, difference)
                tried.append((float(sums.sum()), float(sums.square().sum().sqrt()), name, without))
        if not tried:
            break
        loss, error, name, without = min(tried, key=lambda one: one[0])
        if loss > error + _ROUNDING * len(target):
            break
        names.remove(name)
        found = without
    return Stacked({name: found.weights.get(name, 0.0) for name in scores}, found.loss)


def _fitted(scores: Mapping[str, Tensor], target: Tensor, weight: Tensor, least: Mapping[str, float]) -> Stacked:
    """Maximise the likelihood by Newton's method within weights of 0, or their least, and more."""
    spread = {
        name: float((one - one.mean(dim=1, keepdim=True)).std(correction=0).clamp_min(1e-9))
        for name, one in scores.items()
    }
    sources = torch.stack([one.double() / spread[name] for name, one in scores.items()])
    right = sources.gather(2, target[None, :, None].expand(len(sources), -1, 1))[:, :, 0]
    weights = torch.ones(len(sources), dtype=torch.float64)
    counts = weight.double() / weight.sum()
    bounds = torch.tensor([least.get(name, 0.0) * spread[name] for name in scores], dtype=torch.float64)
    weights = weights.maximum(bounds)

    def loss_at(weights: Tensor) -> Tensor:
        logits = torch.einsum("s,snk->nk", weights, sources)
        return logits.logsumexp(dim=1) - weights @ right

    ridge = _RIDGE if len(target) >= MANY else 1 / max(len(target), 1)
    here = loss_at(weights)
    for _ in range(_ROUNDS):
        share = torch.einsum("s,snk->nk", weights, sources).softmax(dim=1)
        mean = (sources * share).sum(dim=2)
        gradient = (mean - right) @ counts + ridge * weights
        second = torch.einsum("snk,tnk->st", sources * (counts[:, None] * share), sources) - (counts * mean) @ mean.T
        curvature = second + ridge * torch.eye(len(sources), dtype=torch.float64)
        step = _bounded(weights, gradient, curvature, bounds) - weights
        size = 1.0
        while size > 1e-3:
            there = loss_at(weights + size * step)
            # The ridge's part too: without it a step that only makes weights smaller would count as none.
            there_all = float(counts @ there) + ridge / 2 * float((weights + size * step).square().sum())
            if there_all <= float(counts @ here) + ridge / 2 * float(weights.square().sum()) + 1e-12:
                break
            size /= 2
        if float(step.abs().max()) * size < 1e-6 or size <= 1e-3:
            break
        weights, here = weights + size * step, there
    return Stacked(
        {name: float(weight) / spread[name] for name, weight in zip(scores, weights, strict=True)}, here.float()
    )


def _bounded(weights: Tensor, gradient: Tensor, curvature: Tensor, bounds: Tensor) -> Tensor:
    """Minimise the quadratic model over weights above their bounds, coordinate by coordinate."""
    new = weights.clone()
    for _ in range(100):
        for place in range(len(new)):
            slope = gradient[place] + curvature[place] @ (new - weights)
            new[place] = (new[place] - slope / curvature[place, place]).maximum(bounds[place])
    return new
