"""Which fixed choice a request means: the words that a slot finds, and what a lexicon says of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from langchain_toolken.toolkens.lexicon import Lexicon
from langchain_toolken.toolkens.slots import SlotScores, SlotText

_MOST_WORDS = 3  # words that stand for a choice: "Swiss francs", not a sentence
_READ = 3  # spans of a request that the LM is asked about
_KNOWN = 0.95  # that words mean what a demonstration has them mean: an LM of 135M takes "yen" for SEK after "yen: JPY"

Meanings = Callable[[Lexicon, Sequence[str]], Tensor]
"""The log-probability of each of a lexicon's choices after each of some words, (n, C), which may be changed."""


def choice_scores(
    meant: Meanings, lexicon: Lexicon, text: SlotText, slot: SlotScores, taken: Collection[int] = ()
) -> dict[str, float]:
    """Score choices by the words of a text that a slot finds likeliest, in nats; {} where there are none.

    Args:
        meant: Says what words mean, as `Lexicon.meant` does for an LM.
        lexicon: The choices, and words that mean them.
        text: The text.
        slot: How the parameter's slot scores its words.
        taken: Words that are other parameters' values.
    """
    spans = choice_spans(text, taken)
    if not spans:
        return {}
    likely = torch.tensor([slot.spans_from(first)[last - first] for first, last in spans])
    top = likely.topk(min(_READ, len(spans)))
    words = [text.words_between(*spans[i]) for i in top.indices.tolist()]
    found = meant(lexicon, words)
    for row, each in zip(found, words, strict=True):
        if (known := lexicon.known(each)) is not None:
            row += math.log1p(-_KNOWN)
            place = lexicon.choices.index(known)
            row[place] = (row[place].exp() + _KNOWN).log()
    scores = (top.values.log_softmax(dim=0)[:, None] + found).logsumexp(dim=0)
    return dict(zip(lexicon.choices, scores.tolist(), strict=True))


def choice_spans(text: SlotText, taken: Collection[int] = ()) -> list[tuple[int, int]]:
    """Return the spans of a text that may stand for a choice, as first and last word: no marks and no numbers."""
    kept = [
        i not in taken and any(c.isalpha() or c in "$£€¥" for c in text.words_between(i, i))
        for i in range(len(text.words))
    ]
    return [
        (first, last)
        for first in range(len(kept))
        for last in range(first, min(first + _MOST_WORDS, len(kept)))
        if all(kept[first : last + 1])
    ]
