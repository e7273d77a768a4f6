"""evaluation.statistics: intervals hold the mean, and paired tests agree with McNemar's."""

from __future__ import annotations

import math

import pytest

from langchain_toolken.evaluation.statistics import bootstrap, paired_p


def test_an_interval_holds_the_mean_and_narrows_with_questions() -> None:
    few, many = bootstrap([1.0, 0.0] * 10), bootstrap([1.0, 0.0] * 200)
    assert few.low < few.mean == 0.5 < few.high
    assert many.high - many.low < (few.high - few.low) / 3
    assert bootstrap([1.0, 0.0] * 10) == few


def test_nothing_right_is_no_proof_that_nothing_ever_is() -> None:
    assert (bootstrap([0.0] * 20).low, bootstrap([1.0] * 20).high) == (0.0, 1.0)
    assert bootstrap([0.0] * 20).high == pytest.approx(0.161, abs=0.001)  # Wilson's
    assert bootstrap([1.0] * 20).low == pytest.approx(0.839, abs=0.001)


@pytest.mark.parametrize(("wins", "losses"), [(5, 0), (6, 1), (3, 3), (9, 2)])
def test_the_paired_test_of_right_and_wrong_is_mcnemars_exact_test(wins: int, losses: int) -> None:
    one = [1.0] * wins + [0.0] * losses + [1.0, 0.0] * 4
    other = [0.0] * wins + [1.0] * losses + [1.0, 0.0] * 4
    count, least = wins + losses, min(wins, losses)
    exact = min(1.0, 2 * sum(math.comb(count, k) for k in range(least + 1)) / 2**count)
    assert paired_p(one, other) == pytest.approx(exact)


def test_many_differing_questions_are_sampled_and_alike_methods_do_not_differ() -> None:
    assert paired_p([1.0] * 40, [0.0] * 40) < 0.001
    assert paired_p([1.0, 0.0], [1.0, 0.0]) == 1.0
    with pytest.raises(ValueError, match="the same questions"):
        paired_p([1.0], [])
