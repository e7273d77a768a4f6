"""The head gives the model's own word logits; toolken logits are plain products in float32."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from langchain_toolken.lm.head import LogitTransform, ToolkenHead, greedy_calls, toolken_logits
from langchain_toolken.lm.model import LanguageModel
from tests.support.tiny import ARCHITECTURES

PROMPT = torch.tensor([[0, 40, 41, 200, 9, 17, 33, 60, 71, 80, 99, 300]])


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_word_logits_equal_the_models_own(tiny_lm: Callable[..., LanguageModel], architecture: str, tied: bool) -> None:
    lm = tiny_lm(architecture, tied=tied)
    same_storage = lm.head.weight.data_ptr() == lm.model.get_input_embeddings().weight.data_ptr()
    assert same_storage == tied
    with torch.inference_mode():
        own = lm.model(input_ids=PROMPT).logits
        ours = lm.head.word_logits(lm.hidden_states(PROMPT))
    assert own.std() > 0.5, "logits this flat would hide a missing transform"
    torch.testing.assert_close(ours, own, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["gemma2", "gemma3", "cohere", "granite"])
def test_the_transform_matters_in_these_models(tiny_lm: Callable[..., LanguageModel], architecture: str) -> None:
    lm = tiny_lm(architecture)
    with torch.inference_mode():
        hidden = lm.hidden_states(PROMPT)
        assert (lm.head.words(hidden) - lm.head.word_logits(hidden)).abs().max() > 1


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "cohere"])
def test_toolken_logits_are_plain_products(tiny_lm: Callable[..., LanguageModel], architecture: str) -> None:
    lm = tiny_lm(architecture)
    matrix = torch.randn(3, lm.hidden_size, generator=torch.Generator().manual_seed(1)) * 20
    with torch.inference_mode():
        hidden = lm.hidden_states(PROMPT)
        logits = toolken_logits(hidden, matrix, -0.5)
    torch.testing.assert_close(logits, hidden @ matrix.T - 0.5)


def test_a_head_with_bias_keeps_it() -> None:
    words = nn.Linear(4, 6, bias=True)
    head = ToolkenHead(words, LogitTransform())
    hidden = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(head.word_logits(hidden), words(hidden))


def test_toolken_logits_are_float32_over_bfloat16_states() -> None:
    matrix = torch.tensor([[1.0, 0, 0, 0], [1.0001, 0, 0, 0]])
    logits = toolken_logits(torch.ones(4, dtype=torch.bfloat16), matrix)
    assert logits.dtype == torch.float32
    assert logits[1] > logits[0]


def test_each_toolken_may_have_a_bias_of_its_own() -> None:
    logits = toolken_logits(torch.ones(1, 4), torch.ones(2, 4), torch.tensor([0.5, -1.0]))
    assert logits[0].tolist() == [4.5, 3.0]


def test_greedy_calls_are_what_an_argmax_over_words_and_toolkens_finds() -> None:
    draw = torch.Generator().manual_seed(2)
    words = torch.randint(-3, 4, (200, 5), generator=draw).float()  # whole numbers, so that there are ties
    toolkens = torch.randint(-3, 4, (200, 3), generator=draw).float()
    toolkens[:20] = float("-inf")
    chosen = torch.cat([words, toolkens], dim=1).argmax(dim=1)
    expected = torch.where(chosen >= 5, chosen - 5, -1)
    assert set(expected.tolist()) == {-1, 0, 1, 2}
    assert torch.equal(greedy_calls(words.amax(dim=1), toolkens), expected)
