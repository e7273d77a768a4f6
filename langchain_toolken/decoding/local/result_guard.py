"""`ResultGuard`: keeps the LM from lengthening a tool's result.

An LM that cannot compute 13289+7899 does not know either that 21188 is complete. It may write another digit, and the
answer would be wrong although the tool was right. So the token right after a result may not begin with a digit if the
result's last character is a digit, nor with a letter if it is a letter. After "21188." a digit is not allowed either.
Spaces, punctuation, line breaks, the end of the text and toolkens are always allowed.
"""

from __future__ import annotations

import string
from typing import Literal

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

Ending = Literal["digit", "letter"]

_SEPARATORS = frozenset({".", ","})


class ResultGuard:
    """Tells which of a tokenizer's tokens would lengthen a result.

    Args:
        tokenizer: Gives the raw string of each token, in which byte-level and SentencePiece tokenizers mark a leading
            space: " 5" does not lengthen a result.
        vocab_size: Rows of the output head; ids that the tokenizer does not have are never masked.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, vocab_size: int) -> None:
        known = min(len(tokenizer), vocab_size)
        self._tokens: list[str | None] = list(tokenizer.convert_ids_to_tokens(list(range(known))))

        def beginning_with(characters: str) -> Tensor:
            begins = [bool(token) and str(token)[0] in characters for token in self._tokens]
            return torch.tensor(begins + [False] * (vocab_size - known))

        self._forbidden: dict[Ending, Tensor] = {
            "digit": beginning_with(string.digits),
            "letter": beginning_with(string.ascii_letters),
        }

    def ending(self, token: int) -> Ending | None:
        """Return what kind of character a result ends with, by its last token; None for any other kind."""
        text = self._text(token)
        if not text:
            return None
        return "digit" if text[-1] in string.digits else "letter" if text[-1] in string.ascii_letters else None

    def after(self, ending: Ending, token: int) -> Ending | None:
        """Return which ending still counts once `token` was written: a separator could become a decimal point."""
        return ending if ending == "digit" and self._text(token) in _SEPARATORS else None

    def forbidden(self, ending: Ending) -> Tensor:
        """Return which tokens would lengthen a result with this ending: (V,) bool on the CPU."""
        return self._forbidden[ending]

    def _text(self, token: int) -> str | None:
        return self._tokens[token] if token < len(self._tokens) else None
