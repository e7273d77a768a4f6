"""`LanguageModel`: what toolkens need of a frozen LM, whatever runs it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from langchain_toolken.errors import ToolkenError
from langchain_toolken.lm.head import ToolkenHead
from langchain_toolken.lm.identity import Backend, LMIdentity


class UnsupportedModelError(ToolkenError, ValueError):
    """The model loads, but toolkens cannot be put on it, because its word logits or its cache cannot be reproduced."""


class LanguageModel(Protocol):
    """A frozen causal LM with its tokenizer and its output head.

    `lm.transformers_model.TransformersModel` runs in torch, `lm.llama_cpp.LlamaCppModel` in llama.cpp.
    """

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""
        ...

    @property
    def model_id(self) -> str:
        """The name it was loaded by ("nano", a folder, a file, a Hub id), for messages and provenance."""
        ...

    @property
    def backend(self) -> Backend:
        """What runs it."""
        ...

    @property
    def sketch(self) -> tuple[float, ...]:
        """A sketch of its hidden states; see `lm.sketch`."""
        ...

    @property
    def revision(self) -> str | None:
        """The Hub commit; None if it did not come from there."""
        ...

    @property
    def head(self) -> ToolkenHead:
        """Its output head."""
        ...

    @property
    def input_embeddings(self) -> Tensor:
        """The rows (V, d) of its input embeddings."""
        ...

    @property
    def device(self) -> torch.device:
        """The device where input ids go."""
        ...

    @property
    def head_device(self) -> torch.device:
        """The device where the last hidden states and word logits are."""
        ...

    @property
    def hidden_size(self) -> int:
        """The hidden size d."""
        ...

    @property
    def vocab_size(self) -> int:
        """V, the number of rows of the output head, padding included. Toolken k has id V + k."""
        ...

    @property
    def context_length(self) -> int:
        """The most tokens that a text may have."""
        ...

    @property
    def identity(self) -> LMIdentity:
        """Which LM this is, for toolkens to be saved with."""
        ...

    @property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end a text."""
        ...

    @property
    def head_fingerprint(self) -> str:
        """See `lm.identity.head_fingerprint`."""
        ...

    @property
    def tokenizer_fingerprint(self) -> str:
        """See `lm.identity.tokenizer_fingerprint`."""
        ...

    @property
    def weights_fingerprint(self) -> str:
        """Tells the weights from those of any other fine-tuning of the same LM."""
        ...

    def hidden_states(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """Run texts and return the states after the final norm, which the output head is applied to.

        Args:
            input_ids: (B, T) int64.
            attention_mask: (B, T), 0 at padding; None if there is no padding, or only on the right.

        Returns:
            (B, T, d). Rows at padding are meaningless.
        """
        ...

    @property
    def has_inner_states(self) -> bool:
        """Whether what runs the LM also gives the states inside of it."""
        ...

    def inner_states(self, input_ids: Tensor, depth: float) -> Tensor:
        """Run texts and return the states after a part of the LM's layers.

        Args:
            input_ids: (B, T) int64, padded on the right.
            depth: Which part of the layers, more than 0 and less than 1; at least one layer.

        Returns:
            (B, T, d).

        Raises:
            UnsupportedModelError: They can't be had (`has_inner_states`).
        """
        ...

    def read(self, input_ids: Tensor, at: Sequence[tuple[int, int]], following: Tensor) -> tuple[Tensor, Tensor]:
        """Run texts and describe the word logits at some of their places.

        Args:
            input_ids: (B, T) int64, padded on the right.
            at: n places, as (row, position).
            following: (n,) int64, a word for each place.

        Returns:
            The hidden states (B, T, d) of all tokens, and (n, 3) float32 on the CPU: the logsumexp of the word logits,
            the largest, and that of the word in `following`.
        """
        ...
