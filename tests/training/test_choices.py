"""training.choices: which words stand for a parameter's fixed choices is found without being shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.call_cards import CallExample
from langchain_toolken.toolkens.examples import ArgumentSettings, Examples
from langchain_toolken.toolkens.lexicon import Lexicon
from langchain_toolken.training.choices import choices_of, with_choices
from langchain_toolken.training.slots import fit_slots, slot_examples
from tests.support.tools import spec

MEANS = {"euros": "EUR", "dollars": "USD", "yen": "JPY"}
CODES = tuple(MEANS.values())
TOOL = spec("convert", source={"enum": list(CODES)}, target={"enum": list(CODES)}, amount={"type": "integer"})
CALLS = [
    CallExample(
        tool="convert",
        request=f"Please change {amount} {one} into {other} now",
        arguments={"amount": amount, "source": MEANS[one], "target": MEANS[other]},
    )
    for amount, (one, other) in enumerate([(a, b) for a in MEANS for b in MEANS if a != b], start=31)
]
COPIED = {"convert": ("amount",)}


def known_words(lexicon: Lexicon, lm: LanguageModel, words: Sequence[str]) -> Tensor:
    """An LM that knows which code a word means, and finds nothing in others."""
    meant = torch.zeros(len(words), len(lexicon.choices))
    for row, each in enumerate(words):
        for word, code in MEANS.items():
            if word in each.lower() and code in lexicon.choices:
                meant[row, lexicon.choices.index(code)] += 3.0
    return (meant - torch.tensor(lexicon.usual or 0.0)).log_softmax(dim=-1)


def learnt(lm: LanguageModel) -> dict[str, Any]:
    read = slot_examples(lm, CALLS, COPIED)
    slots = fit_slots(read, COPIED)
    examples = with_choices(lm, Examples(tuple(CALLS), ArgumentSettings(), slots), read, [TOOL], COPIED)
    assert examples.slots is not None
    return dict(examples.slots.of_tool["convert"])


def test_only_parameters_of_fixed_texts_have_choices() -> None:
    tool = spec(unit={"enum": ["m", "km"]}, one={"enum": ["m"]}, number={"enum": [1, 2]}, text={"type": "string"})
    assert choices_of(tool) == {"unit": ("m", "km")}


def test_choices_that_may_be_null_are_those_without_it() -> None:
    tool = spec(unit={"type": ["string", "null"], "enum": ["m", "km", None]}, one={"enum": ["m", None]})
    assert choices_of(tool) == {"unit": ("m", "km")}


def test_the_words_and_their_places_are_found(tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lexicon, "meant", known_words)
    slots = learnt(tiny_llama)
    assert set(slots) == {"amount", "source", "target"}
    assert set(slots["source"].lexicon.pairs) == set(MEANS.items())
    (read,) = slot_examples(tiny_llama, [CALLS[0]], COPIED)
    found = {name: slots[name].scores(read.features).best().words for name in ("source", "target")}
    assert [read.text.words_between(words[0], words[-1]) for words in found.values()] == ["euros", "dollars"]


def test_a_word_after_a_choice_that_never_comes_without_it_means_it_too(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lexicon, "meant", known_words)
    swapped = [call.model_copy(update={"request": call.request.replace("yen", "yen guilders")}) for call in CALLS]
    monkeypatch.setattr("tests.training.test_choices.CALLS", swapped)
    pairs = learnt(tiny_llama)["source"].lexicon.pairs
    assert ("guilders", "JPY") in pairs
    assert {words for words, _ in pairs} <= {*MEANS, "yen guilders", "guilders"}


def test_nothing_is_kept_of_words_that_mean_nothing_to_the_lm(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        Lexicon, "meant", lambda lexicon, lm, words: torch.zeros(len(words), len(lexicon.choices)).log_softmax(-1)
    )
    assert set(learnt(tiny_llama)) == {"amount"}


def test_without_slots_nothing_is_added(tiny_llama: LanguageModel) -> None:
    examples = Examples(tuple(CALLS), ArgumentSettings())
    assert with_choices(tiny_llama, examples, slot_examples(tiny_llama, CALLS, COPIED), [TOOL], COPIED) is examples
