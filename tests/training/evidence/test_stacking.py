"""Weights of evidence: what helps counts, what does not counts nothing."""

from __future__ import annotations

import pytest
import torch

from langchain_toolken.training.evidence.stacking import stack


def scores(right: float, target: torch.Tensor, seed: int) -> torch.Tensor:
    noise = torch.randn(len(target), 10, generator=torch.Generator().manual_seed(seed))
    noise[torch.arange(len(target)), target] += right
    return noise


TARGET = torch.arange(300) % 10
UNITS = torch.arange(300)


def test_sources_that_help_get_weight_and_noise_gets_none() -> None:
    given = {"rows": scores(2, TARGET, 0), "words": 10 * scores(2, TARGET, 1), "noise": scores(0, TARGET, 2)}
    found = stack(given, TARGET, UNITS, least={"rows": 0.0})
    assert found.weights["noise"] == 0
    assert found.weights["rows"] > 0.5
    assert 0.05 < found.weights["words"] < 0.5, "ten times as large scores, a tenth of the weight"
    alone = stack({"rows": given["rows"]}, TARGET, UNITS, least={"rows": 0.0})
    assert found.loss.mean() < alone.loss.mean() - 0.1


def test_a_source_that_says_the_opposite_gets_no_weight() -> None:
    found = stack({"rows": scores(2, TARGET, 0), "against": -scores(2, TARGET, 1)}, TARGET, UNITS, least={"rows": 0.0})
    assert found.weights["against"] == 0


def test_many_calls_of_one_demonstration_are_not_many_observations() -> None:
    weak = {"rows": scores(2, TARGET, 0), "words": scores(0.6, TARGET, 4)}
    assert stack(weak, TARGET, UNITS, least={"rows": 0.0}).weights["words"] > 0
    assert stack(weak, TARGET, torch.zeros(300, dtype=torch.int64), least={"rows": 0.0}).weights["words"] == 0


def test_a_source_keeps_its_least_weight_even_where_it_speaks_against_the_right_one() -> None:
    given = {"rows": scores(2, TARGET, 0), "against": -scores(2, TARGET, 1)}
    found = stack(given, TARGET, UNITS, least={"rows": 0.0, "against": 0.3})
    assert found.weights["against"] == pytest.approx(0.3)
    assert found.weights["rows"] > 0


def test_of_few_calls_a_source_that_helps_a_little_is_kept_and_no_weight_is_large() -> None:
    few = torch.arange(30) % 10
    given = {"rows": scores(2, few, 0), "words": scores(1, few, 1)}
    assert stack(given, few, torch.arange(30), least={"rows": 0.0}).weights["words"] > 0.1
    sure = {"rows": scores(20, few, 0), "words": scores(20, few, 1)}
    found = stack(sure, few, torch.arange(30), least={"rows": 0.0})
    assert max(found.weights.values()) < 1.5, "right in all calls, which says little of others"
