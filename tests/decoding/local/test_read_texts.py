"""decoding.local.read_texts: a text that several things are asked of runs through the LM once."""

from __future__ import annotations

import pytest
import torch

from langchain_toolken.decoding.copy_source import CopySource
from langchain_toolken.decoding.local import read_texts
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.decoding.local.read_texts import ReadTexts
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.toolkens.lexicon import Lexicon
from langchain_toolken.toolkens.slots import Slot, SlotText
from tests.support.passes import Passes
from tests.support.tools import spec


def laid_out(lm: TransformersModel, *texts: str) -> list[SlotText]:
    return [SlotText.of(lm.tokenizer, text) for text in texts]


def test_a_request_is_read_once_for_its_values_and_its_arguments(
    tiny_llama: TransformersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = {"city": Slot(torch.zeros(3, 2 * tiny_llama.hidden_size), torch.ones(3))}
    source, tool, prompt = CopySource("In Rome?", {}, slot), spec("weather", city={"type": "string"}), [[5, 9, 21]]
    passes = Passes(monkeypatch)
    (fresh,) = TransformersEngine(tiny_llama).complete(prompt, [tool], max_tokens=8, copying=[source])
    read, *written = passes.shapes
    passes.shapes.clear()
    engine = TransformersEngine(tiny_llama)
    engine.read_values("In Rome?", 0, slot)
    assert passes.shapes == [read]
    (completion,) = engine.complete(prompt, [tool], max_tokens=8, copying=[source])
    assert passes.shapes == [read, *written]
    assert (completion.text, completion.completion_tokens) == (fresh.text, fresh.completion_tokens)


def test_what_is_kept_is_what_is_read_and_only_missing_texts_run(
    tiny_llama: TransformersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, (one, other) = ReadTexts(tiny_llama), laid_out(tiny_llama, "In Rome?", "And in Milan?")
    alone = [state for text in (one, other) for state in ReadTexts(tiny_llama).states([text], 1.0)]
    passes = Passes(monkeypatch)
    first = reads.states([one], 1.0)[0]
    again, new, twice = reads.states([one, other, one], 1.0)
    assert len(passes) == 2
    assert all(torch.equal(each, alone[0]) for each in (first, again, twice))
    assert torch.equal(new, alone[1])
    assert not torch.equal(reads.states([one], 0.5)[0], first)  # another layer's


def test_what_words_mean_is_asked_once_and_what_is_kept_can_not_be_changed(
    tiny_llama: TransformersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    lexicon = Lexicon(("on", "off"), (("bright", "on"),))
    reads, passes = ReadTexts(tiny_llama), Passes(monkeypatch)
    fresh = lexicon.meant(tiny_llama, ["dark"])
    first = reads.meant(lexicon, ["dark"])
    assert torch.equal(first, fresh)
    first += 1
    assert torch.equal(reads.meant(lexicon, ["dark"]), fresh)
    assert len(passes) == 2
    reads.meant(lexicon, ["dark", "light"])
    assert len(passes) == 3


def test_the_texts_that_were_not_asked_for_longest_are_forgotten(
    tiny_llama: TransformersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, third = laid_out(tiny_llama, "In Rome?", "In Oslo?", "In Riga?")
    monkeypatch.setattr(read_texts, "_MOST_TOKENS", len(one.ids) + len(third.ids))
    reads = ReadTexts(tiny_llama)
    reads.states([one], 1.0)
    reads.states([other], 1.0)
    reads.states([one], 1.0)
    reads.states([third], 1.0)
    passes = Passes(monkeypatch)
    reads.states([one, third], 1.0)
    assert len(passes) == 0
    reads.states([other], 1.0)
    assert len(passes) == 1
