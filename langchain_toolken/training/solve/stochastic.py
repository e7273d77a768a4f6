"""A solver for toolken matrices too large for L-BFGS: minibatches of positions with variance reduction.

This is SVRG (Johnson and Zhang 2013) on `objective.Objective`. An epoch begins with the exact gradient G at an anchor
A. Each step then draws a batch B of positions, without replacement within the epoch, and moves W against

    (N / (|B| total)) sum_B v_i (p_i(W) - p_i(A)) h_i^T  +  G  +  2 lam (W - A)

whose mean is the gradient at W and whose noise vanishes as W and A approach the optimum. So a fixed step size reaches
the optimum that L-BFGS finds, without averaging. Every step sums over all tools; tools are not sampled.

The first step size is 1/L for L = 2 lam + mean_i(v_i ||h_i||^2) / 2, a bound on the curvature. That is far too small
where calls are rare among words, so after an epoch that lowers the loss and the gradient the step size grows by half.
An epoch that doesn't is undone and the step size quartered. Only exact gradients decide about convergence.

Cost for K tools, size d, N positions, batches of m: 16 K d bytes (prior, W, A, G in float32; 4 K d more with a start),
12 m K for a batch's shares and 16 m d for its states. An epoch takes 4 N K d FLOP for G and 6 N K d for the steps, and
reads the hidden states twice, once in order and once in random batches.
"""

from __future__ import annotations

import torch
from torch import Tensor

from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.solve.objective import chunk_rows, shares

# Positions per batch, and the fewest per chunk of the exact gradient. With fewer, reading (K, d) matrices from memory
# dominates the time.
BATCH = 256


class StochasticState:
    """One problem and the state of its solve.

    All matrices are (K, d) float32 on the prior's device.

    Args:
        features: The features.
        prior: W0; not copied.
        lam: λ, the weight of the pull to the prior.
        bias: b, added to every toolken's logit.
        start: The first anchor; copied.
        batch: Positions per step.
        seed: Draws the batches.

    Attributes:
        anchor: A, the best matrix so far.
        loss: The objective at the anchor.
        norm: The norm of its gradient at the anchor.
        step_size: Of the next epoch.
    """

    def __init__(
        self,
        features: Features,
        prior: Tensor,
        lam: float,
        bias: float,
        start: Tensor,
        *,
        batch: int = BATCH,
        seed: int = 0,
    ) -> None:
        self._features, self._prior, self._lam, self._bias = features, prior, lam, bias
        self._device = prior.device
        self._total = float(features.weight.double().sum())
        self._batch = min(batch, len(features))
        self._generator = torch.Generator().manual_seed(seed)
        self.anchor = start.clone()
        self._gradient = torch.empty_like(self.anchor)
        self.loss, self.norm = self._measure()
        rows = chunk_rows(1, prior.shape[1])
        squares = torch.cat(
            [
                features.hidden[first : first + rows].to(torch.float32).square().sum(dim=1)
                for first in range(0, len(features), rows)
            ]
        )
        curvature = float((squares * features.weight).double().sum()) / self._total / 2 + 2 * lam
        self.step_size = 1 / curvature

    def epoch(self) -> bool:
        """Run one epoch and move the anchor.

        Returns:
            False if the epoch made things worse; it is then undone and the step size quartered.
        """
        matrix = self.anchor.clone()
        order = torch.randperm(len(self._features), generator=self._generator)
        for batch in order.split(self._batch):
            self._step(matrix, batch)
        self.anchor, matrix = matrix, self.anchor
        loss, norm = self._measure()
        # `not <` rather than `>=`: far too large a step leads to nan.
        if not (loss < self.loss and norm < 2 * self.norm) and not norm < self.norm:
            self.anchor = matrix
            self.step_size /= 4
            self._measure()
            return False
        self.loss, self.norm = loss, norm
        self.step_size *= 1.5
        return True

    def _step(self, matrix: Tensor, batch: Tensor) -> None:
        hidden = self._features.hidden[batch].to(device=self._device, dtype=torch.float32)
        words = self._features.word_logsumexp[batch].to(self._device)
        scale = len(self._features) / (len(batch) * self._total)
        change = shares(hidden, matrix, self._bias, words)[0]
        change -= shares(hidden, self.anchor, self._bias, words)[0]
        change *= (self._features.weight[batch].to(self._device) * scale)[:, None]
        # The pull comes first, because it is that of W before the step.
        matrix.lerp_(self.anchor, min(1.0, 2 * self._lam * self.step_size))
        matrix.addmm_(change.T, hidden, alpha=-self.step_size)
        matrix.sub_(self._gradient, alpha=self.step_size)

    def _measure(self) -> tuple[float, float]:
        """Compute the gradient at the anchor, in place; return the loss and the gradient's norm."""
        features, gradient = self._features, self._gradient.zero_()
        loss = 0.0
        step = max(self._batch, chunk_rows(*self.anchor.shape))
        for start in range(0, len(features), step):
            part = slice(start, start + step)
            hidden = features.hidden[part].to(device=self._device, dtype=torch.float32)
            weight = features.weight[part].to(self._device) / self._total
            target = features.target[part].to(self._device)
            called = (target >= 0).nonzero()[:, 0]
            logit = features.target_logit[part].to(self._device).clone()
            logit[called] = (hidden[called] * self.anchor[target[called]]).sum(dim=1) + self._bias
            share, _, log_total = shares(
                hidden, self.anchor, self._bias, features.word_logsumexp[part].to(self._device)
            )
            loss += float(weight.double() @ (log_total - logit).double())
            share[called, target[called]] -= 1
            gradient.addmm_((share * weight[:, None]).T, hidden)
        square = 0.0
        for rows in range(0, len(self.anchor), step):
            away = self.anchor[rows : rows + step] - self._prior[rows : rows + step]
            square += float(away.square().sum(dtype=torch.float64))
            gradient[rows : rows + step].add_(away, alpha=2 * self._lam)
        return loss + self._lam * square, float(gradient.norm())
