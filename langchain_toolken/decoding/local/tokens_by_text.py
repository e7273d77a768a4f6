"""The vocabulary by the tokens' texts."""

from __future__ import annotations

from collections import defaultdict

from llguidance import LLTokenizer

_WORDS_KEPT = 4096  # of which the first token is kept


class TokensByText:
    """The vocabulary by the tokens' texts, computed once for a tokenizer.

    Args:
        tokenizer: llguidance's view of it.
        vocab_size: How many ids the head has.
    """

    def __init__(self, tokenizer: LLTokenizer, vocab_size: int) -> None:
        self._tokenizer = tokenizer
        self._size = min(vocab_size, tokenizer.vocab_size)
        first: defaultdict[str, list[int]] = defaultdict(list)
        texts: dict[int, str] = {}
        for token in range(self._size):
            if tokenizer.is_special_token(token):
                continue
            try:
                text = bytes(tokenizer.decode_bytes([token])).decode("utf-8")
            except UnicodeDecodeError:  # a part of a character
                continue
            if text:
                first[text[0]].append(token)
                texts[token] = text
        self._first = dict(first)
        self._texts = texts
        self._written: dict[str, list[int]] = {}

    def beginning(self, text: str) -> list[int]:
        """Return the token that the tokenizer begins `text` with; none if the head has no row for it.

        Other tokens that begin so would lead to spellings that the LM has rarely read, and goes on wrongly from.
        """
        if text not in self._written:
            if len(self._written) >= _WORDS_KEPT:
                self._written.clear()
            self._written[text] = [token for token in self._tokenizer.tokenize_str(text)[:1] if token < self._size]
        return self._written[text]

    def text(self, token: int) -> str:
        """Return a token's text; "" if it is special, or a part of a character."""
        return self._texts.get(token, "")

    def beginning_with(self, character: str) -> list[int]:
        """Return the tokens whose text begins with `character`."""
        return self._first.get(character, [])
