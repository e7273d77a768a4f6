"""A solver for toolken matrices too large for L-BFGS: minibatches of positions with variance reduction.

SVRG (Johnson and Zhang 2013) on the objective of `objective`: an epoch begins with the exact gradient G at an anchor A;
then each step draws a batch B of positions, without replacement within the epoch, and goes along

    (N / (|B| total)) sum_B v_i (p_i(W) - p_i(A)) h_i^T  +  G  +  2 lam (W - A)

whose mean is the gradient at W and whose noise vanishes as W and A near the optimum: a fixed step size leads to the
optimum that L-BFGS finds, without averaging. Every step sums over all tools; nothing is sampled among them, so there is
nothing to correct.

The first step size is 1/L for L = 2 lam + mean_i(v_i ||h_i||^2) / 2, a bound on the curvature. It is far too timid
where calls are rare among words, so an epoch that brings the loss and the gradient down is followed by one of 1.5
times the step; one that doesn't is undone and the step quartered. Only exact gradients decide when it is done.

What it takes for K tools, size d, N positions, batches of m: 16 K d bytes (prior, W, A, G in float32; 4 K d more where
a start is given), 12 m K for a batch's shares and 16 m d for its states; an epoch is 4 N K d FLOP for G and 6 N K d for
the steps, and reads the hidden states twice, once in order and once in batches drawn at random.
"""

from __future__ import annotations

import torch
from torch import Tensor

from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.solve.objective import chunk_rows, shares

# Positions in a batch, and at least in a chunk of the exact gradient: with fewer, reading (K, d) matrices from memory
# is what takes the time: 22 positions, which 2^20 logits of 47,000 tools would be, take 1.6 times as long each.
BATCH = 256


class StochasticState:
    """One problem and where its solve stands. All matrices (K, d) float32 on one device; the prior is not copied."""

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
        """One pass of steps and a measurement. False: it was for the worse and undone, the step size is quartered."""
        matrix = self.anchor.clone()
        order = torch.randperm(len(self._features), generator=self._generator)
        for batch in order.split(self._batch):
            self._step(matrix, batch)
        self.anchor, matrix = matrix, self.anchor
        loss, norm = self._measure()
        # `not <` rather than `>=`: a step far too long ends in values that are not numbers.
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
        # In this order: the pull concerns W before the step.
        matrix.lerp_(self.anchor, min(1.0, 2 * self._lam * self.step_size))
        matrix.addmm_(change.T, hidden, alpha=-self.step_size)
        matrix.sub_(self._gradient, alpha=self.step_size)

    def _measure(self) -> tuple[float, float]:
        """The loss at the anchor, and its gradient's norm; the gradient is left in place."""
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
