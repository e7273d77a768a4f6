"""Rows for tools of which little or nothing but names and descriptions is known.

At the place of a call the mean state is 0.95 of each state's norm, so that an untrained row's score is mostly its
accidental product with that mean. Untrained rows are therefore *levelled*: centred over the tools, and without their
component along it. Descriptions put as requests (`described`) say the rest.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

REQUEST = "request"
# What a point of each source counts where no held-out calls say it: about what 199 calls of metatool's train set say,
# with one demonstration a tool. Toolkens' logits and embeddings' cosines have no such unit; theirs is relative to how
# far they are apart.
ASSUMED = {REQUEST: 0.5, "description": 0.3, "demonstrations": 0.3, "classifier": 0.0}
ASSUMED_SPREAD = 0.8
_RIDGE = 1.0


def levelled(rows: Tensor, states: Tensor) -> Tensor:
    """Centre rows (K, d) over the tools, scale each to length 1, and take out the mean direction of states (n, d)."""
    axis = normalize(states.mean(dim=0), dim=0)
    centred = normalize(rows - rows.mean(dim=0), dim=1)
    return centred - (centred @ axis)[:, None] * axis


def described_rows(prior: Tensor, said: Tensor, plain: Tensor | None) -> Tensor:
    """Add the levelled prior and rows for the descriptions' last states, as long together as the prior's rows.

    Args:
        prior: (K, d).
        said: (K, d), the last states of the descriptions, each put as a request.
        plain: (p, d), those of requests that need no tool; None without any.
    """
    shown = request_rows(said, torch.arange(len(prior)), len(prior), _RIDGE, plain=plain)
    parts = [levelled(prior, said), shown]
    rows = torch.stack([part / _spread(said @ part.T) for part in parts]).sum(dim=0)
    scaled: Tensor = rows * (prior.norm(dim=1).mean() / rows.norm(dim=1).mean())
    return scaled


def _spread(scores: Tensor) -> Tensor:
    return (scores - scores.mean(dim=1, keepdim=True))[~torch.eye(len(scores), dtype=torch.bool)].std().clamp_min(1e-6)


def spread_of(logits: Tensor, right: Tensor) -> float:
    """Return how far logits (n, K) are apart, without those of the right tools (n,), to which they were fitted."""
    others = torch.ones_like(logits, dtype=torch.bool)
    if logits.shape[1] > 2:
        others.scatter_(1, right[:, None], False)
    mean = (logits * others).sum(dim=1, keepdim=True) / others.sum(dim=1, keepdim=True)
    return float((logits - mean)[others].std(correction=0))


def level_unseen(logits: Tensor, tool: Tensor, called: Tensor) -> Tensor | None:
    """Return what to add to the biases of tools without a call, so that they are level with called ones: (K,).

    Each demonstrated call pushes the rows of all other tools down, and nothing pushes one up that no demonstration
    calls. So at the calls its logit is raised to what tools have on average whose own calls are others.

    Args:
        logits: (n, K), the toolkens' logits at some calls.
        tool: (n,) int64, the tools called there.
        called: (K,) bool, the tools with a call, there or elsewhere.

    Returns:
        0 for the tools with a call; None if all have one, or fewer than two.
    """
    if bool(called.all()) or int(called.sum()) < 2:
        return None
    others = called.repeat(len(tool), 1)
    others[torch.arange(len(tool)), tool] = False
    usual = (logits * others).sum(dim=1) / others.sum(dim=1)
    return torch.where(called, 0.0, (usual[:, None] - logits).mean(dim=0))


def request_rows(
    request: Tensor,
    tool: Tensor,
    tools: int,
    ridge: float,
    described: Tensor | None = None,
    plain: Tensor | None = None,
) -> Tensor:
    """Fit rows (K, d) for the mean states of requests.

    A tool's row is its mean state, whitened by the covariance within the tools and of length 1 in that metric
    (a linear discriminant by angle). The direction of the overall mean is taken out first: what is left has mean 0, so
    that no constants are needed and a tool without calls, whose row is 0, counts as the average of the others. It is as
    good as a multinomial logistic regression on held-out requests, at a tenth of the time.

    Args:
        request: (n, d), the requests' mean states.
        tool: (n,) int64, their tools.
        tools: K.
        ridge: Ridge of the covariance, relative to a coordinate's variance.
        described: (K, d), the tools' descriptions put as requests: one more request of each tool, once what they differ
            by from requests on average is taken out.
        plain: (p, d), requests for no tool. How these differ among themselves is how requests differ, which a few of
            each tool can't show.
    """
    seen = len(request)
    every = request if described is None else torch.cat([request, described])
    mean = every.mean(dim=0)
    axis = mean / mean.norm().clamp_min(1e-12)

    def level(states: Tensor) -> Tensor:
        flat: Tensor = states - (states @ axis)[:, None] * axis
        return flat

    spread = level(every if plain is None else torch.cat([every, plain]))
    deviation = spread.std(dim=0, correction=0).clamp_min(1e-6)
    features = level(every) / deviation
    if described is not None:
        said = features[seen:]
        if seen:
            features = torch.cat([features[:seen], said + (features[:seen] - said[tool]).mean(dim=0)])
        tool = torch.cat([tool, torch.arange(tools)])
        features = features - features.mean(dim=0)
    count = torch.bincount(tool, minlength=tools).clamp_min(1)[:, None]
    means = torch.zeros(tools, every.shape[1]).index_add(0, tool, features) / count
    scatter, number = _scatter(features - means[tool])
    if plain is not None:
        others = level(plain) / deviation
        further, more = _scatter(others - others.mean(dim=0))
        scatter, number = scatter + further, number + more
    covariance = scatter / number + ridge * torch.eye(every.shape[1])
    rows = torch.linalg.solve(covariance, means.T).T
    rows = rows / (rows * means).sum(dim=1, keepdim=True).clamp_min(1e-9).sqrt()
    rows = rows / deviation
    return level(rows)


def _scatter(centred: Tensor) -> tuple[Tensor, int]:
    return centred.T @ centred, len(centred)
