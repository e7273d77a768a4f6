"""`LMIdentity`: which LM this is, and which LM a set of toolkens was made for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from langchain_toolken.lm.head import LogitTransform

FINGERPRINT_ROWS = 64

Backend: TypeAlias = Literal["transformers", "llama_cpp"]
"""What runs an LM."""


@dataclass(frozen=True)
class LMIdentity:
    """What identifies an LM. The fingerprints and the hidden size decide whether two are the same.

    Attributes:
        model_id: A name, a folder or a Hub id; only for people, since folders move.
        revision: The Hub commit, only for people; None if the LM is not from the Hub.
        head_fingerprint: See `head_fingerprint`.
        tokenizer_fingerprint: See `tokenizer_fingerprint`.
        hidden_size: The hidden size d.
    """

    model_id: str
    revision: str | None
    head_fingerprint: str
    tokenizer_fingerprint: str
    hidden_size: int

    def __str__(self) -> str:
        return f"{self.model_id} (revision {self.revision})" if self.revision else self.model_id

    def differences(self, other: LMIdentity) -> list[str]:
        """Return what differs between two LMs, for a message; empty if they are the same."""
        compared = (
            ("the hidden size", self.hidden_size, other.hidden_size),
            ("the output head", self.head_fingerprint, other.head_fingerprint),
            ("the tokenizer", self.tokenizer_fingerprint, other.tokenizer_fingerprint),
        )
        return [f"{what} ({str(mine)[:12]} and {str(its)[:12]})" for what, mine, its in compared if mine != its]


def head_fingerprint(shape: Sequence[int], transform: LogitTransform, rows_of: Callable[[list[int]], Tensor]) -> str:
    """Compute SHA-256 of a head's shape, up to 64 evenly spaced rows in bfloat16, and the logit transform.

    Rows are cast to bfloat16 so that a checkpoint has one fingerprint whether it is loaded in bfloat16 or float32.

    Args:
        shape: (V, d).
        transform: What the model does to its logits after the head.
        rows_of: Returns rows (n, d) by their numbers.
    """
    vocab_size = shape[0]
    count = min(FINGERPRINT_ROWS, vocab_size)
    rows = [i * (vocab_size - 1) // max(count - 1, 1) for i in range(count)]
    sample = rows_of(rows).to(torch.bfloat16).cpu().contiguous()
    facts = [list(shape), transform.multiply, transform.divide, transform.softcap]
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(sample.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def tokenizer_fingerprint(tokenizer: PreTrainedTokenizerBase) -> str:
    """Compute SHA-256 of the vocabulary, the added tokens, and a fast tokenizer's merges."""
    added = [[index, token.content, token.special] for index, token in sorted(tokenizer.added_tokens_decoder.items())]
    facts: list[Any] = [sorted(tokenizer.get_vocab().items()), added]
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        facts.append(json.loads(backend.to_str())["model"].get("merges"))
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
