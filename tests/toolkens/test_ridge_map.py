"""Rows that a linear map made are found again for tools that it was not learned on, as far apart as the others."""

from __future__ import annotations

import torch

from langchain_toolken.toolkens.ridge_map import RidgeMap


def test_a_planted_map_is_found_for_new_tools() -> None:
    generator = torch.Generator().manual_seed(0)
    states = 5.0 + torch.randn(60, 8, generator=generator) * torch.linspace(0.1, 3.0, 8)
    rows = (states - 5.0) @ torch.randn(8, 6, generator=generator) + 2.0
    learned = RidgeMap.learn(rows[:40], states[:40])
    found = learned.rows(states[40:])
    cosine = torch.nn.functional.cosine_similarity(found - learned.intercept, rows[40:] - learned.intercept)
    assert float(cosine.min()) > 0.95
    assert learned.tools == 40


def test_new_rows_are_as_far_from_the_mean_as_the_others_even_where_states_say_little() -> None:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(90, 30, generator=generator)
    rows = states @ torch.randn(30, 6, generator=generator) + 6 * torch.randn(90, 6, generator=generator)
    learned = RidgeMap.learn(rows[:60], states[:60])
    apart = (learned.rows(states[60:]) - learned.intercept).norm(dim=1).mean()
    others = (rows[:60] - learned.intercept).norm(dim=1).mean()
    assert 0.7 < float(apart / others) < 1.4
