"""decoding.local.slot_values: what slots read in a part of a text."""

from __future__ import annotations

import torch

from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.decoding.local.slot_values import read_values
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.prompts.call_cards import CallExample
from langchain_toolken.toolkens.slots import Slot
from langchain_toolken.training.slots import fit_slots, slot_examples

COPIED = {"weather": ("city", "hours")}
CALLS = [
    CallExample(tool="weather", request=f"Tell me of {city} for {n} hours please", arguments={"city": city, "hours": n})
    for n, city in enumerate(("Lima", "Oslo", "Rome", "Bern", "Kyiv", "Riga"), start=11)
]


def test_values_are_found_with_the_numbers_in_them(tiny_llama: TransformersModel) -> None:
    slots = fit_slots(slot_examples(tiny_llama, CALLS, COPIED), COPIED).of_tool["weather"]
    found = TransformersEngine(tiny_llama).read_values("Tell me of Cairo for 1,200 hours please", 0, slots)
    assert {name: value.texts for name, value in found.items()} == {"city": ("Cairo",), "hours": ("1,200",)}
    assert found["hours"].numbers == (1200.0,)
    assert all(value.score > 0 for value in found.values())


def test_what_comes_before_the_part_is_no_value(tiny_llama: TransformersModel) -> None:
    everything = Slot(torch.zeros(3, 2 * tiny_llama.hidden_size), torch.ones(3))
    text = "In Rome? And in Milan"
    assert read_values(tiny_llama, text, text.index("And"), {"city": everything}, [])["city"].texts == ("And in Milan",)


def test_a_list_has_every_run_of_words_that_look_like_its_values(tiny_llama: TransformersModel) -> None:
    d = tiny_llama.hidden_size
    yes, no = (Slot(torch.zeros(3, 2 * d), torch.full((3,), bias)) for bias in (2.0, -2.0))
    found = read_values(tiny_llama, "milk rice tea", 5, {"items": yes}, ["items"])
    assert found["items"].texts == ("rice tea",)
    assert read_values(tiny_llama, "milk rice tea", 5, {"items": no}, ["items"])["items"].texts == ()
