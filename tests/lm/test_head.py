"""The toolken head gives the model's own words, and toolkens beside them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from langchain_toolken.lm.head import LogitTransform, ToolkenHead
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
        ours = lm.head(lm.hidden_states(PROMPT))
    assert own.std() > 0.5, "logits this flat would hide a missing transform"
    torch.testing.assert_close(ours, own, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("architecture", ["gemma2", "gemma3", "cohere", "granite"])
def test_the_transform_matters_in_these_models(tiny_lm: Callable[..., LanguageModel], architecture: str) -> None:
    lm = tiny_lm(architecture)
    with torch.inference_mode():
        hidden = lm.hidden_states(PROMPT)
        assert (lm.head.words(hidden) - lm.head.word_logits(hidden)).abs().max() > 1


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "cohere"])
def test_toolken_logits_are_plain_products_and_words_stay_as_they_were(
    tiny_lm: Callable[..., LanguageModel], architecture: str
) -> None:
    lm = tiny_lm(architecture)
    matrix = torch.randn(3, lm.hidden_size, generator=torch.Generator().manual_seed(1)) * 20
    with torch.inference_mode():
        hidden = lm.hidden_states(PROMPT)
        words = lm.head(hidden)
        lm.head.bind(matrix, -0.5)
        both = lm.head(hidden)
        lm.head.unbind()
        assert torch.equal(lm.head(hidden), words)
    assert torch.equal(both[..., : lm.vocab_size], words)
    torch.testing.assert_close(both[..., lm.vocab_size :], hidden @ matrix.T - 0.5)


def test_inactive_toolkens_get_minus_infinity() -> None:
    head = ToolkenHead(nn.Linear(4, 6, bias=False), LogitTransform())
    head.bind(torch.ones(3, 4))
    head.activate(torch.tensor([True, False, True]))
    logits = head(torch.ones(2, 4))
    assert logits[:, 6:].isneginf().tolist() == [[False, True, False]] * 2
    head.activate(None)
    assert not head(torch.ones(2, 4)).isinf().any()


def test_a_head_with_bias_keeps_it() -> None:
    words = nn.Linear(4, 6, bias=True)
    head = ToolkenHead(words, LogitTransform())
    hidden = torch.randn(2, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(head(hidden), words(hidden))


def test_toolken_logits_are_float32_over_a_bfloat16_head() -> None:
    head = ToolkenHead(nn.Linear(4, 6, bias=False, dtype=torch.bfloat16), LogitTransform())
    head.bind(torch.tensor([[1.0, 0, 0, 0], [1.0001, 0, 0, 0]]))
    logits = head(torch.ones(4, dtype=torch.bfloat16))
    assert logits.dtype == torch.float32
    assert logits[7] > logits[6]


def test_toolkens_of_another_width_are_refused() -> None:
    head = ToolkenHead(nn.Linear(4, 6), LogitTransform())
    with pytest.raises(ValueError, match=r"\(3, 5\).*\(K, 4\)"):
        head.bind(torch.ones(3, 5))
    head.bind(torch.ones(3, 4))
    with pytest.raises(ValueError, match="3 toolkens are bound"):
        head.activate(torch.ones(2, dtype=torch.bool))


def test_each_toolken_may_have_a_bias_of_its_own() -> None:
    head = ToolkenHead(nn.Linear(4, 6, bias=False), LogitTransform())
    head.bind(torch.ones(2, 4), torch.tensor([0.5, -1.0]))
    assert head(torch.ones(1, 4))[0, 6:].tolist() == [4.5, 3.0]
    with pytest.raises(ValueError, match=r"the bias has shape \(3,\); 2 toolkens"):
        head.bind(torch.ones(2, 4), torch.zeros(3))
