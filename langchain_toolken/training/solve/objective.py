"""The convex objective of the toolken matrix (DESIGN §2), over all positions, chunk by chunk:

    mean_i [ log(e^{s_i} + sum_j e^{h_i.w_j + b}) - t_i ] + lam * ||W - W0||_F^2

where t_i = h_i.w_k + b if position i calls tool k, and the word's own logit if a word follows. The mean is weighted by
the features' importance weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.errors import ToolkenError
from langchain_toolken.lm.fast_linear import product
from langchain_toolken.training.features.compute import Features

# Logits alive at once. Four passes over them are as dear as a product with d=320 unless they stay in the cache: with
# 2^20 a chunk of 1,836 tools takes a third of the time per position that 8,192 positions at once take.
CHUNK_ELEMENTS = 1 << 20


class SolveError(ToolkenError, ValueError):
    """The problem can't be solved as given; the message names the value at fault."""


def chunk_rows(tools: int, size: int) -> int:
    """How many positions a chunk holds, so that neither its logits nor its hidden states are over `CHUNK_ELEMENTS`."""
    return max(1, CHUNK_ELEMENTS // max(tools, size))


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The loss at a matrix, its gradient (K, d) float64, and how much of each position goes to tools, (N,) float32."""

    loss: float
    gradient: Tensor
    mass: Tensor


def check_problem(features: Features, prior: Tensor, lam: float) -> None:
    """Raises SolveError for shapes that don't fit together and for a negative lam."""
    tools, size = prior.shape
    if features.hidden.shape[1] != size:
        raise SolveError(f"the prior has {size} columns but the hidden states {features.hidden.shape[1]}")
    if features.target.numel() and int(features.target.max()) >= tools:
        raise SolveError(f"a position targets tool {int(features.target.max())}, but the prior has only {tools} rows")
    if not lam >= 0:
        raise SolveError(f"lam is {lam}; it must not be negative")


class Objective:
    """Loss and gradient of a toolken matrix (K, d) in float64, summed over the features in chunks.

    precision: of the two products and the exponentials within a chunk; the sums over chunks are float64. With float32
    the gradient is off by about 1e-6 of its norm at the prior and an evaluation takes half the time.

    Hidden states stay where and as they are (a memory-mapped tensor does); a chunk is converted when its turn comes.
    Peak memory beside them: 4 x 2^20 numbers of the precision; the prior and the calls' pull, (K, d) in float64 each;
    and while it is evaluated two more and one of the precision.
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
        # The targets' part of the loss is linear in W: its gradient is this constant, so it is summed once.
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
        return self._lam

    @property
    def total(self) -> float:
        """The sum of the positions' weights, which the loss is divided by."""
        return self._total

    def __call__(self, matrix: Tensor) -> tuple[float, Tensor]:
        """The loss at `matrix` ((K, d) float64) and its gradient ((K, d) float64), both on the objective's device."""
        evaluation = self.evaluate(matrix)
        return evaluation.loss, evaluation.gradient

    def evaluate(self, matrix: Tensor) -> Evaluation:
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
        # In place: each (K, d) of float64 counts where K and d are large.
        gradient.div_(self._total).add_(away, alpha=2 * self._lam)
        return Evaluation(loss, gradient, torch.cat(masses).cpu())

    def shares_at(self, matrix: Tensor, kept: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Each tool's probability at the positions `kept` (indices), (n, K) of `dtype`; all words', (n,) float32."""
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
    """How much of each position's probability goes to tools, (N,) float32, from products of `dtype`."""
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
    """Each tool's probability (n, K), all tools' (n,), and the log of the sum that they are shares of (n,)."""
    logits = product(hidden, rows)
    words = logsumexp.to(rows.dtype) - bias
    largest = torch.maximum(logits.amax(dim=1), words)
    share = logits.sub_(largest[:, None]).exp_()
    tools = share.sum(dim=1)
    total = tools + (words - largest).exp()
    share /= total[:, None]
    return share, tools / total, largest + total.log() + bias
