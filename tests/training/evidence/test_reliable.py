"""Probabilities come to mean what they say, and decisions stay as they were."""

from __future__ import annotations

import pytest
import torch

from langchain_toolken.training.evidence.reliable import Reliable, line


def test_a_line_undoes_log_odds_that_are_too_timid_and_shifted() -> None:
    generator = torch.Generator().manual_seed(0)
    odds = 3 * torch.randn(4000, generator=generator)
    true = torch.rand(4000, generator=generator) < odds.sigmoid()
    said, weight = 0.3 * odds - 1, torch.ones(4000)
    slope, shift = line(said, true, weight)
    assert slope == pytest.approx(1 / 0.3, rel=0.15)
    assert shift == pytest.approx(1 / 0.3, rel=0.2)
    reliable = Reliable.of((said.sigmoid(), true), ((slope * said + shift).sigmoid(), true))
    before, after = reliable.errors
    assert before > 0.1
    assert after < 0.02
    assert sum(each.mass for each in reliable.after) == pytest.approx(1.0)


def test_log_odds_that_say_the_opposite_are_left_alone() -> None:
    odds = torch.linspace(-2, 2, 40)
    assert line(odds, odds < 0, torch.ones(40)) == (1.0, 0.0)
