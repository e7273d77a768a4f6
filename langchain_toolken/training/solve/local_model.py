"""A cheap stand-in for the objective near one matrix: fewer positions, short products, the true gradient there.

At W_t, with its exact gradient G_t over all positions, the model of F(W_t + D) is

    <G_t, D> + lam ||D||^2 + (1/total) sum_{i in S} v_i [ log(1 + sum_j p_ij (e^{h_i.d_j} - 1)) - sum_j p_ij h_i.d_j ]

S: all positions that call, and a sample of the word positions, drawn in proportion to weight x toolken mass (the share
of their probability that goes to toolkens at W_t) and weighted by v_i so that sums over S are unbiased. The bracket is
what cross-entropy does beyond its slope, and vanishes with D. So whatever is approximate here, the sample as well as
bfloat16 products, concerns the curvature alone, and its error shrinks with the step: minimising the model, measuring
the true gradient there and beginning again ends in the optimum of the full problem and nowhere else. (DANE, Shamir,
Srebro and Zhang 2014, with importance sampling; dropping positions of nil mass is the case where they are never drawn.)
"""

from __future__ import annotations

import torch
from torch import Tensor

from langchain_toolken.lm.fast_linear import product
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.solve.objective import CHUNK_ELEMENTS, Evaluation, Objective
from langchain_toolken.training.solve.row_curvature import RowCurvature

# So much of the sampling goes by weight alone: mass may come back to a position that has none now.
_UNIFORM = 0.1
# Shares beyond e^80 times what they were overflow float32; a longer step is shortened by the line search.
_LARGEST = 80.0
_LEAST = 1e-30


def products_dtype(device: torch.device | str) -> torch.dtype:
    """bfloat16 where it is faster than float32: CPUs with bf16 instructions (4 times here), and GPUs."""
    if torch.device(device).type == "cpu":
        found = torch.cpu.get_capabilities()
        return torch.bfloat16 if found.get("avx512_bf16") or found.get("amx_bf16") else torch.float32
    return torch.bfloat16


def sample_positions(features: Features, mass: Tensor, words: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Indices (n,) of all calls and of about `words` word positions, and their weights (n,) float32.

    mass: (N,) float32. A word position is drawn with probability min(1, c x weight x (mass + a tenth of the mean mass))
    and its weight divided by it.
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
    """min(1, c x size) with c such that the sum is `count` (less than there are)."""
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
    """The model around one matrix. Its memory: n x (d + K) numbers of `dtype` (and chunks of 3 x 2^20 floats)."""

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
        """The rows' curvature at D = 0."""
        return RowCurvature(self._hidden, self._share, self._weight, self._lam)

    def __call__(self, change: Tensor) -> Tensor:
        """The model's gradient (K, d) float32 at D = `change` (K, d) float32."""
        dtype = self._hidden.dtype
        rows = change.to(dtype)
        gradient = torch.add(self._gradient, change, alpha=2 * self._lam)
        step = max(1, CHUNK_ELEMENTS // len(change))
        for start in range(0, len(self._weight), step):
            part = slice(start, start + step)
            hidden, weight, before = self._hidden[part], self._weight[part], self._share[part].float()
            rest = self._rest[part]
            # p e^x / T - p / c = p (e^x - 1 - s / c) / T, with c the shares' sum as stored, s = sum p (e^x - 1) and
            # T = c + s: exact for small x, and nothing at x = 0. T is at least the words' share, whatever the rounding.
            grown = product(hidden, rows).float().clamp_(max=_LARGEST).expm1_()
            more = torch.linalg.vecdot(before, grown)
            stored = before.sum(dim=1).add_(rest)
            total = torch.maximum(stored + more, rest.clamp(min=_LEAST))
            grown.sub_((more / stored)[:, None]).mul_(before).mul_((weight / total)[:, None])
            gradient += product(grown.to(dtype).T, hidden.T)
        return gradient
