"""States of prompts that begin alike are those of each prompt alone."""

from __future__ import annotations

import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.states import prompt_states


def test_a_shared_beginning_and_padding_change_no_state(tiny_llama: LanguageModel) -> None:
    shared = [*range(3, 15)]
    prompts = [[*shared, 5], [*shared, 7, 8, 9], [*shared, *range(20, 27)], [*shared, 5, 6]]
    spans = [(12, 13), (12, 15), (14, 17), (2, 13)]
    told: list[tuple[int, int]] = []
    last, means = prompt_states(tiny_llama, prompts, spans, lambda done, total, what: told.append((done, total)))
    for ids, span, state, mean in zip(prompts, spans, last, means, strict=True):
        alone = tiny_llama.hidden_states(torch.tensor([ids]))[0]
        torch.testing.assert_close(state, alone[-1], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(mean, alone[slice(*span)].mean(dim=0), rtol=1e-4, atol=1e-4)
    assert told == [(4, 4)]
