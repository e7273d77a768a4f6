"""toolkens.lexicon: what words of a request mean of a parameter's fixed choices."""

from __future__ import annotations

import pytest
import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.lexicon import Lexicon

CHOICES = ("red", "blue", "green")


def test_what_is_usual_after_other_words_is_taken_out(tiny_llama: LanguageModel) -> None:
    plain = Lexicon(CHOICES, (("sky", "blue"),))
    meant = plain.meant(tiny_llama, ["sky", "grass"])
    assert meant.shape == (2, 3)
    torch.testing.assert_close(meant.exp().sum(dim=1), torch.ones(2))
    usual = tuple(meant[0].tolist())
    less = Lexicon(CHOICES, plain.pairs, usual).meant(tiny_llama, ["sky"])
    torch.testing.assert_close(less.exp(), torch.full((1, 3), 1 / 3))


def test_words_that_were_shown_mean_what_they_meant_there() -> None:
    lexicon = Lexicon(CHOICES, (("sky", "blue"), ("night sky", "green"), ("rose", "red"), ("mr. rose", "green")))
    asked = ("sky", "Night sky", "the rose", "Mr. Rose")
    assert [lexicon.known(words) for words in asked] == ["blue", "green", "red", "green"]
    assert lexicon.known("the night sky") is None  # it may mean either
    assert lexicon.known("skyline") is None


def test_a_lexicon_that_does_not_fit_its_choices_is_refused() -> None:
    with pytest.raises(ToolkenSetError, match="3 choices, but 2 usual"):
        Lexicon(CHOICES, (), (0.0, 0.0))
    with pytest.raises(ToolkenSetError, match="mean 'pink'"):
        Lexicon(CHOICES, (("rose", "pink"),))
