"""A cheap model of the objective near one matrix: fewer positions, low-precision products, the exact gradient there.

At W_t, with its exact gradient G_t over all positions, the model of F(W_t + D) is

    <G_t, D> + lam ||D||^2 + (1/total) sum_{i in S} v_i [ log(1 + sum_j p_ij (e^{h_i.d_j} - 1)) - sum_j p_ij h_i.d_j ]

S holds all positions that call and a sample of the word positions, drawn in proportion to weight x toolken mass (the
probability of all toolkens together at W_t) and weighted by v_i so that sums over S are unbiased. The bracket is the
cross-entropy without its linear part, and vanishes with D. So the approximations, sampling and bfloat16 products, only
affect the curvature, and their error shrinks with the step. Minimising the model, computing the exact gradient there
and starting again therefore converges to the optimum of the full problem. This is DANE (Shamir, Srebro and Zhang 2014)
with importance sampling.
"""

from __future__ import annotations

import torch
from torch import Tensor

from langchain_toolken.lm.fast_linear import product
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.solve.objective import CHUNK_ELEMENTS, Evaluation, Objective
from langchain_toolken.training.solve.row_curvature import RowCurvature

# This part of the mean mass is added to every position's, because a position without mass now may gain some.
_UNIFORM = 0.1
# Shares that grow by more than e^80 overflow float32; the line search shortens such steps. Those that shrink by more
# than e^-40 are 0 next to the others, and would become numbers so small that a CPU computes slowly with them.
_LARGEST, _SMALLEST = 80.0, -40.0
_LEAST = 1e-30


def products_dtype(device: torch.device | str) -> torch.dtype:
    """Return bfloat16 where it is faster than float32, on GPUs and on CPUs with bf16 instructions, else float32."""
    if torch.device(device).type == "cpu":
        found = torch.cpu.get_capabilities()
        return torch.bfloat16 if found.get("avx512_bf16") or found.get("amx_bf16") else torch.float32
    return torch.bfloat16


def sample_positions(features: Features, mass: Tensor, words: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Choose all calls and about `words` word positions.

    A word position is drawn with probability min(1, c x weight x (mass + a tenth of the mean mass)), and its weight is
    divided by that probability.

    Args:
        features: The features.
        mass: (N,) float32, the probability of all toolkens together at each position.
        words: Expected number of word positions.
        seed: Draws them.

    Returns:
        The indices (n,) and their weights (n,) float32.
    """
    called = features.target >= 0
    positions = (~called).nonzero()[:, 0]
    if words >= len(positions):
        return torch.arange(len(features)), features.weight.clone()
    size = features.weight[positions].double() * (mass[positions] + _UNIFORM * mass[positions].mean()).double()
    chance = _chances(size, words)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(len(positions), generator=generator, dtype=torch.float64) < chance
    kept = torch.cat([called.nonzero()[:, 0], positions[drawn]])
    weight = features.weight[kept].clone()
    weight[int(called.sum()) :] /= chance[drawn].float()
    return kept, weight


def _chances(size: Tensor, count: int) -> Tensor:
    """Return min(1, c x size), with c such that they add up to `count` (less than the number of sizes)."""
    size = size.clamp(min=1e-300)
    certain = torch.zeros(len(size), dtype=torch.bool)
    while True:
        left = count - int(certain.sum())
        chance = size * (left / float(size[~certain].sum()))
        over = (chance >= 1) & ~certain
        if not over.any():
            return chance.masked_fill(certain, 1.0)
        certain |= over


class LocalModel:
    """The model around one matrix.

    It holds n x (d + K) numbers of `dtype`, and chunks of 3 x 2^20 floats while it is evaluated.
    """

    def __init__(
        self,
        objective: Objective,
        features: Features,
        kept: Tensor,
        weight: Tensor,
        matrix: Tensor,
        at: Evaluation,
        dtype: torch.dtype,
    ) -> None:
        self._lam = objective.lam
        self._gradient = at.gradient.float()
        self._hidden = features.hidden[kept].to(device=matrix.device, dtype=dtype)
        self._share, self._rest = objective.shares_at(matrix, kept, dtype)
        self._weight = (weight / objective.total).to(matrix.device)

    def row_curvature(self) -> RowCurvature:
        """Return the rows' curvature at D = 0."""
        return RowCurvature(self._hidden, self._share, self._weight, self._lam)

    def __call__(self, change: Tensor) -> Tensor:
        """Return the model's gradient (K, d) float32 at D = `change`, (K, d) float32."""
        dtype = self._hidden.dtype
        rows = change.to(dtype)
        gradient = torch.add(self._gradient, change, alpha=2 * self._lam)
        step = max(1, CHUNK_ELEMENTS // len(change))
        for start in range(0, len(self._weight), step):
            part = slice(start, start + step)
            hidden, weight, before = self._hidden[part], self._weight[part], self._share[part].float()
            # p e^x / T - p / c, with c the sum of the stored shares and T = sum p e^x: 0 at x = 0, despite rounding.
            grown = product(hidden, rows).float().clamp_(_SMALLEST, _LARGEST).exp_().mul_(before)
            rest = self._rest[part].clamp(min=_LEAST)
            stored, total = (one.sum(dim=1).add_(rest) for one in (before, grown))
            grown.mul_((weight / total)[:, None]).addcmul_(before, (weight / stored)[:, None], value=-1)
            gradient += product(grown.to(dtype).T, hidden.T)
        return gradient
