"""A preconditioner for L-BFGS: the objective's approximate curvature, row by row.

The block of the Hessian of one toolken, at shares p, is

    H_j = 2 lam I + (1/total) sum_i v_i p_ij (1 - p_ij) h_i h_i^T

Near the optimum a few positions contribute most of it: the tool's calls and the positions mistaken for them. So each
row keeps its heaviest positions exactly. The others are approximated by the sum over all rows' other positions, scaled
to the row's remainder and reduced to its main directions plus a constant. The inverse then takes a few thin products
(Woodbury). Interactions between rows are left to L-BFGS.

This is accurate near the optimum only: from cross-validation's start it saves two thirds of the work, from the prior
nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from langchain_toolken.training.solve.objective import CHUNK_ELEMENTS

# Most positions kept per row, and most elements kept altogether, rows x positions x size: 32 MB.
_MOST = 16
_ELEMENTS = 1 << 23
# Directions of the shared remainder, and power iterations to find them. 16 directions take as few steps as all 320.
_DIRECTIONS = 16
_ITERATIONS = 3
# Every direction gets at least this part of the row's whole curvature: float32 can't resolve less.
_FLATTEST = 1e-6
_LEAST = 1e-30


def kept_positions(tools: int, size: int) -> int:
    """Return the positions kept per row; 0 if the matrix alone has more elements than may be kept."""
    return min(_MOST, _ELEMENTS // (tools * size))


class RowCurvature:
    """The inverse of the rows' approximate curvature.

    It holds m K d floats, with m = `kept_positions`, and twice that while it is built.

    Args:
        hidden: (n, d), of any float dtype.
        share: (n, K), each tool's probability, of any float dtype.
        weight: (n,) float32, each position's weight divided by the total.
        lam: λ, the weight of the pull to the prior.
    """

    def __init__(self, hidden: Tensor, share: Tensor, weight: Tensor, lam: float) -> None:
        tools, size = share.shape[1], hidden.shape[1]
        squares = torch.cat([part.float().square().sum(dim=1) for part in hidden.split(max(1, CHUNK_ELEMENTS // size))])
        most = min(kept_positions(tools, size), len(weight))
        total = torch.zeros(tools, device=share.device)
        shared = torch.empty_like(weight)
        value = torch.zeros(tools, 0, device=share.device)
        place = torch.zeros(tools, 0, dtype=torch.int64, device=share.device)
        step = max(1, CHUNK_ELEMENTS // tools)
        for start in range(0, len(weight), step):
            part = slice(start, start + step)
            before = share[part].float()
            curved = (1 - before).mul_(before).mul_(weight[part, None])
            shared[part] = curved.sum(dim=1)
            curved = curved.mul_(squares[part, None]).T.contiguous()
            total += curved.sum(dim=1)
            value, at = torch.cat([value, curved], dim=1).topk(min(most, value.shape[1] + curved.shape[1]), dim=1)
            offset = torch.arange(start, start + curved.shape[1], device=place.device).expand(tools, -1)
            place = torch.cat([place, offset], dim=1).gather(1, at)
        kept = hidden[place.reshape(-1)].float().reshape(tools, most, size)
        kept *= (value / squares[place].clamp(min=_LEAST)).sqrt()[:, :, None]
        rest = (total - value.sum(dim=1)).clamp(min=0)
        self._directions, main, left = _main_directions(hidden, shared, kept, float(rest.sum()))
        base = rest / rest.sum().clamp(min=_LEAST)
        least = (_FLATTEST * total).clamp(min=max(2 * lam, _LEAST))[:, None]
        # The inverse of a row's remainder along each main direction, (K, r), and elsewhere, (K, 1).
        self._elsewhere = 1 / (base[:, None] * left + least)
        self._along = 1 / (base[:, None] * main + least) - self._elsewhere
        self._kept = kept
        # In float64, because near-duplicate positions make it nearly singular.
        inner = torch.empty(tools, most, most, dtype=torch.float64, device=kept.device)
        step = max(1, CHUNK_ELEMENTS // max(1, most * size))
        for start in range(0, tools if most else 0, step):
            rows = slice(start, start + step)
            pulled = self._rest_inverse(kept[rows].reshape(-1, size), rows, most).view(-1, most, size)
            inner[start : start + step] = pulled.double() @ kept[rows].double().mT
        inner.diagonal(dim1=1, dim2=2).add_(1)
        self._factor = torch.linalg.cholesky(inner)

    def _rest_inverse(self, vectors: Tensor, rows: slice, each: int = 1) -> Tensor:
        along = self._along[rows].repeat_interleave(each, dim=0)
        elsewhere = self._elsewhere[rows].repeat_interleave(each, dim=0)
        return torch.addmm(elsewhere * vectors, (vectors @ self._directions).mul_(along), self._directions.T)

    def __call__(self, gradient: Tensor) -> Tensor:
        """Multiply each row of `gradient`, (K, d) float32, by its inverse curvature."""
        every = slice(None)
        found = self._rest_inverse(gradient, every)
        # As rows: products with columns, (m, d) by (d, 1), take three times as long.
        inner = (found[:, None] @ self._kept.mT).double().mT
        inner = torch.cholesky_solve(inner, self._factor).float().mT
        return found.sub_(self._rest_inverse((inner @ self._kept)[:, 0], every))


def _main_directions(hidden: Tensor, weight: Tensor, without: Tensor, trace: float) -> tuple[Tensor, Tensor, float]:
    """Find the main directions of the sum of weight_i h_i h_i^T minus that of the vectors in `without`.

    Args:
        hidden: (n, d).
        weight: (n,).
        without: Vectors, (..., d).
        trace: The trace of the difference.

    Returns:
        The directions (d, r), the curvature along each (r,), and the curvature along any other direction.
    """
    size = hidden.shape[1]
    taken = without.reshape(-1, size)
    step = max(1, CHUNK_ELEMENTS // size)

    def times(directions: Tensor) -> Tensor:
        product = -(taken.T @ (taken @ directions))
        for start in range(0, len(weight), step):
            part = hidden[start : start + step].float()
            product += part.T @ ((part @ directions) * weight[start : start + step, None])
        return product

    generator = torch.Generator().manual_seed(0)
    count = min(_DIRECTIONS, size)
    directions = torch.randn(size, count, generator=generator).to(weight.device)
    for _ in range(_ITERATIONS):
        directions = torch.linalg.qr(times(directions)).Q
    along, turn = torch.linalg.eigh(directions.T @ times(directions))
    left = max(trace - float(along.sum()), 0.0) / max(size - count, 1)
    return directions @ turn, along.clamp(min=0), left
