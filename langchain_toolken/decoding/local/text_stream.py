"""`TextStream`: token ids to text piece by piece, ended by stop strings."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

CONTEXT_TOKENS = 8
REPLACEMENT = "\ufffd"


class TextStream:
    """Text of one growing sequence of tokens.

    A piece comes out once it can no longer change: bytes of an unfinished character wait for the rest of it, text that
    may become a stop string waits until it has or cannot. Special tokens the LM writes stay visible as their text:
    dropped, they would hide what the LM did; and rendered into a next prompt they are tokenised as plain text, never as
    structure.

    Args:
        tokenizer: decodes.
        context: the prompt's ids. The last few are decoded along, since SentencePiece tokenizers strip the space of the
            first token they decode.
        stop: strings that end the text and are not part of it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, context: Sequence[int], stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._window = list(context[-CONTEXT_TOKENS:])  # what is decoded: the last finished piece and what came after
        self._finished = len(self._window)  # how much of the window has come out as text
        self._waiting = ""  # whole characters that may be the start of a stop string
        self._decoded = 0  # characters decoded so far
        self._ids: list[int] = []
        self._ends: list[int] = []  # where each token's text ends; tokens of one character all end with it
        self.text = ""
        self.stopped = False

    @property
    def token_ids(self) -> tuple[int, ...]:
        """The tokens whose text lies wholly before a stop string."""
        if not self.stopped:
            return tuple(self._ids)
        return tuple(i for i, end in zip(self._ids, self._ends, strict=True) if end <= len(self.text))

    def push(self, token: int) -> str:
        """Take a token; give the text that is now certain (often none). Sets `stopped` at a stop string."""
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
        """The text that was held back, when no token follows."""
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
        found = [at for at in (self._waiting.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.stopped = True
            certain, self._waiting = self._waiting[: min(found)], ""
        else:
            held = 0 if last else self._held()
            certain, self._waiting = (
                self._waiting[: len(self._waiting) - held],
                self._waiting[len(self._waiting) - held :],
            )
        self.text += certain
        return certain

    def _held(self) -> int:
        """Length of the longest end of the waiting text that a stop string begins with."""
        longest = 0
        for stop in self._stop:
            for length in range(min(len(stop) - 1, len(self._waiting)), longest, -1):
                if self._waiting.endswith(stop[:length]):
                    longest = length
                    break
        return longest

    def _decode(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text
