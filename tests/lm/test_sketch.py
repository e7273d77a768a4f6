"""Sketches tell how far the states of two runs are apart."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.sketch import agreement, sketch_of, sketched_ids


@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1, 0.5])
def test_the_mean_cosine_is_estimated(tiny_llama: LanguageModel, noise: float) -> None:
    states = tiny_llama.hidden_states(sketched_ids(tiny_llama.vocab_size))[0].detach()
    other = states + noise * states.norm(dim=1, keepdim=True) * torch.randn_like(states) / states.shape[1] ** 0.5
    apart = 1 - float(cosine_similarity(states[8:], other[8:]).mean())
    assert 1 - agreement(sketch_of(states), sketch_of(other)) == pytest.approx(apart, rel=0.5, abs=1e-6)


def test_an_lm_has_one_sketch(tiny_llama: LanguageModel) -> None:
    states = tiny_llama.hidden_states(sketched_ids(tiny_llama.vocab_size))[0]
    assert tiny_llama.sketch == pytest.approx(sketch_of(states.detach()), abs=1e-5)
