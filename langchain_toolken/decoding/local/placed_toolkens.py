"""Toolkens on the LM's device, as one call uses them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.decoding.engine import Candidate
from langchain_toolken.toolkens.evidence import Evidence
from langchain_toolken.toolkens.provenance import Calibration


@dataclass(frozen=True, eq=False)
class PlacedEvidence:
    """A set's evidence with its tensors on the head's device.

    Attributes:
        evidence: The evidence.
        gate_state: (d,), the gate's weights of the hidden state; None without a gate.
        gate_request: (d,), its weights of the request's mean state; None without a gate.
        request_rows: (K, d); None for none.
    """

    evidence: Evidence
    gate_state: Tensor | None
    gate_request: Tensor | None
    request_rows: Tensor | None

    @classmethod
    def on(cls, device: torch.device, evidence: Evidence) -> PlacedEvidence:
        """Put evidence on a device."""
        gate, rows = evidence.gate, evidence.request_rows
        return cls(
            evidence=evidence,
            gate_state=None if gate is None else gate.state.to(device),
            gate_request=None if gate is None else gate.request.to(device),
            request_rows=None if rows is None else rows.to(device),
        )


@dataclass(frozen=True)
class PlacedToolkens:
    """The toolkens of one call.

    Attributes:
        names: The tools, one for each row.
        matrix: Rows (K, d), float32 on the head's device.
        biases: (K,), on the head's device.
        mask: Which toolkens are active, (K,) bool; None for all.
        calibration: How probabilities are calibrated; None for the LM's bare softmax.
        evidence: What else says when to call and which tool; None for the rows alone.
    """

    names: tuple[str, ...]
    matrix: Tensor
    biases: Tensor
    mask: Tensor | None
    calibration: Calibration | None
    evidence: PlacedEvidence | None = None

    def probabilities(self, words: Tensor, toolkens: Tensor) -> Tensor:
        """Compute each tool's probability.

        All words together are one class, "no call here". With a calibration, the bias beyond the fitted one is taken
        out again (it says what a call is worth, not how likely it is), and all logits are divided by the calibration
        temperature.

        Args:
            words: Word logits (V,).
            toolkens: Toolken logits (K,) with their biases.

        Returns:
            (K,), which sum to 1 with the probability of no call.
        """
        logits = torch.cat([words.logsumexp(dim=0, keepdim=True), toolkens])
        if self.calibration is not None:
            logits[1:] += self.calibration.fitted_bias - self.biases
            logits /= self.calibration.temperature
        return logits.softmax(dim=0)[1:]

    def ranked(self, logits: Tensor, vocab_size: int) -> tuple[Candidate, ...]:
        """Return the active tools by their probability over `logits` (V+K,), likeliest first."""
        probabilities = self.probabilities(logits[:vocab_size], logits[vocab_size:])
        order = probabilities.argsort(descending=True, stable=True).tolist()
        return tuple(
            Candidate(self.names[k], float(probabilities[k])) for k in order if self.mask is None or self.mask[k]
        )
