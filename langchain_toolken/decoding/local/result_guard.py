"""What the LM may write right behind a tool's result: nothing that would lengthen it.

An LM that cannot compute 13289+7899 cannot know either that 21188 is all of it, and may go on with another digit: the
answer would be wrong although the tool was right. A result is whole by construction, so the next token may not begin
with a digit where the result ends in one (nor, after "21188.", with a digit), or with a letter where it ends in a
letter. Spaces, punctuation, line breaks, the end of the text and toolkens stay free.
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
    """Which of a tokenizer's words would lengthen a result.

    Args:
        tokenizer: its tokens' own strings are read, in which byte-level and SentencePiece tokenizers mark a leading
            space: " 5" lengthens nothing.
        vocab_size: rows of the output head; ids past the tokenizer's are never masked.
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
        """What a result whose last token this is ends in."""
        text = self._text(token)
        if not text:
            return None
        return "digit" if text[-1] in string.digits else "letter" if text[-1] in string.ascii_letters else None

    def after(self, ending: Ending, token: int) -> Ending | None:
        """What stays forbidden once `token` has been written: a separator may yet be a decimal point."""
        return ending if ending == "digit" and self._text(token) in _SEPARATORS else None

    def forbidden(self, ending: Ending) -> Tensor:
        """The words that would lengthen a result with this ending: (V,) bool on the CPU."""
        return self._forbidden[ending]

    def _text(self, token: int) -> str | None:
        return self._tokens[token] if token < len(self._tokens) else None
