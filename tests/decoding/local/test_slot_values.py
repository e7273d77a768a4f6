"""decoding.local.slot_values: what slots read in a part of a text."""

from __future__ import annotations

import torch

from langchain_toolken.decoding.engine import SlotReader
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.decoding.local.read_texts import ReadTexts
from langchain_toolken.decoding.local.slot_values import read_values
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.toolkens.slots import Slot


def test_the_numbers_of_a_value_are_read(tiny_llama: TransformersModel) -> None:
    everything = Slot(torch.zeros(3, 2 * tiny_llama.hidden_size), torch.ones(3))
    text = "Make it 1,200 or twelve"
    assert read_values(ReadTexts(tiny_llama), text, text.index("1"), {"n": everything}, [])["n"].numbers == (
        1200.0,
        12.0,
    )


def test_what_comes_before_the_part_is_no_value(tiny_llama: TransformersModel) -> None:
    everything = Slot(torch.zeros(3, 2 * tiny_llama.hidden_size), torch.ones(3))
    text = "In Rome? And in Milan"
    assert read_values(ReadTexts(tiny_llama), text, text.index("And"), {"city": everything}, [])["city"].texts == (
        "And in Milan",
    )


def test_a_list_has_every_run_of_words_that_look_like_its_values(tiny_llama: TransformersModel) -> None:
    d = tiny_llama.hidden_size
    yes, no = (Slot(torch.zeros(3, 2 * d), torch.full((3,), bias)) for bias in (2.0, -2.0))
    found = read_values(ReadTexts(tiny_llama), "milk rice tea", 5, {"items": yes}, ["items"])
    assert found["items"].texts == ("rice tea",)
    assert read_values(ReadTexts(tiny_llama), "milk rice tea", 5, {"items": no}, ["items"])["items"].texts == ()


def test_the_engine_of_this_process_reads_slots(tiny_llama: TransformersModel) -> None:
    engine, slot = TransformersEngine(tiny_llama), Slot(torch.zeros(3, 2 * tiny_llama.hidden_size), torch.ones(3))
    assert isinstance(engine, SlotReader)
    assert engine.read_values("In Rome?", 0, {"city": slot})["city"].texts == ("In Rome?",)
