"""`ToolkenHead`: the LM's output head with one more row per tool (DESIGN §2, §3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LogitTransform:
    """What a model does to its word logits after the output head.

    Attributes:
        multiply: factor (Cohere's `logit_scale`, Falcon-H1's `lm_head_multiplier`).
        divide: divisor (Granite's `logits_scaling`). Kept apart from `multiply` so that words equal the model's bit for
            bit.
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
        """The linear part: word logits are `scale` · (h·w_v) before soft-capping. Toolken logits are not scaled, so a
        toolken made from head rows must be multiplied by it to stand on the words' scale."""
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


class ToolkenHead(nn.Module):
    """The model's output head with toolken rows beside its word rows.

    The head is not put into the model: it gets the decoder's hidden states, so that transforms the model applies after
    its head (soft-capping, scaling) reach the words and never the toolkens. Toolken logits are h·W + b in float32
    whatever the model's dtype: in bfloat16 two toolkens a calibrated bias apart would often tie.

    Args:
        words: the model's output head (`get_output_embeddings()`), with `weight` (V, d) and perhaps a bias.
        transform: what the model does to its logits after the head.
    """

    def __init__(self, words: nn.Module, transform: LogitTransform) -> None:
        super().__init__()
        self.words = words
        self.transform = transform
        self._matrix: Tensor | None = None
        self._bias: float | Tensor = 0.0
        self._active: Tensor | None = None

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
        """d."""
        return int(self.weight.shape[1])

    @property
    def toolken_count(self) -> int:
        """K: how many toolkens are bound."""
        return 0 if self._matrix is None else int(self._matrix.shape[0])

    def bind(self, matrix: Tensor, bias: float | Tensor = 0.0) -> None:
        """Put toolken rows (K, d) beside the words, all of them active, with one bias for all or one each, (K,). A
        float32 matrix on the head's device is not copied.

        Raises:
            ValueError: the matrix is not (K, d), or the bias neither a number nor (K,).
        """
        if matrix.ndim != 2 or matrix.shape[1] != self.hidden_size:
            raise ValueError(
                f"toolken matrix has shape {tuple(matrix.shape)}, this LM's head needs (K, {self.hidden_size}); "
                "were the toolkens fitted for another LM?"
            )
        if isinstance(bias, Tensor):
            if tuple(bias.shape) != (matrix.shape[0],):
                raise ValueError(f"the bias has shape {tuple(bias.shape)}; {matrix.shape[0]} toolkens need one each")
            bias = bias.to(device=self.weight.device, dtype=torch.float32)
        self._matrix = matrix.to(device=self.weight.device, dtype=torch.float32)
        self._bias = bias
        self._active = None

    def unbind(self) -> None:
        """Take the toolkens away; the head then gives exactly the word logits."""
        self._matrix, self._bias, self._active = None, 0.0, None

    def activate(self, mask: Tensor | None) -> None:
        """Let only the toolkens in `mask` (K,) bool fire; None lets all.

        Raises:
            ValueError: the mask does not have one entry per bound toolken.
        """
        if mask is not None and tuple(mask.shape) != (self.toolken_count,):
            raise ValueError(f"mask has shape {tuple(mask.shape)}, but {self.toolken_count} toolkens are bound")
        self._active = None if mask is None else mask.to(device=self.weight.device, dtype=torch.bool)

    def word_logits(self, hidden: Tensor) -> Tensor:
        """The model's own logits (…, V) for hidden states (…, d), in float32."""
        logits: Tensor = self.words(hidden)
        return self.transform(logits).float()

    def toolken_logits(self, hidden: Tensor) -> Tensor:
        """h·W + b (…, K) in float32, −inf for inactive toolkens.

        Raises:
            ValueError: no toolkens are bound.
        """
        if self._matrix is None:
            raise ValueError("no toolkens are bound to this head; call bind(matrix, bias) first")
        return toolken_logits(hidden, self._matrix, self._bias, self._active)

    def forward(self, hidden: Tensor) -> Tensor:
        """Logits over [words ; toolkens] (…, V+K) in float32 for hidden states (…, d)."""
        words = self.word_logits(hidden)
        if self._matrix is None:
            return words
        return torch.cat([words, self.toolken_logits(hidden).to(words.device)], dim=-1)


def toolken_logits(hidden: Tensor, matrix: Tensor, bias: float | Tensor, active: Tensor | None) -> Tensor:
    """h·W + b (…, K) in float32 for hidden states (…, d) and toolkens (K, d), −inf where `active` (K,) is False."""
    logits = hidden.to(device=matrix.device, dtype=torch.float32) @ matrix.T + bias
    return logits if active is None else logits.masked_fill(~active, float("-inf"))
