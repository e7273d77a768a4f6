"""Logits over [words ; toolkens], written out plainly."""

from __future__ import annotations

import torch
from torch import Tensor

from langchain_toolken.lm.head import ToolkenHead


def all_logits(
    head: ToolkenHead, hidden: Tensor, matrix: Tensor, bias: float | Tensor = 0.0, active: Tensor | None = None
) -> Tensor:
    """(…, V+K) float32 for hidden states (…, d) and toolkens (K, d), −inf where `active` (K,) is False."""
    toolkens = hidden.float() @ matrix.float().T + bias
    if active is not None:
        toolkens[..., ~active] = float("-inf")
    return torch.cat([head.word_logits(hidden), toolkens], dim=-1)
