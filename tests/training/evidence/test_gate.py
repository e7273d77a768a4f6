"""A gate tells calls from plain requests, keeps to the share asked for, and gives way to toolkens that do as well."""

from __future__ import annotations

import pytest
import torch

from langchain_toolken.training.evidence.gate import ANSWERED, GatePositions, choose_gate, operating_point

SIZE = 6


def positions(calls: int, plain: int, *, seed: int = 0, group: int = 0, today: float | None = None) -> GatePositions:
    """Calls that differ from plain requests in one coordinate of the request's mean state; 3 positions a plain one."""
    generator = torch.Generator().manual_seed(seed)
    count = calls + 3 * plain
    states = torch.randn(count, SIZE, generator=generator) + 5.0
    request = torch.cat([torch.arange(calls), calls + torch.arange(plain).repeat_interleave(3)])
    means = torch.randn(calls + plain, SIZE, generator=generator)
    means[:calls, 2] += 5.0
    call = torch.arange(count) < calls
    if today is None:
        lead = torch.full((count,), float("nan"))
    else:
        lead = torch.randn(count, generator=generator) + today * call.float()
    groups = torch.full((count,), group, dtype=torch.int64)
    return GatePositions(states, means[request], call, request, groups, lead)


def test_a_gate_finds_calls_of_requests_that_it_has_not_seen() -> None:
    choice = choose_gate(positions(60, 60))
    assert choice is not None
    assert choice.gate is not None
    new = positions(200, 200, seed=1)
    calls = choice.gate.log_odds(new.states, new.requests) > choice.gate.threshold
    assert calls[new.call].float().mean() > 0.9
    assert calls[~new.call].float().mean() < 0.1
    assert choice.with_gate.recall > 0.9


@pytest.mark.parametrize("cap", [0.0, 0.05, 0.2])
def test_no_larger_share_of_plain_requests_than_asked_for_gets_a_call(cap: float) -> None:
    where = positions(50, 40)
    score = torch.randn(len(where.call), generator=torch.Generator().manual_seed(2)) + where.call.float()
    threshold, figures = operating_point(where, score, cap)
    highest = score[50:].view(40, 3).amax(dim=1)
    assert float((highest > threshold).float().mean()) == pytest.approx(figures.false_calls)
    assert figures.false_calls <= cap + 1e-6
    assert figures.recall == pytest.approx(float((score[:50] > threshold).float().mean()))


def test_a_gate_knows_the_thresholds_of_other_shares_than_its_own() -> None:
    where = positions(60, 60)
    choice = choose_gate(where, 0.05)
    assert choice is not None
    assert choice.gate is not None
    thresholds = [threshold for _, threshold in choice.gate.points]
    assert thresholds == sorted(thresholds, reverse=True)
    assert choice.gate.threshold_at(0.05) == choice.gate.threshold
    threshold = choice.gate.threshold_at(0.5)
    assert threshold is not None
    assert float((choice.log_odds[60:].view(60, 3).amax(dim=1) > threshold).float().mean()) <= 0.5
    assert threshold < choice.gate.threshold


def test_without_a_cap_calls_and_plain_requests_are_told_apart_within_5_percent() -> None:
    where = positions(50, 40)
    _, apart = operating_point(where, where.call.float())
    assert (apart.recall, apart.false_calls) == (1.0, 0.0)
    _, mixed = operating_point(where, torch.rand(len(where.call), generator=torch.Generator().manual_seed(0)))
    assert mixed.false_calls <= 0.05 + 1e-6


def test_toolkens_that_do_as_well_keep_the_decision() -> None:
    choice = choose_gate(positions(60, 60, today=20.0))
    assert choice is not None
    assert choice.gate is None
    assert choice.without.recall == 1.0


def test_toolkens_that_call_on_plain_requests_get_a_lower_bias() -> None:
    eager = positions(60, 60, today=20.0)
    choice = choose_gate(GatePositions(**{**vars(eager), "today": eager.today + 10}))
    assert choice is not None
    assert choice.gate is None
    assert choice.bias < -5
    made = eager.today + 10 + choice.bias > 0
    assert made[eager.call].all()
    assert not made[~eager.call].any()


def test_nothing_is_chosen_from_a_handful_of_requests() -> None:
    assert choose_gate(positions(3, 60)) is None
    assert choose_gate(positions(60, 3)) is None


def test_the_packages_requests_and_the_callers_each_keep_to_their_share() -> None:
    own, package = positions(50, 20), positions(0, 100, group=1)
    both = own.join(GatePositions(**{**vars(package), "request": package.request + 70}))
    assert len(both.call) == len(own.call) + len(package.call)
    score = torch.zeros(len(both.call))
    score[both.call] = 1.0
    score[50:53] = 3.0  # one of the caller's 20 plain requests: 5%
    threshold, figures = operating_point(both, score, 0.05)
    assert 0 <= threshold < 1
    assert figures.recall == 1.0
    score[53:56] = 3.0
    threshold, figures = operating_point(both, score, 0.05)
    assert threshold >= 1


def test_answers_after_a_result_raise_their_own_operating_point_and_not_that_of_requests() -> None:
    asked, after = positions(60, 60), positions(0, 40, seed=3, group=ANSWERED)
    means = after.requests.clone()
    means[:, 2] += 5.0  # the request still asks for the tool
    both = asked.join(GatePositions(**{**vars(after), "request": after.request + 120, "requests": means}))
    alone, choice = choose_gate(asked), choose_gate(both)
    assert alone is not None
    assert choice is not None
    assert alone.gate is not None
    assert choice.gate is not None
    assert alone.gate.after_result is None
    assert choice.gate.after_result is not None
    assert choice.gate.after_result > choice.gate.threshold
    assert choice.with_gate.recall > 0.9


def test_the_gates_probabilities_mean_what_they_say_on_held_out_requests() -> None:
    choice = choose_gate(positions(120, 120))
    assert choice is not None
    before, after = choice.reliable.errors
    assert after <= before + 0.01
    assert after < 0.1


def test_without_the_callers_plain_requests_more_of_the_packages_may_get_a_call_than_where_a_share_was_asked_for() -> (
    None
):
    calls, package = positions(50, 0), positions(0, 100, seed=1, group=1)
    both = calls.join(GatePositions(**{**vars(package), "request": package.request + 50}))
    score = torch.zeros(len(both.call))
    score[both.call] = torch.linspace(0.5, 5.5, 50)
    score[50:77:3] = 3.0  # 9 of the package's 100 requests, above half of the calls
    threshold, figures = operating_point(both, score)
    assert threshold < 0.6
    assert figures.recall == 1.0
    threshold, figures = operating_point(both, score, 0.05)
    assert threshold > 3
    assert figures.recall == pytest.approx(0.5)
    assert operating_point(both, score, None, 0.2)[0] > 3


def test_of_operating_points_that_are_as_good_the_middle_one_is_taken() -> None:
    where = positions(200, 200)
    score = torch.zeros(len(where.call))
    score[where.call] = torch.cat([torch.tensor([1.0]), torch.full((199,), 9.0)])
    score[200] = 4.0  # one call below one plain request: with and without both the shares are as far apart
    threshold, _ = operating_point(where, score, None)
    assert 1 < threshold < 4
