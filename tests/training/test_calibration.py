"""The bias that held-out calls ask for, and probabilities that mean what they say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_toolken.training.calibration import (
    best_f1_bias,
    call_figures,
    capped_bias,
    choose_bias,
    steady_f1_bias,
)
from langchain_toolken.training.calibration_temperature import choose_temperature, expected_calibration_error
from langchain_toolken.training.features.compute import Features


def drawn(
    seed: int, positions: int = 400, tools: int = 3, *, scale: float = 1.0, shift: float = 0.0
) -> tuple[Features, torch.Tensor]:
    """Positions whose targets are drawn from softmax([words; toolkens]), and `scale` × the toolkens' logits.

    The words' logits are scaled along. Three word positions in four were sampled away, for which the others stand.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(positions, tools + 1, generator=generator, dtype=torch.float64) * 2
    logits[:, 0] += 3
    target = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0] - 1
    logits *= scale
    words = logits[:, 0]
    features = Features(
        hidden=torch.zeros(positions, 1),
        word_logsumexp=words,
        word_max=words - torch.rand(positions, generator=generator),
        target=target,
        target_logit=torch.zeros(positions),
        weight=torch.where(target < 0, 4.0, 1.0),
        demonstration=torch.arange(positions) // 8,
    )
    return features, logits[:, 1:] + shift


def f1_by_hand(features: Features, logits: torch.Tensor, bias: float) -> float:
    right = made = due = 0.0
    for row, target, word, weight in zip(logits, features.target, features.word_max, features.weight, strict=True):
        due += float(weight) * bool(target >= 0)
        if float(row.max()) + bias > float(word):
            made += float(weight)
            right += float(weight) * bool(row.argmax() == target)
    return 2 * right / (due + made)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), ties=st.booleans())
def test_the_sweep_finds_the_f1_that_brute_force_finds(seed: int, ties: bool) -> None:
    features, logits = drawn(seed, positions=40)
    if ties:
        logits, features = logits.round(), features.subset(torch.ones(40, dtype=torch.bool))
        features.word_max.round_()
    found = best_f1_bias(features, logits)
    gaps = (features.word_max - logits.max(1).values).tolist()
    tried = [gap + step for gap in gaps for step in (-1e-7, 1e-7)]
    best = max(f1_by_hand(features, logits, bias) for bias in tried)
    assert f1_by_hand(features, logits, found) == pytest.approx(best)
    assert call_figures(features, logits, found).f1 == pytest.approx(best)


def test_the_steady_bias_lies_between_none_and_the_best_and_undoes_a_large_shift() -> None:
    features, logits = drawn(0, positions=4000)
    for shift in (-6.0, 0.0, 6.0):
        steady, best = steady_f1_bias(features, logits + shift), best_f1_bias(features, logits + shift)
        assert min(0.0, best) <= steady <= max(0.0, best)
        lost = call_figures(features, logits + shift, best).f1 - call_figures(features, logits + shift, steady).f1
        assert 0 <= lost < 0.02
    assert call_figures(features, logits + 6, steady_f1_bias(features, logits + 6)).f1 > 1.5 * (
        call_figures(features, logits + 6).f1
    )


def test_a_bias_that_needs_no_change_is_not_changed() -> None:
    features, logits = drawn(1, positions=50)
    words = features.target < 0
    logits[words] = -5.0
    logits[~words] = -5.0
    logits[~words, features.target[~words]] = 50.0
    choice = choose_bias(features, logits, features.demonstration % 5)
    assert (choice.bias, choice.tool_biases) == (0.0, None)
    assert choice.calibrated.f1 == 1.0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), cap=st.sampled_from([0.0, 0.003, 0.01, 0.1]))
def test_the_cap_holds_and_one_more_right_call_would_break_it(seed: int, cap: float) -> None:
    features, logits = drawn(seed)
    bias = capped_bias(features, logits, cap)
    figures = call_figures(features, logits, bias)
    assert figures.false_call_rate <= cap * (1 + 1e-9)
    gaps = features.word_max - logits.max(1).values
    for threshold in gaps[gaps > bias].tolist():
        more = call_figures(features, logits, threshold + 1e-7)
        assert more.recall <= figures.recall or more.false_call_rate > cap


def test_the_cap_holds_nearly_on_data_it_was_not_chosen_on() -> None:
    features, logits = drawn(0, positions=20_000)
    first = torch.arange(20_000) < 10_000
    bias = choose_bias(features.subset(first), logits[first], max_false_call_rate=0.02).bias
    rate = call_figures(features.subset(~first), logits[~first], bias).false_call_rate
    assert 0.01 < rate < 0.03


def test_one_tool_that_calls_too_eagerly_gets_a_bias_of_its_own() -> None:
    features, logits = drawn(3, positions=6000)
    skewed = logits + torch.tensor([5.0, 0.0, 0.0])
    choice = choose_bias(features, skewed, features.demonstration % 5)
    assert choice.tool_biases is not None
    assert float(choice.tool_biases[0] - choice.tool_biases[1:].mean()) < -2
    assert choice.calibrated.f1 > call_figures(features, skewed, best_f1_bias(features, skewed)).f1
    capped = choose_bias(features, skewed, features.demonstration % 5, max_false_call_rate=0.02)
    assert capped.calibrated.false_call_rate <= 0.02


def test_tools_that_are_alike_or_rare_get_none() -> None:
    features, logits = drawn(3, positions=4000)
    assert choose_bias(features, logits, features.demonstration % 5).tool_biases is None
    few, at = features.subset(torch.arange(60)), logits[:60] + torch.tensor([5.0, 0.0, 0.0])
    assert choose_bias(few, at, few.demonstration % 5).tool_biases is None


@pytest.mark.parametrize("scale", [0.4, 1.0, 3.0])
def test_the_temperature_is_what_the_logits_were_scaled_by(scale: float) -> None:
    features, logits = drawn(5, positions=30_000, scale=scale)
    features = Features(**{**vars(features), "weight": torch.ones(30_000)})
    choice = choose_temperature(features, logits, 0.0)
    assert choice.temperature == pytest.approx(scale, rel=0.03)
    assert choice.ece_after < 0.03
    if scale != 1:
        assert choice.ece_after < choice.ece_before / 2


def test_the_bias_has_no_part_in_calibrated_probabilities() -> None:
    features, logits = drawn(5, positions=30_000)
    features = Features(**{**vars(features), "weight": torch.ones(30_000)})
    choice = choose_temperature(features, logits, 3.0)
    assert choice.temperature == pytest.approx(1, rel=0.03)
    assert choice.ece_after < 0.03 < 0.1 < choice.ece_before


def test_expected_calibration_error() -> None:
    assert expected_calibration_error(torch.full((150,), 0.7), torch.arange(150) % 10 < 7) < 1e-6
    assert expected_calibration_error(torch.full((100,), 0.9), torch.zeros(100, dtype=torch.bool)) == pytest.approx(0.9)
    assert expected_calibration_error(torch.empty(0), torch.empty(0, dtype=torch.bool)) == 0
    # A weight of two is the same as standing there twice.
    probability, right = torch.tensor([0.2, 0.8]), torch.tensor([False, True])
    weighted = expected_calibration_error(probability, right, torch.tensor([30.0, 60.0]))
    repeated = expected_calibration_error(probability.repeat_interleave(torch.tensor([30, 60])), torch.arange(90) >= 30)
    assert weighted == pytest.approx(repeated)


@pytest.mark.parametrize("cap", [-0.1, 1.0])
def test_a_cap_that_is_no_share_is_refused(cap: float) -> None:
    features, logits = drawn(0)
    with pytest.raises(ValueError, match="max_false_call_rate is"):
        choose_bias(features, logits, None, cap)
