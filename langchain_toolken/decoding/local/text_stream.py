"""`TextStream`: token ids to text piece by piece, ended by stop strings."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from langchain_toolken.decoding.partial_match import partial_match

CONTEXT_TOKENS = 8
REPLACEMENT = "\ufffd"


class TextStream:
    """The text of one growing sequence of tokens.

    A piece is returned once it can no longer change: the bytes of an unfinished character wait for the rest of it, and
    text that may become a stop string waits until it has or cannot. Special tokens that the LM writes stay visible as
    their text: dropping them would hide what the LM did, and when rendered into a next prompt they are tokenised as
    plain text, never as structure.

    Args:
        tokenizer: Decodes the tokens.
        context: The prompt's ids. The last few are decoded with the text, since SentencePiece tokenizers strip the
            space of the first token they decode.
        stop: Strings that end the text and are not part of it.

    Attributes:
        text: The text that is certain, before any stop string.
        stopped_by: The stop string that has come; None before one does.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context: Sequence[int], stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._window = list(context[-CONTEXT_TOKENS:])  # what is decoded: the last finished piece and what came after
        self._finished = len(self._window)  # how much of the window has been returned as text
        self._waiting = ""  # whole characters that may be the start of a stop string
        self._decoded = 0  # characters decoded so far
        self._ids: list[int] = []
        self._ends: list[int] = []  # where each token's text ends; tokens of one character all end with it
        self.text = ""
        self.stopped_by: str | None = None

    @property
    def stopped(self) -> bool:
        """Whether a stop string has come."""
        return self.stopped_by is not None

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The tokens whose text is entirely before a stop string."""
        if not self.stopped:
            return tuple(self._ids)
        return tuple(i for i, end in zip(self._ids, self._ends, strict=True) if end <= len(self.text))

    def push(self, token: int) -> str:
        """Add a token and return the text that is now certain, often none. Sets `stopped` at a stop string."""
        self._ids.append(token)
        self._window.append(token)
        before = self._decode(self._window[: self._finished])
        after = self._decode(self._window)
        # An unfinished character decodes to U+FFFD at the end.
        if len(after) <= len(before) or after.endswith(REPLACEMENT):
            return ""
        self._window = self._window[self._finished :]
        self._finished = len(self._window)
        return self._emit(after[len(before) :], last=False)

    def finish(self) -> str:
        """Return the text that was held back; call it when no token follows."""
        before = self._decode(self._window[: self._finished])
        rest = self._decode(self._window)[len(before) :]
        self._finished = len(self._window)
        return self._emit(rest, last=True)

    def _emit(self, piece: str, *, last: bool) -> str:
        self._decoded += len(piece)
        self._ends += [self._decoded] * (len(self._ids) - len(self._ends))
        if self.stopped:
            return ""
        self._waiting += piece
        found = [(at, stop) for at, stop in ((self._waiting.find(stop), stop) for stop in self._stop) if at >= 0]
        if found:
            at, self.stopped_by = min(found, key=lambda one: one[0])
            certain, self._waiting = self._waiting[:at], ""
        else:
            end = len(self._waiting) - (0 if last else partial_match(self._waiting, self._stop))
            certain, self._waiting = self._waiting[:end], self._waiting[end:]
        self.text += certain
        return certain

    def _decode(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text
