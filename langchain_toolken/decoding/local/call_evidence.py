"""`CallEvidence`: what a set's evidence says of the prompts of one call.

`toolkens.evidence` has the formulas. The toolkens' logits are replaced by logits of the evidence, in which the tools
compare as p(k | call) says. They are shifted as a whole, so that together they compare with the words as the gate says
or, without a gate, as the toolkens' own logits do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from langchain_toolken.decoding.engine import Candidate
from langchain_toolken.decoding.local.placed_toolkens import PlacedEvidence, PlacedToolkens
from langchain_toolken.prompts.requests import Request


class CallEvidence:
    """What the evidence says of the prompts of one call.

    The logits that its methods take are, side by side, those of the words (V), of the toolkens (K) and, with a gate,
    `state_logits` (1).

    Args:
        toolkens: The call's toolkens.
        placed: Their evidence.
        requests: What the user asked in each prompt.
        vocab_size: The number V of words.

    Attributes:
        spans: Where each prompt's request is; its mean hidden state goes to `read`.
    """

    def __init__(
        self, toolkens: PlacedToolkens, placed: PlacedEvidence, requests: Sequence[Request], vocab_size: int
    ) -> None:
        self.spans = [request.span for request in requests]
        self._toolkens = toolkens
        self._placed = placed
        self._words = vocab_size
        self._tools = len(toolkens.names)
        device = toolkens.matrix.device
        evidence = placed.evidence
        scores = {text: evidence.lexical_scores(text, self._tools) for text in {each.text for each in requests}}
        self._lexical = torch.stack([scores[request.text] for request in requests]).to(device)
        # What is added to each tool's score, (n, K), and to the log odds of a call, (n,): the same at every step.
        self._added = self._lexical.clone()
        self._odds = torch.zeros(len(requests), device=device)
        gate = evidence.gate
        points = [None if gate is None else gate.threshold_for(request) for request in requests]
        # NaN where the toolkens' own logits say when.
        self._thresholds = torch.tensor([math.nan if each is None else each for each in points], device=device)

    def read(self, row: int, mean: Tensor) -> None:
        """Take the mean hidden state (d,) of a prompt's request. It comes before the row's first logits."""
        mean = mean.to(device=self._added.device, dtype=torch.float32)
        placed = self._placed
        if placed.request_rows is not None:
            self._added[row] = self._lexical[row] + placed.request_rows @ mean
        if placed.gate_request is not None and placed.evidence.gate is not None:
            self._odds[row] = placed.gate_request @ mean + placed.evidence.gate.constant

    def state_logits(self, hidden: Tensor) -> Tensor | None:
        """Return the hidden states' part of the log odds of a call, (n, 1); None without a gate."""
        if self._placed.gate_state is None:
            return None
        state = self._placed.gate_state
        return (hidden.to(device=state.device, dtype=torch.float32) @ state)[:, None]

    def combined(self, rows: Sequence[int], logits: Tensor, temperature: float) -> Tensor:
        """Compute the logits that tokens are chosen by.

        Sampling at a temperature T divides logits by T, which moves probability between words and toolkens. What the
        toolkens have together is T·logsumexp(logits / T), at T = 0 their maximum. It is set so that a call has the same
        probability as without evidence or, with a gate, that of its log odds less its threshold.

        Args:
            rows: Which prompts.
            logits: Their logits (n, V + K + gate). A word that may not come has −inf.
            temperature: The sampling temperature; 0 for greedy.

        Returns:
            (n, V + K). Tools that are not active have −inf.
        """
        words, toolkens = logits[:, : self._words], logits[:, self._words : self._words + self._tools]
        tools = self._compared(rows, toolkens)
        odds = self._log_odds(rows, logits)
        goal = _together(toolkens, temperature)
        if odds is not None:
            lead = odds - self._thresholds[list(rows)].to(odds.device)
            level = _together(words, temperature)
            of_toolkens, goal = goal, level + lead
            if not temperature:
                # Rounding may not turn a small lead into a tie, which the word would win.
                above = torch.nextafter(level, torch.full_like(level, math.inf))
                goal = torch.where(lead > 0, torch.maximum(goal, above), torch.minimum(goal, level))
            goal = torch.where(lead.isnan(), of_toolkens, goal)
        # Not −inf where no tool is active: −inf less −inf would be no number.
        own = _together(tools, temperature).clamp_min(torch.finfo(tools.dtype).min)
        # In this order, so that the best tool gets the goal exactly.
        return torch.cat([words, (tools - own[:, None]) + goal[:, None]], dim=1)

    def ranked(self, row: int, logits: Tensor, call: float | None = None) -> tuple[Candidate, ...]:
        """Return the active tools by their probability p(call) · p(k | call), likeliest first.

        Args:
            row: Which prompt.
            logits: Its logits (V + K + gate).
            call: p(call); None computes it, as calibrated where it comes from the toolkens' own logits.
        """
        toolkens = logits[self._words : self._words + self._tools]
        if call is None:
            odds = self._log_odds([row], logits[None])
            if odds is not None and not self._thresholds[row].isnan():
                call = float(odds.sigmoid())
            else:
                call = float(self._toolkens.probabilities(logits[: self._words], toolkens).sum())
        shares = self._compared([row], toolkens[None])[0].softmax(dim=0)
        mask, names = self._toolkens.mask, self._toolkens.names
        order = shares.argsort(descending=True, stable=True).tolist()
        return tuple(Candidate(names[k], call * float(shares[k])) for k in order if mask is None or mask[k])

    def _compared(self, rows: Sequence[int], toolkens: Tensor) -> Tensor:
        """Compute τ (h·w_k + b_k) + m·u_k + Σ_s α_s ρ_s,k, (n, K); −inf for tools that are not active."""
        added = self._added if len(self._added) == 1 else self._added[list(rows)]
        tools = torch.add(added.to(toolkens.device), toolkens, alpha=self._placed.evidence.scale)
        mask = self._toolkens.mask
        return tools if mask is None else tools.masked_fill(~mask.to(tools.device), -math.inf)

    def _log_odds(self, rows: Sequence[int], logits: Tensor) -> Tensor | None:
        if self._placed.gate_state is None:
            return None
        odds = self._odds if len(self._odds) == 1 else self._odds[list(rows)]
        return logits[:, self._words + self._tools] + odds.to(logits.device)


def _together(logits: Tensor, temperature: float) -> Tensor:
    """Return what logits (n, …) have together at a temperature: T·logsumexp(logits / T), at 0 their maximum."""
    if not temperature:
        return logits.amax(dim=1)
    return temperature * (logits / temperature).logsumexp(dim=1)
