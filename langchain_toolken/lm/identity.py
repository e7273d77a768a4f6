"""Which LM toolkens belong to: what an LM says of itself, and what a set remembers of the one it was made for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class LMIdentity:
    """One LM, told from others.

    The fingerprints and the hidden size decide whether two are the same; model_id (a name, a folder or a Hub id) and
    revision (the Hub commit, None for what is not from there) are for people, since a folder can be moved.
    `decoding.lm.LanguageModel` says what the fingerprints are taken over.
    """

    model_id: str
    revision: str | None
    head_fingerprint: str
    tokenizer_fingerprint: str
    hidden_size: int

    def __str__(self) -> str:
        return f"{self.model_id} (revision {self.revision})" if self.revision else self.model_id

    def differences(self, other: LMIdentity) -> list[str]:
        """What keeps the two from being one LM, for a message; empty if they are."""
        compared = (
            ("the hidden size", self.hidden_size, other.hidden_size),
            ("the output head", self.head_fingerprint, other.head_fingerprint),
            ("the tokenizer", self.tokenizer_fingerprint, other.tokenizer_fingerprint),
        )
        return [f"{what} ({str(mine)[:12]} and {str(its)[:12]})" for what, mine, its in compared if mine != its]
