"""λ and prior by cross-validation: folds, the warm path, and choices whose right answer is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_toolken.training.cross_validation import assign_folds, held_out_logits
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.selection import DEFAULT_LAM, select_lam
from langchain_toolken.training.solve.solver import Solution, solve

SIZE = 8


def made(seed: int, demonstrations: int, *, tools: int = 2, signal: float = 0.0) -> Features:
    """One call and three words per demonstration; hidden states are noise plus `signal` × the target's direction."""
    generator = torch.Generator().manual_seed(seed)
    positions = 4 * demonstrations
    target = torch.full((positions,), -1)
    target[::4] = torch.arange(demonstrations) % tools
    hidden = torch.randn(positions, SIZE, generator=generator)
    hidden += signal * torch.eye(SIZE)[target + 1]
    return Features(
        hidden=hidden,
        word_logsumexp=torch.full((positions,), 2.0),
        word_max=torch.full((positions,), 1.5),
        target=target,
        target_logit=torch.zeros(positions),
        weight=torch.ones(positions),
        demonstration=torch.arange(positions) // 4,
    )


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_a_demonstrations_positions_share_a_fold_and_folds_share_the_tools(data: st.DataObject) -> None:
    tools = data.draw(st.lists(st.integers(-1, 3), min_size=5, max_size=60))
    lengths = data.draw(st.lists(st.integers(1, 4), min_size=len(tools), max_size=len(tools)))
    demonstration = torch.arange(len(tools)).repeat_interleave(torch.tensor(lengths))
    target = torch.full((sum(lengths),), -1)
    for number, tool in enumerate(tools):
        target[(demonstration == number).nonzero()[0]] = tool
    shuffled = torch.randperm(len(target), generator=torch.Generator().manual_seed(0))
    features = made(0, (len(target) + 3) // 4).subset(torch.arange(len(target)))
    features = Features(**{**vars(features), "demonstration": demonstration, "target": target}).subset(shuffled)
    folds = assign_folds(features, 5, data.draw(st.integers(0, 99)))
    fold_of = {}
    for number, fold in zip(features.demonstration.tolist(), folds.tolist(), strict=True):
        assert fold_of.setdefault(number, fold) == fold
    for tool in range(-1, 4):
        counts = [sum(fold == f for n, fold in fold_of.items() if tools[n] == tool) for f in range(5)]
        assert max(counts) - min(counts) <= 1
    sizes = [list(fold_of.values()).count(f) for f in range(5)]
    assert max(sizes) - min(sizes) <= 1


def test_where_hidden_states_are_noise_the_strongest_pull_is_chosen() -> None:
    prior = torch.zeros(2, SIZE)
    for seed in range(4):
        assert select_lam(made(seed, 60), {"zero": prior}, (1.0, 1e-2, 1e-4)).lam == 1.0


def test_where_tools_can_be_told_apart_a_weak_pull_is_chosen() -> None:
    selection = select_lam(made(0, 60, signal=8.0), {"zero": torch.zeros(2, SIZE)}, (1.0, 1e-2, 1e-4))
    assert selection.lam == 1e-4
    assert [point.lam for point in selection.path] == [1.0, 1e-2, 1e-4]
    best = selection.path[-1]
    assert best.loss < 0.1 < selection.path[0].loss
    assert best.error < 0.1
    assert best.calls.top1 > 0.95


def test_the_prior_that_points_at_the_tools_is_chosen() -> None:
    features = made(0, 20, signal=3.0)
    good = 2 * torch.eye(SIZE)[1:3]
    for first, second in (("good", "bad"), ("bad", "good")):
        priors = {"good": good, "bad": -good}
        selection = select_lam(features, {first: priors[first], second: priors[second]}, (1.0, 1e-2))
        assert selection.prior == "good"
        assert [point.prior for point in selection.path] == ["good", "good", "bad"]
        assert {point.prior: point.untrained for point in selection.path} == {"good": 1.0, "bad": 0.0}


def test_a_prior_that_ranks_first_untrained_gives_way_to_one_that_holds_out_better() -> None:
    # It knows the tools a little, and is so long in a direction that says nothing that λ keeps it from learning more.
    features = made(0, 60, signal=4.0)
    astray = 5 * torch.eye(SIZE)[1:3]
    astray[0, 3], astray[1, 3] = 30.0, -30.0
    selection = select_lam(features, {"astray": astray, "zero": torch.zeros(2, SIZE)}, (0.1,))
    assert [point.prior for point in selection.path] == ["astray", "zero"]
    assert selection.path[0].untrained > selection.path[1].untrained
    assert selection.prior == "zero"


def test_priors_that_hold_out_alike_are_chosen_between_by_what_they_know_untrained() -> None:
    features = made(0, 120, signal=8.0)
    nearly, none = 0.1 * torch.eye(SIZE)[1:3], torch.zeros(2, SIZE)
    for priors in ({"none": none, "nearly": nearly}, {"nearly": nearly, "none": none}):
        selection = select_lam(features, priors, (1e-2, 1e-3))
        tops = {point.prior: point.calls.top1 for point in selection.path if point.lam == selection.lam}
        assert abs(tops["nearly"] - tops["none"]) < 0.02
        assert selection.prior == "nearly"


def test_the_warm_path_equals_cold_solves() -> None:
    features = made(1, 30, signal=2.0)
    prior = torch.randn(2, SIZE, generator=torch.Generator().manual_seed(0))
    lams = (1e-1, 1e-2, 1e-3)
    selection = select_lam(features, {"random": prior}, lams, tolerance=1e-8)
    assert selection.folds is not None
    assert selection.logits is not None
    for lam, point in zip(lams, selection.path, strict=True):
        cold = [solve(features.subset(selection.folds != fold), prior, lam, tolerance=1e-8).matrix for fold in range(5)]
        logits = held_out_logits(features, selection.folds, cold, 0.0)
        if lam == selection.lam:
            torch.testing.assert_close(selection.logits, logits, rtol=0, atol=1e-4)
        words = features.word_logsumexp[:, None]
        loss = torch.nn.functional.cross_entropy(torch.cat([words, logits], 1), features.target + 1)
        assert point.loss == pytest.approx(float(loss), rel=1e-4)


def test_along_the_path_each_fold_goes_on_from_its_own_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another fold's was fitted on what this one holds out.
    found: list[tuple[tuple[int, ...], torch.Tensor | None, torch.Tensor]] = []

    def watched(features: Features, *args: Any, **options: Any) -> Solution:
        solution = solve(features, *args, **options)
        found.append((tuple(features.demonstration.tolist()), options["start"], solution.matrix))
        return solution

    monkeypatch.setattr("langchain_toolken.training.cross_validation.solve", watched)
    select_lam(made(0, 30, signal=8.0), {"zero": torch.zeros(2, SIZE)}, (1e-1, 1e-2, 1e-3))
    assert len(found) == 15
    assert len({fold for fold, _, _ in found}) == 5
    for place, (fold, start, _) in enumerate(found):
        if place < 5:
            assert start is None
        else:
            assert start is not None
            before = [matrix for other, _, matrix in found[:place] if other == fold][-1]
            assert torch.equal(start, before)


def test_the_same_seed_chooses_the_same() -> None:
    features, priors = made(2, 30, signal=1.0), {"zero": torch.zeros(2, SIZE)}
    one, two, other = (select_lam(features, priors, seed=seed) for seed in (4, 4, 5))
    assert one.path == two.path
    assert one.path != other.path
    assert torch.equal(one.folds, two.folds)  # type: ignore[arg-type]


def test_too_few_demonstrations_leave_the_default_and_say_so() -> None:
    priors = {"zero": torch.zeros(2, SIZE)}
    selection = select_lam(made(0, 9), priors)
    assert (selection.lam, selection.prior, selection.path, selection.logits) == (DEFAULT_LAM, "zero", (), None)
    assert "9 demonstrations, 10 are needed" in selection.note
    assert "12 demonstrations, 16 are needed" in select_lam(made(0, 12), priors, folds=8).note
    assert select_lam(made(0, 9), priors, (0.5,)).lam == 0.5
    uncalled = made(0, 20)
    uncalled.target.fill_(-1)
    assert "no demonstration calls" in select_lam(uncalled, priors).note
    assert not select_lam(made(0, 10), priors).note


def test_progress_ends_where_it_said() -> None:
    seen: list[tuple[int, int, str]] = []
    priors = {"zero": torch.zeros(2, SIZE), "one": torch.ones(2, SIZE)}
    select_lam(made(0, 10), priors, (1.0, 0.1), progress=lambda *step: seen.append(step))
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1] == (15, 15, "choose λ and prior")


def test_nothing_to_choose_from_is_refused() -> None:
    for priors, lams, folds in (({}, (1.0,), 5), ({"a": torch.zeros(2, SIZE)}, (), 5)):
        with pytest.raises(ValueError, match="give at least 1, 1 and 2"):
            select_lam(made(0, 20), priors, lams, folds=folds)
    with pytest.raises(ValueError, match="1 folds"):
        select_lam(made(0, 20), {"a": torch.zeros(2, SIZE)}, folds=1)


def test_calls_whose_tool_is_in_no_other_fold_choose_nothing() -> None:
    some = made(0, 40)
    target = some.target.clone()
    target[::4] = torch.arange(40)
    alone = Features(**{**vars(some), "target": target})
    priors = {"first": torch.zeros(40, SIZE), "better": some.hidden[::4]}
    chosen = select_lam(alone, priors)
    assert chosen.lam == DEFAULT_LAM
    assert chosen.prior == "better", "priors are not fitted, so that all calls say which is good"
    assert chosen.logits is None
    assert "of 40 calls 40 are the only ones of their tool" in chosen.note


def test_calls_of_tools_in_other_folds_are_judged_and_the_rest_left_out() -> None:
    features = made(0, 60, tools=3, signal=3.0)
    rare = Features(**{**vars(features), "target": torch.where(torch.arange(240) == 0, 3, features.target)})
    chosen = select_lam(rare, {"zero": torch.zeros(4, SIZE)}, lams=(1e-2, 1e-3))
    assert chosen.held_out is not None
    assert chosen.positions is not None
    assert chosen.held_out.tool_positions == 59
    assert 0 not in chosen.positions.tolist()
    assert len(chosen.held_out) == 239


def test_the_path_of_a_large_problem_ends_at_the_first_lam_that_is_no_better(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_toolken.training.cross_validation._SAMPLED", 0)
    lams, priors = (1.0, 1e-1, 1e-2, 1e-3), {"zero": torch.zeros(2, SIZE)}
    noise = select_lam(made(0, 60), priors, lams)
    assert [point.lam for point in noise.path] == [1.0, 1e-1]
    assert noise.lam == 1.0
    told_apart = select_lam(made(0, 60, signal=8.0), priors, lams)
    assert tuple(point.lam for point in told_apart.path) == lams


def test_as_many_folds_are_held_out_as_the_size_of_the_problem_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    features, priors = made(0, 60, signal=3.0), {"zero": torch.zeros(2, SIZE)}
    size = len(features) * 2 * SIZE
    for most, folds in ((10 * size, 5), (5 * size, 5), (5 * size - 1, 4), (2 * size, 2), (size - 1, 1)):
        monkeypatch.setattr("langchain_toolken.training.cross_validation._HELD_OUT", most)
        chosen = select_lam(features, priors, (1e-2, 1e-3))
        assert chosen.folds is not None
        assert chosen.folds.unique().tolist() == list(range(folds))
        assert chosen.held_out is not None
        assert len(chosen.held_out) == folds * len(features) // 5
