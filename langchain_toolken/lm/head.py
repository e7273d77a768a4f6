"""The LM's output head: its own word logits, and the logits of toolkens over the same hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LogitTransform:
    """What a model does to its word logits after the output head.

    Attributes:
        multiply: Factor (Cohere's `logit_scale`, Falcon-H1's `lm_head_multiplier`).
        divide: Divisor (Granite's `logits_scaling`). Separate from `multiply` so that word logits equal the model's
            bit for bit.
        softcap: c of c·tanh(logit / c) (Gemma's `final_logit_softcapping`); None for models without.
    """

    multiply: float = 1.0
    divide: float = 1.0
    softcap: float | None = None

    @classmethod
    def of(cls, config: Any) -> LogitTransform:
        """Read the transform from a model's (text) configuration."""
        multiply = 1.0
        for name in ("logit_scale", "lm_head_multiplier"):
            value = getattr(config, name, None)
            multiply *= 1.0 if value is None else float(value)
        divide = getattr(config, "logits_scaling", None)
        softcap = getattr(config, "final_logit_softcapping", None)
        return cls(
            multiply=multiply,
            divide=1.0 if divide is None else float(divide),
            softcap=None if softcap is None else float(softcap),
        )

    @property
    def scale(self) -> float:
        """The linear part: word logits are `scale` · (h·w_v) before soft-capping.

        Toolken logits are not scaled, so a toolken made from head rows is multiplied by this to be comparable to words.
        """
        return self.multiply / self.divide

    def __call__(self, logits: Tensor) -> Tensor:
        """Transform raw word logits of any shape, in their own dtype, in the order the models do."""
        if self.multiply != 1.0:
            logits = logits * self.multiply
        if self.divide != 1.0:
            logits = logits / self.divide
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return logits


class ToolkenHead:
    """The model's output head, applied to the decoder's hidden states instead of inside the model.

    So the transforms that the model applies after its head (soft-capping, scaling) reach the words and never the
    toolkens, whose logits `toolken_logits` computes from the same hidden states.

    Args:
        words: The model's output head (`get_output_embeddings()`), with `weight` (V, d) and perhaps a bias.
        transform: What the model does to its logits after the head.
    """

    def __init__(self, words: nn.Module, transform: LogitTransform) -> None:
        self.words = words
        self.transform = transform

    @property
    def weight(self) -> Tensor:
        """The word rows (V, d), in the dtype the model was loaded in."""
        weight = self.words.weight
        assert isinstance(weight, Tensor)
        return weight

    @property
    def vocab_size(self) -> int:
        """V: the head's rows, padding beyond the tokenizer's vocabulary included."""
        return int(self.weight.shape[0])

    @property
    def hidden_size(self) -> int:
        """The size d of the hidden states."""
        return int(self.weight.shape[1])

    def word_logits(self, hidden: Tensor) -> Tensor:
        """Return the model's own logits (…, V) for hidden states (…, d), in float32."""
        logits: Tensor = self.words(hidden)
        return self.transform(logits).float()


class WordLogits:
    """Describes the word logits of n places, which are too many to be kept.

    Args:
        following: (n,) int64, a word for each place.

    Attributes:
        summary: (n, 3) float32 on the CPU: the logsumexp of a place's word logits, the largest, and that of the word in
            `following`.
    """

    def __init__(self, following: Tensor) -> None:
        self._following = following
        self.summary = torch.empty(len(following), 3)

    def put(self, places: Sequence[int], logits: Tensor) -> None:
        """Take the word logits (m, V) of m places."""
        at = torch.tensor(places)
        words = self._following[at].to(logits.device)
        columns = [logits.logsumexp(dim=-1), logits.amax(dim=-1), logits.gather(1, words[:, None])[:, 0]]
        self.summary[at] = torch.stack(columns, dim=1).cpu()


def toolken_logits(hidden: Tensor, matrix: Tensor, bias: float | Tensor = 0.0) -> Tensor:
    """Compute h·W + b for hidden states and toolkens.

    In float32 whatever the LM's dtype: in bfloat16, two toolkens whose logits differ by no more than a calibrated bias
    would often tie.

    Args:
        hidden: Hidden states (…, d) in any dtype, on any device.
        matrix: Toolken rows (K, d), float32.
        bias: One bias for all toolkens, or one each, (K,), on the matrix' device.

    Returns:
        Logits (…, K), float32 on the matrix' device.
    """
    return hidden.to(device=matrix.device, dtype=torch.float32) @ matrix.T + bias


def greedy_calls(word_max: Tensor, toolken_logits: Tensor) -> Tensor:
    """Find which toolken greedy decoding calls at each position.

    A toolken is called where its logit is above that of every word. A tie goes to the word, as with an argmax over
    [words ; toolkens].

    Args:
        word_max: The largest word logit at each position, (…,).
        toolken_logits: Toolken logits (…, K) with their biases.

    Returns:
        Index of the toolken called, or -1 where the best word wins: (…,) int64.
    """
    best, toolken = toolken_logits.max(dim=-1)
    return torch.where(best > word_max, toolken, -1)
