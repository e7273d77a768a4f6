"""What makes large solves fast doesn't change the optimum."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import accumulate
from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.selection import select_lam
from langchain_toolken.training.solve import solver
from langchain_toolken.training.solve.local_model import LocalModel, sample_positions
from langchain_toolken.training.solve.objective import Objective, toolken_mass
from langchain_toolken.training.solve.solver import ConvergenceWarning, peak_bytes, solve
from langchain_toolken.training.solve.stochastic import StochasticState

SIZE = 12


def rare_calls(seed: int = 0, calls: int = 60, words: int = 900, tools: int = 5) -> tuple[Features, torch.Tensor]:
    """Calls that can partly be told apart, and words of which most never make a toolken fire."""
    generator = torch.Generator().manual_seed(seed)
    target = torch.cat([torch.arange(calls) % tools, torch.full((words,), -1)])
    hidden = torch.randn(calls + words, SIZE, generator=generator)
    hidden[:calls] += 2 * torch.eye(SIZE)[target[:calls]]
    positions = len(target)
    logsumexp = 2 + 4 * torch.rand(positions, generator=generator)
    features = Features(
        hidden=hidden,
        word_logsumexp=logsumexp,
        word_max=logsumexp - 1,
        target=target,
        target_logit=torch.where(target < 0, logsumexp - 1.5, 0.0),
        weight=1 + (target < 0) * torch.rand(positions, generator=generator),
        demonstration=torch.arange(positions) % calls,
    )
    return features, torch.randn(tools, SIZE, generator=generator) / 2


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every problem counts as large: few word positions in the model, bfloat16 products there."""
    monkeypatch.setattr(solver, "_SMALL", 0)
    monkeypatch.setattr(solver, "_LEAST_WORDS", 40)
    monkeypatch.setattr(solver, "products_dtype", lambda device: torch.bfloat16)


@pytest.mark.usefixtures("sampled")
@pytest.mark.parametrize("lam", [1e-4, 1e-3, 1e-1])
def test_a_sample_of_the_words_and_short_products_lead_to_the_full_problems_optimum(
    lam: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    features, prior = rare_calls()
    generator = torch.Generator().manual_seed(1)
    starts = [None, torch.zeros_like(prior), *(3 * torch.randn(prior.shape, generator=generator) for _ in range(3))]
    solutions = [solve(features, prior, lam, start=start, tolerance=1e-7) for start in starts]
    monkeypatch.undo()
    full = solve(features, prior, lam, tolerance=1e-9)
    assert full.sampled == len(features)
    gradient = Objective(features, prior, lam)(full.matrix.double())[1]
    assert float(gradient.norm()) < 1e-6
    for solution in solutions:
        assert solution.converged
        torch.testing.assert_close(solution.matrix, full.matrix, rtol=0, atol=1e-4)


@pytest.mark.usefixtures("sampled")
def test_most_words_are_left_out_of_the_model_where_they_do_not_matter() -> None:
    features, prior = rare_calls(words=4000)
    solution = solve(features, prior, 1e-2, tolerance=1e-3)
    assert solution.converged
    assert solution.sampled < len(features) / 3


def test_words_that_had_no_mass_at_the_start_are_found_when_they_get_some(monkeypatch: pytest.MonkeyPatch) -> None:
    # At the prior no toolken has mass at the words; when fitted to the calls alone, toolkens fire at half of them.
    features, prior = rare_calls(words=2000)
    features.hidden[60:1060] = features.hidden[:60].repeat(17, 1)[:1000] + 0.1
    prior = prior - 0.0
    features.word_logsumexp[60:1060] = 6.0
    monkeypatch.setattr(solver, "_SMALL", 0)
    monkeypatch.setattr(solver, "_LEAST_WORDS", 10)
    monkeypatch.setattr(solver, "_LEAST_SHARE", 0.0)
    found = solve(features, prior, 1e-4, tolerance=1e-6)
    monkeypatch.undo()
    full = solve(features, prior, 1e-4, tolerance=1e-8)
    calls = solve(features.subset(features.target >= 0), prior, 1e-4, tolerance=1e-6)
    torch.testing.assert_close(found.matrix, full.matrix, rtol=0, atol=1e-3)
    assert float((calls.matrix - full.matrix).abs().max()) > 0.5


@pytest.mark.usefixtures("sampled")
def test_every_round_draws_its_words_by_the_mass_they_have_by_then(monkeypatch: pytest.MonkeyPatch) -> None:
    features, prior = rare_calls()
    drawn: list[torch.Tensor] = []
    at: list[torch.Tensor] = []

    def draw(features: Features, mass: torch.Tensor, words: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        drawn.append(mass)
        return sample_positions(features, mass, words, seed)

    class Model(LocalModel):
        def __init__(self, objective: Objective, features: Features, *rest: Any) -> None:
            at.append(rest[2])
            super().__init__(objective, features, *rest)

    monkeypatch.setattr(solver, "sample_positions", draw)
    monkeypatch.setattr(solver, "LocalModel", Model)
    solve(features, prior, 1e-3, tolerance=1e-4, bias=-0.5)
    assert len(drawn) == len(at) > 2
    for mass, matrix in zip(drawn, at, strict=True):
        torch.testing.assert_close(mass, toolken_mass(features, matrix, -0.5, torch.float32), rtol=1e-4, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), words=st.integers(1, 300))
def test_the_sample_keeps_all_calls_and_is_unbiased_over_words(seed: int, words: int) -> None:
    features, prior = rare_calls(seed % 7, words=400)
    mass = toolken_mass(features, prior, 0.0, torch.float32)
    kept, weight = sample_positions(features, mass, words, seed)
    calls = features.target[kept] >= 0
    assert int(calls.sum()) == 60
    assert torch.equal(weight[calls], features.weight[kept][calls])
    assert len(kept.unique()) == len(kept)
    # Horvitz and Thompson: a kept word counts 1 / its probability, so its weight never falls.
    assert bool((weight >= features.weight[kept] * (1 - 1e-6)).all())


def test_sums_over_samples_average_to_the_sum_over_all_words() -> None:
    features, prior = rare_calls()
    mass = toolken_mass(features, prior, 0.0, torch.float32)
    value = features.hidden[:, 0].abs() * mass
    sums = []
    for seed in range(300):
        kept, weight = sample_positions(features, mass, 100, seed)
        sums.append(float((weight * value[kept]).sum()))
    every = float((features.weight * value).sum())
    error = torch.tensor(sums).std() / 300**0.5
    assert abs(sum(sums) / 300 - every) < 4 * float(error)
    assert float(error) < 0.02 * every


@pytest.mark.parametrize("bias", [0.0, -1.5])
def test_the_model_of_all_positions_has_the_objectives_gradient_everywhere(bias: float) -> None:
    features, prior = rare_calls()
    objective = Objective(features, prior, 1e-2, bias)
    matrix = prior.double() * 0.7
    kept, weight = sample_positions(features, torch.ones(len(features)), len(features))
    model = LocalModel(objective, features, kept, weight, matrix, objective.evaluate(matrix), torch.float32)
    for scale in (0.0, 1e-3, 1.0):
        change = scale * torch.randn(prior.shape, generator=torch.Generator().manual_seed(0))
        expected = objective(matrix + change.double())[1].float()
        torch.testing.assert_close(model(change), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("position", [0, 100])
def test_where_all_positions_are_alike_the_stochastic_steps_are_gradient_descent(position: int) -> None:
    # One position (of a call, or of a word) 40 times: every batch has the gradient of all positions.
    features, prior = rare_calls()
    alike = features.subset(torch.full((40,), position))
    alike.weight.fill_(0.7)
    start = prior + 1
    state = StochasticState(alike, prior, 0.3, -0.5, start, batch=10)
    state.step_size = 0.1
    objective = Objective(alike, prior, 0.3, -0.5)
    matrix = start.double()
    for _ in range(4):
        matrix = matrix - 0.1 * objective(matrix)[1]
    assert state.epoch()
    torch.testing.assert_close(state.anchor, matrix.float(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("lam", [1e-3, 1e-2, 1e-1])
@pytest.mark.parametrize("start", [None, 2.0])
def test_the_stochastic_solver_ends_in_the_lbfgs_optimum(lam: float, start: float | None) -> None:
    features, prior = rare_calls()
    exact = solve(features, prior, lam, tolerance=1e-8)
    begin = None if start is None else torch.full_like(prior, start)
    found = solve(features, prior, lam, solver="stochastic", start=begin, tolerance=1e-4)
    assert found.converged
    assert found.loss == pytest.approx(exact.loss, rel=1e-5)
    torch.testing.assert_close(found.matrix, exact.matrix, rtol=0, atol=3e-2)
    gradient = Objective(features, prior, lam)(found.matrix.double())[1]
    assert float(gradient.norm()) == pytest.approx(found.gradient_norm, rel=1e-2, abs=1e-6)
    assert float(gradient.norm()) < 1.1e-4 * found.start_gradient_norm


def test_the_stochastic_solver_counts_epochs_and_says_when_they_run_out() -> None:
    features, prior = rare_calls()
    steps: list[tuple[int, int, str]] = []
    with pytest.warns(ConvergenceWarning, match=r"stopped after 2 of at most 2 epochs"):
        found = solve(
            features, prior, 1e-3, solver="stochastic", max_iterations=2, progress=lambda *step: steps.append(step)
        )
    assert not found.converged
    assert steps[-1] == (2, 2, "solve")


def test_an_epoch_for_the_worse_is_undone_and_the_next_takes_shorter_steps() -> None:
    features, prior = rare_calls()
    state = StochasticState(features, prior, 1e-2, 0.0, prior)
    timid, loss, norm = state.step_size, state.loss, state.norm
    state.step_size = 1e6
    assert not state.epoch()
    assert torch.equal(state.anchor, prior)
    assert (state.loss, state.norm, state.step_size) == (loss, norm, 2.5e5)
    # The gradient at the anchor is restored too: without it the steps go wrong.
    state.step_size = timid
    assert state.epoch()
    other = StochasticState(features, prior, 1e-2, 0.0, prior)
    assert other.epoch()
    assert state.loss == pytest.approx(other.loss, rel=1e-3)


def test_large_matrices_go_to_the_stochastic_solver_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    features, prior = rare_calls()
    by_name = solve(features, prior, 1e-2, solver="stochastic", tolerance=1e-3)
    monkeypatch.setattr(solver, "_STOCHASTIC_MATRIX", 10)
    assert torch.equal(solve(features, prior, 1e-2, tolerance=1e-3).matrix, by_name.matrix)


def most_allocated(run: Callable[[], object]) -> int:
    """Return torch's peak allocation in bytes while `run` runs, minus that before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = profile.profiler.kineto_results.events()
    changes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    return max(accumulate(change for _, change in sorted(changes, key=lambda at: at[0])))


@pytest.mark.parametrize(
    ("tools", "size", "method", "steps"),
    [(400, 64, "lbfgs", 20), (40, 640, "lbfgs", 30), (400, 64, "stochastic", 2), (40, 640, "stochastic", 2)],
)
def test_a_solve_allocates_no_more_than_is_stated(
    monkeypatch: pytest.MonkeyPatch, tools: int, size: int, method: Literal["lbfgs", "stochastic"], steps: int
) -> None:
    # Small chunks, so that matrices (K, d) and shares (n, K) dominate.
    for module in ("objective", "local_model", "row_curvature", "solver"):
        monkeypatch.setattr(f"langchain_toolken.training.solve.{module}.CHUNK_ELEMENTS", 1 << 13)
    monkeypatch.setattr(solver, "_SMALL", 0)
    monkeypatch.setattr(solver, "_PAIRS", 12)
    generator = torch.Generator().manual_seed(0)
    target = torch.cat([torch.arange(200) % tools, torch.full((200,), -1)])
    states = torch.randn(400, size, generator=generator)
    features = Features(
        hidden=states,
        word_logsumexp=torch.full((400,), 5.0),
        word_max=torch.full((400,), 4.0),
        target=target,
        target_logit=torch.where(target < 0, 4.0, 0.0),
        weight=torch.ones(400),
        demonstration=torch.arange(400),
    )
    prior = torch.randn(tools, size, generator=generator) / size**0.5
    begin = torch.zeros_like(prior)

    def run() -> None:
        solve(features, prior, 1e-4, start=begin, max_iterations=steps, tolerance=1e-5, solver=method)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        used = most_allocated(run)
    stated = peak_bytes(tools, size, 400, 200, solver=method, start=True)
    assert stated / 3 < used <= stated


def test_a_large_problem_is_held_out_once_and_chooses_as_the_small_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    features, prior = rare_calls(calls=400, words=1600)
    near = {f"near {scale}": scale * torch.eye(SIZE)[:5] for scale in (1, 2, 3, 4)}  # all put the same calls right
    priors = {"plain": prior, **near, "far": -4 * torch.eye(SIZE)[:5], "worse": prior - 3}
    lams = (1.0, 1e-1, 1e-2, 1e-3)
    whole = select_lam(features, {"plain": prior}, lams)
    for name, value in (("_SAMPLED", 0), ("_HELD_OUT", 0), ("_LEAST_WORDS", 400), ("_LOGIT_ELEMENTS", 0)):
        monkeypatch.setattr(f"langchain_toolken.training.cross_validation.{name}", value)
    assert select_lam(features, {"plain": prior}, lams).lam == whole.lam
    once = select_lam(features, priors, lams)
    tried = {point.prior for point in once.path}
    assert len(tried) == 3
    assert tried < set(near)
    assert once.held_out is not None
    assert once.logits is not None
    assert len(once.held_out) == len(once.logits) < len(features) / 4
    assert once.start is not None
    assert solve(features, priors[once.prior], once.lam, start=once.start).converged


@pytest.mark.parametrize("once", [False, True])
def test_what_is_calibrated_on_was_fitted_to_all_words_where_the_choice_saw_a_sample(
    monkeypatch: pytest.MonkeyPatch, once: bool
) -> None:
    # Without the refit, false calls at words outside the sample would push the bias too low.
    features, prior = rare_calls(calls=100, words=4000)
    limits = {"_SAMPLED": 0, "_LEAST_WORDS": 100, **({"_HELD_OUT": 0} if once else {})}
    for name, value in limits.items():
        monkeypatch.setattr(f"langchain_toolken.training.cross_validation.{name}", value)
    found = select_lam(features, {"plain": prior}, (1e-2, 1e-3))
    assert found.logits is not None
    assert found.positions is not None
    assert found.folds is not None
    assert found.folds.unique().tolist() == ([0] if once else [0, 1, 2, 3, 4])
    for fold in found.folds.unique().tolist():
        inside = found.folds == fold
        others = torch.ones(len(features), dtype=torch.bool)
        others[found.positions[inside]] = False
        exact = solve(features.subset(others), prior, found.lam).matrix
        expected = features.hidden[found.positions[inside]] @ exact.T
        assert (found.logits[inside] - expected).abs().max() < 0.02
