"""`Lexicon`: which of a parameter's fixed choices some words of a request mean, such as "euros" for EUR.

A few pairs of words and choices, found in demonstrations (`training.choices`), stand before the words, and the LM goes
on: it knows many words that no demonstration shows. What it says of other words is taken out, since it prefers some
choices whatever comes before. A slot says which words count (`toolkens.slots`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.states import next_word_logits
from langchain_toolken.prompts.content import bos_ids, encode_content
from langchain_toolken.toolkens.errors import ToolkenSetError

_BATCH = 64
_PIECE = r"[^\W_]+|[^\w\s]"


@dataclass(frozen=True)
class Lexicon:
    """Words that mean choices.

    Attributes:
        choices: What there is to choose from.
        pairs: Words, in lower case, and the choice that they mean.
        usual: For each choice the log of its mean probability after other words; () while it is not known.

    Raises:
        ToolkenSetError: There are not as many usual values as choices, or a pair has another choice.
    """

    choices: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    usual: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.usual and len(self.usual) != len(self.choices):
            raise ToolkenSetError(f"a lexicon has {len(self.choices)} choices, but {len(self.usual)} usual values")
        if foreign := {choice for _, choice in self.pairs} - set(self.choices):
            raise ToolkenSetError(f"a lexicon's words mean {min(foreign)!r}, which is none of its choices")

    def known(self, words: str) -> str | None:
        """Return the choice that the pairs of words in some words mean; None where they mean none, or several."""
        inside = _spaced(words)
        exact = [choice for known, choice in self.pairs if _spaced(known) == inside]
        parts = [choice for known, choice in self.pairs if _spaced(known) in inside]
        found = set(exact or parts)
        return found.pop() if len(found) == 1 else None

    def meant(self, lm: LanguageModel, words: Sequence[str]) -> Tensor:
        """Compute the log-probability of each choice after each of some words, (n, C), less what is usual.

        Only a choice's first token counts: the rest follows from it. Choices that begin alike are not told apart.
        """
        tokenizer = lm.tokenizer
        lead = "\n" + "".join(f"{known}: {choice}\n" for known, choice in self.pairs)
        firsts = [encode_content(tokenizer, f" {choice}", continued=True)[0] for choice in self.choices]
        texts = [[*bos_ids(tokenizer), *encode_content(tokenizer, f"{lead}{each.lower()}:")] for each in words]
        found = [
            next_word_logits(lm, texts[start : start + _BATCH])[:, firsts].log_softmax(dim=-1)
            for start in range(0, len(texts), _BATCH)
        ]
        meant = torch.cat(found) if found else torch.zeros(0, len(self.choices))
        return (meant - torch.tensor(self.usual)).log_softmax(dim=-1) if self.usual else meant


def _spaced(words: str) -> str:
    """Write words with a space around each, so that whole words can be found in them."""
    return f" {' '.join(re.findall(_PIECE, words.lower()))} "
