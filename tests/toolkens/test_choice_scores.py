"""toolkens.choice_scores: the words of a request that a slot finds say which choice is meant."""

from __future__ import annotations

import math

import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.choice_scores import Meanings, choice_scores, choice_spans
from langchain_toolken.toolkens.lexicon import Lexicon
from langchain_toolken.toolkens.slots import SlotScores, SlotText

CHOICES = ("red", "blue", "green")


def meaning(lm: LanguageModel) -> Meanings:
    return lambda lexicon, words: lexicon.meant(lm, words)


def spans(text: SlotText, *taken: int) -> list[str]:
    return [text.words_between(*span) for span in choice_spans(text, taken)]


def test_spans_are_short_and_without_marks_numbers_and_the_words_of_other_values(tiny_llama: LanguageModel) -> None:
    text = SlotText.of(tiny_llama.tokenizer, "Paint 3 big walls, in sky blue")
    assert spans(text, 3) == ["Paint", "big", "in", "in sky", "in sky blue", "sky", "sky blue", "blue"]


def test_a_choice_that_demonstrations_show_for_the_words_is_nearly_sure(tiny_llama: LanguageModel) -> None:
    lexicon, text = Lexicon(CHOICES, (("grass", "green"),)), SlotText.of(tiny_llama.tokenizer, "grass")
    found = choice_scores(meaning(tiny_llama), lexicon, text, SlotScores([0.0], [0.0], [0.0]))
    assert math.exp(found["green"]) > 0.95
    assert abs(sum(map(math.exp, found.values())) - 1) < 1e-5


def test_words_count_as_the_slot_finds_them_likely(tiny_llama: LanguageModel) -> None:
    lexicon, text = Lexicon(CHOICES), SlotText.of(tiny_llama.tokenizer, "sky grass")
    meant = lexicon.meant(tiny_llama, ["sky", "grass"])
    for word in (0, 1):
        begins = [9.0 if place == word else -9.0 for place in (0, 1)]
        slot = SlotScores(begins, begins, begins)
        found = choice_scores(meaning(tiny_llama), lexicon, text, slot)
        torch.testing.assert_close(torch.tensor([found[choice] for choice in CHOICES]), meant[word], atol=1e-3, rtol=0)
    nothing = SlotText.of(tiny_llama.tokenizer, "12 !")
    assert choice_scores(meaning(tiny_llama), lexicon, nothing, SlotScores([], [], [])) == {}
