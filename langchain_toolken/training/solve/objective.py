"""The convex objective of the toolken matrix W, summed over all positions chunk by chunk.

    mean_i [ log(e^{s_i} + sum_j e^{h_i.w_j + b}) - t_i ] + lam * ||W - W0||_F^2

where t_i = h_i.w_k + b if position i calls tool k, and the word's own logit if a word follows. The mean is weighted by
the features' importance weights. `shares` computes the log-sum-exp and the probabilities for all of `training.solve`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.errors import ToolkenError
from langchain_toolken.lm.fast_linear import product
from langchain_toolken.training.features.compute import Features

# Logits in memory at once. If they fit into the CPU's cache, a chunk takes a fraction of the time.
CHUNK_ELEMENTS = 1 << 20


class SolveError(ToolkenError, ValueError):
    """The problem can't be solved; the message names the value at fault."""


def chunk_rows(tools: int, size: int) -> int:
    """Return the positions per chunk, so that its logits and its hidden states are at most `CHUNK_ELEMENTS` each."""
    return max(1, CHUNK_ELEMENTS // max(tools, size))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The objective at a matrix.

    Attributes:
        loss: Its value.
        gradient: Its gradient, (K, d) float64.
        mass: (N,) float32, the probability of all toolkens together at each position.
    """

    loss: float
    gradient: Tensor
    mass: Tensor


def check_problem(features: Features, prior: Tensor, lam: float) -> None:
    """Check the shapes and λ.

    Raises:
        SolveError: The shapes don't fit together, or `lam` is negative.
    """
    tools, size = prior.shape
    if features.hidden.shape[1] != size:
        raise SolveError(f"the prior has {size} columns but the hidden states {features.hidden.shape[1]}")
    if features.target.numel() and int(features.target.max()) >= tools:
        raise SolveError(f"a position targets tool {int(features.target.max())}, but the prior has only {tools} rows")
    if not lam >= 0:
        raise SolveError(f"lam is {lam}; it must not be negative")


class Objective:
    """Loss and gradient of a toolken matrix (K, d) in float64, summed over the features in chunks.

    Hidden states are not copied; each chunk is converted when it is needed, so they may be memory-mapped. Peak memory
    in addition to them: 4 x 2^20 numbers of `precision`; two matrices (K, d) in float64; and during an evaluation two
    more, and one in `precision`.

    Args:
        features: The features.
        prior: W0, (K, d).
        lam: λ, the weight of the pull to the prior.
        bias: b, added to every toolken's logit.
        device: Where to compute.
        precision: Of the two products and the exponentials within a chunk; sums over chunks are float64. With float32
            the gradient is off by about 1e-6 of its norm at the prior and an evaluation takes half the time.

    Raises:
        SolveError: The shapes don't fit together, or `lam` is negative.
    """

    def __init__(
        self,
        features: Features,
        prior: Tensor,
        lam: float,
        bias: float = 0.0,
        device: torch.device | str = "cpu",
        precision: torch.dtype = torch.float64,
    ) -> None:
        check_problem(features, prior, lam)
        tools, size = prior.shape
        self._hidden = features.hidden
        self._precision = precision
        self._logsumexp = features.word_logsumexp.to(device)
        self._prior = prior.double().to(device)
        self._lam = lam
        self._bias = bias
        weight = features.weight.double()
        self._weight = weight.to(device)
        self._total = float(weight.sum())
        # The targets' part of the loss is linear in W, so its gradient is a constant that is summed once.
        calls = (features.target >= 0).nonzero()[:, 0]
        pull = torch.zeros(tools, size, dtype=torch.float64)
        for part in calls.split(chunk_rows(1, size)):
            pull.index_add_(0, features.target[part], features.hidden[part].double() * weight[part, None])
        self._pull = pull.to(device)
        words = features.target < 0
        self._constant = float(weight[words] @ features.target_logit[words].double())
        self._constant += bias * float(weight[calls].sum())

    @property
    def lam(self) -> float:
        """λ, the weight of the pull to the prior."""
        return self._lam

    @property
    def total(self) -> float:
        """The sum of the positions' weights, by which the loss is divided."""
        return self._total

    def __call__(self, matrix: Tensor) -> tuple[float, Tensor]:
        """Return the loss at `matrix`, (K, d) float64 on the objective's device, and its gradient, likewise."""
        evaluation = self.evaluate(matrix)
        return evaluation.loss, evaluation.gradient

    def evaluate(self, matrix: Tensor) -> Evaluation:
        """Return loss, gradient and toolken mass at `matrix`, (K, d) float64 on the objective's device."""
        loss = -self._constant - float(torch.dot(self._pull.view(-1), matrix.reshape(-1)))
        gradient = -self._pull
        rows = matrix.to(self._precision)
        step = chunk_rows(*matrix.shape)
        masses = []
        for start in range(0, len(self._weight), step):
            part = slice(start, start + step)
            hidden = self._hidden[part].to(device=matrix.device, dtype=self._precision)
            share, mass, log_total = shares(hidden, rows, self._bias, self._logsumexp[part])
            loss += float(self._weight[part] @ log_total.double())
            share.mul_(self._weight[part, None])
            gradient += product(share.T, hidden.T)
            masses.append(mass.float())
        away = matrix - self._prior
        loss = loss / self._total + self._lam * float(torch.dot(away.view(-1), away.view(-1)))
        # In place, because each (K, d) in float64 takes gigabytes where K and d are large.
        gradient.div_(self._total).add_(away, alpha=2 * self._lam)
        return Evaluation(loss, gradient, torch.cat(masses).cpu())

    def shares_at(self, matrix: Tensor, kept: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return probabilities at the positions `kept` (indices): each tool's (n, K) and all words' (n,) float32.

        The tools' are in `dtype`.
        """
        found = torch.empty(len(kept), len(matrix), dtype=dtype, device=matrix.device)
        words = torch.empty(len(kept), device=matrix.device)
        rows = matrix.float()
        step = chunk_rows(*matrix.shape)
        for start in range(0, len(kept), step):
            part = kept[start : start + step]
            hidden = self._hidden[part].to(device=matrix.device, dtype=torch.float32)
            logsumexp = self._logsumexp[part]
            share, _, log_total = shares(hidden, rows, self._bias, logsumexp)
            found[start : start + step] = share
            words[start : start + step] = (logsumexp - log_total).exp()
        return found, words


def toolken_mass(
    features: Features, matrix: Tensor, bias: float, dtype: torch.dtype, device: torch.device | str = "cpu"
) -> Tensor:
    """Return the probability of all toolkens together at each position, (N,) float32, with products in `dtype`.

    These are the second values of `shares`, without computing each tool's.
    """
    rows = matrix.to(device=device, dtype=dtype)
    words = features.word_logsumexp.to(device) - bias
    step = chunk_rows(*matrix.shape)
    masses = []
    for start in range(0, len(features), step):
        part = slice(start, start + step)
        logits = (features.hidden[part].to(device=device, dtype=dtype) @ rows.T).float()
        masses.append((logits.logsumexp(dim=1) - words[part]).sigmoid())
    return torch.cat(masses).cpu()


def shares(hidden: Tensor, rows: Tensor, bias: float, logsumexp: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the probabilities of tools over [words ; toolkens], and their log-sum-exp.

    Args:
        hidden: (n, d).
        rows: (K, d), the toolken matrix, in the dtype of `hidden`.
        bias: b, added to every toolken's logit.
        logsumexp: (n,), logsumexp of the word logits.

    Returns:
        Each tool's probability (n, K), all tools' together (n,), and log(e^s + sum_j e^(h.w_j + b)) (n,).
    """
    logits = product(hidden, rows)
    words = logsumexp.to(rows.dtype) - bias
    largest = torch.maximum(logits.amax(dim=1), words)
    share = logits.sub_(largest[:, None]).exp_()
    tools = share.sum(dim=1)
    total = tools + (words - largest).exp()
    share /= total[:, None]
    return share, tools / total, largest + total.log() + bias
