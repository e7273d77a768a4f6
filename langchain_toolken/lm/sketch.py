"""Sketches of an LM's hidden states, by which two runs of the same weights are compared without both being loaded.

llama.cpp computes with packed weights and rounded states, so its states are not quite those of transformers on the
unpacked weights. A toolken set keeps a sketch of the states that it was fitted on.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

_LENGTH = 24
_FIRST = 8  # the first tokens' states are huge in many LMs, and alike whatever the LM reads
_SIZE = 64


def sketched_ids(vocab_size: int) -> Tensor:
    """Return the token ids (1, T) that are read for a sketch."""
    stride = max(1, (vocab_size - 1) // _LENGTH)
    return torch.tensor([[(1 + i * stride) % vocab_size for i in range(_LENGTH)]])


def sketch_of(states: Tensor) -> tuple[float, ...]:
    """Project the states (T, d) of `sketched_ids` to a few numbers.

    A random projection keeps distances: that of two sketches is on average that of the normalised states, and with 64
    numbers off by a fifth.
    """
    wanted = normalize(states[_FIRST:].float().cpu(), dim=1).flatten() / (len(states) - _FIRST) ** 0.5
    generator = torch.Generator().manual_seed(0)
    projection = torch.randn(_SIZE, len(wanted), generator=generator) / _SIZE**0.5
    return tuple(round(value, 6) for value in (projection @ wanted).tolist())


def agreement(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Estimate the mean cosine of the states that two sketches were made of."""
    apart = torch.tensor(one) - torch.tensor(other)
    return 1.0 - float(apart.square().sum()) / 2
