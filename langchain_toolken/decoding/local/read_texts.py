"""`ReadTexts`: what the LM says of the short texts that slots read, kept for a while.

A request is asked several things: whether the tool that the LM tends to has its values there, which parts of it are
calls, what the arguments are copied from. All of that comes of the same states, so the LM reads it once.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.states import text_states
from langchain_toolken.toolkens.lexicon import Lexicon
from langchain_toolken.toolkens.slots import SlotText

# Requests of a hundred callers at a time; with 4,096 numbers a state that is 33 MB.
_MOST_TOKENS = 2_048
_MOST_WORDS = 256  # lists of words whose meaning is kept, a few numbers each


class ReadTexts:
    """An LM that reads texts for slots, and remembers the last ones; threads may share it.

    Args:
        lm: The LM.

    Attributes:
        lm: The LM.
    """

    def __init__(self, lm: LanguageModel) -> None:
        self.lm = lm
        self._kept: OrderedDict[tuple[float, tuple[int, ...]], Tensor] = OrderedDict()
        self._meant: OrderedDict[tuple[Lexicon, tuple[str, ...]], Tensor] = OrderedDict()
        self._lock = threading.Lock()

    def states(self, texts: Sequence[SlotText], depth: float) -> list[Tensor]:
        """Return the hidden states (len(ids), d) of each text; those that are not kept run through the LM together.

        Args:
            texts: The texts.
            depth: After which part of the LM's layers; 1 for the states after the final norm.
        """
        keys = [(depth, tuple(text.ids)) for text in texts]
        with self._lock:
            found = {key: self._kept[key] for key in keys if key in self._kept}
            for key in found:
                self._kept.move_to_end(key)
        missing = [key for key in dict.fromkeys(keys) if key not in found]
        read = text_states(self.lm, [list(ids) for _, ids in missing], depth=depth)
        found |= dict(zip(missing, read, strict=True))
        with self._lock:
            self._kept |= {key: found[key] for key in missing}
            while sum(len(ids) for _, ids in self._kept) > _MOST_TOKENS:
                self._kept.popitem(last=False)
        return [found[key] for key in keys]

    def meant(self, lexicon: Lexicon, words: Sequence[str]) -> Tensor:
        """Return what `Lexicon.meant` says of some words, (n, C), for the caller to change."""
        key = (lexicon, tuple(words))
        with self._lock:
            kept = self._meant.get(key)
        if kept is None:
            kept = lexicon.meant(self.lm, words)
        with self._lock:
            self._meant[key] = kept
            self._meant.move_to_end(key)
            while len(self._meant) > _MOST_WORDS:
                self._meant.popitem(last=False)
        return kept.clone()
