"""`LMIdentity`: which LM this is, and which LM a set of toolkens was made for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LMIdentity:
    """What identifies an LM. The fingerprints and the hidden size decide whether two are the same.

    Attributes:
        model_id: A name, a folder or a Hub id; only for people, since folders move.
        revision: The Hub commit, only for people; None if the LM is not from the Hub.
        head_fingerprint: See `lm.model.LanguageModel.head_fingerprint`.
        tokenizer_fingerprint: See `lm.model.LanguageModel.tokenizer_fingerprint`.
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
