"""The objective is the full-vocabulary cross-entropy, and the solve finds its one optimum."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.features.compute import Features, compute_features
from langchain_toolken.training.solve.objective import Objective, SolveError
from langchain_toolken.training.solve.solver import ConvergenceWarning, solve
from langchain_toolken.training.solve.stochastic import StochasticState

TEXT = "Q: A box holds 12 pens. How many are in 7 boxes?\nA: There are 12*7=84 pens in 7 boxes."


def made_up(seed: int = 0, positions: int = 60, tools: int = 3, size: int = 8) -> tuple[Features, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    target = torch.randint(-1, tools, (positions,), generator=generator)
    word = torch.randn(positions, generator=generator)
    features = Features(
        hidden=torch.randn(positions, size, generator=generator),
        word_logsumexp=word + torch.rand(positions, generator=generator),
        word_max=word,
        target=target,
        target_logit=torch.where(target < 0, word, 0.0),
        weight=torch.rand(positions, generator=generator) + 0.5,
        demonstration=torch.arange(positions) // 5,
    )
    return features, torch.randn(tools, size, generator=generator)


@pytest.mark.parametrize("bias", [0.0, -1.5])
@pytest.mark.parametrize("architecture", ["llama", "gpt2", "qwen3", "gemma2", "cohere", "granite"])
def test_objective_is_the_cross_entropy_over_all_words_and_toolkens(
    tiny_lm: Callable[..., LanguageModel], architecture: str, bias: float
) -> None:
    lm = tiny_lm(architecture)
    start = TEXT.index("84")
    demo = Demonstration(text=TEXT, calls=(DemonstratedCall(start=start, tool="multiply", result="84"),))
    features = compute_features(lm, [demo], ["add", "multiply"], "completion", negatives_per_demonstration=None)
    matrix = torch.randn(2, lm.hidden_size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    loss, gradient = Objective(features, torch.zeros(2, lm.hidden_size), 0.0, bias)(matrix)

    # From the model's own logits at the answer's positions; soft-cap and scales apply to words only.
    encoding = lm.tokenizer(TEXT, add_special_tokens=False, return_offsets_mapping=True)
    ids, ends = torch.tensor([encoding["input_ids"]]), [end for _, end in encoding["offset_mapping"]]
    output = lm.model(ids, output_hidden_states=True)
    words = output.logits[0].double()
    rows = matrix.clone().requires_grad_()
    logits = torch.cat([words, lm.hidden_states(ids)[0].double() @ rows.T + bias], dim=1)
    targets, kept = [], []
    call = max(p for p, end in enumerate(ends) if end <= start)
    for p in range(len(ends) - 1):
        if p == call:
            targets.append(words.shape[1] + 1)
        elif ends[p] >= TEXT.index("\nA:") + 3 and (p < call or ends[p] >= start + 2):
            targets.append(int(ids[0, p + 1]))
        else:
            continue
        kept.append(p)
    expected = functional.cross_entropy(logits[kept], torch.tensor(targets))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    torch.testing.assert_close(gradient, rows.grad, rtol=1e-4, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), lam=st.floats(1e-6, 1.0), bias=st.floats(-3, 3))
def test_gradient_is_the_derivative_of_the_loss(seed: int, lam: float, bias: float) -> None:
    features, prior = made_up(seed)
    objective = Objective(features, prior, lam, bias)
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(prior.shape, generator=generator, dtype=torch.float64)
    way = torch.randn(prior.shape, generator=generator, dtype=torch.float64)
    slope = (objective(matrix + 1e-5 * way)[0] - objective(matrix - 1e-5 * way)[0]) / 2e-5
    assert slope == pytest.approx(float((objective(matrix)[1] * way).sum()), rel=1e-5, abs=1e-6)


def test_chunks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    features, prior = made_up()
    whole = Objective(features, prior, 1e-3)(prior.double())
    solution = solve(features, prior, 1e-3, tolerance=1e-8)
    for module in ("objective", "local_model"):
        monkeypatch.setattr(f"langchain_toolken.training.solve.{module}.CHUNK_ELEMENTS", 21)
    parts = Objective(features, prior, 1e-3)(prior.double())
    assert parts[0] == pytest.approx(whole[0], rel=1e-12)
    torch.testing.assert_close(parts[1], whole[1])
    in_parts = solve(features, prior, 1e-3, tolerance=1e-8)
    torch.testing.assert_close(in_parts.matrix, solution.matrix, rtol=0, atol=1e-5)


def test_chunks_make_no_difference_to_the_stochastic_solver(monkeypatch: pytest.MonkeyPatch) -> None:
    features, prior = made_up()
    whole = StochasticState(features, prior, 1e-3, -0.5, prior, batch=60)
    monkeypatch.setattr("langchain_toolken.training.solve.objective.CHUNK_ELEMENTS", 21)
    parts = StochasticState(features, prior, 1e-3, -0.5, prior, batch=7)
    for one, other in ((parts.loss, whole.loss), (parts.norm, whole.norm), (parts.step_size, whole.step_size)):
        assert one == pytest.approx(other, rel=1e-5)
    loss, gradient = Objective(features, prior, 1e-3, -0.5)(prior.double())
    assert (parts.loss, parts.norm) == pytest.approx((loss, float(gradient.norm())), rel=1e-5)


@pytest.mark.parametrize("lam", [1e-4, 1e-2, 1.0])
def test_every_start_leads_to_the_same_optimum_whose_gradient_is_zero(lam: float) -> None:
    features, prior = made_up(tools=4, size=12)
    generator = torch.Generator().manual_seed(9)
    starts = [None, torch.zeros_like(prior), *(5 * torch.randn(prior.shape, generator=generator) for _ in range(3))]
    solutions = [solve(features, prior, lam, start=start, tolerance=1e-8) for start in starts]
    for solution in solutions:
        assert solution.converged
        torch.testing.assert_close(solution.matrix, solutions[0].matrix, rtol=0, atol=1e-4)
        matrix = solution.matrix.double().requires_grad_()
        assert float(Objective(features, prior, lam)(matrix.detach())[1].norm()) < 1e-6


def test_the_solution_agrees_with_torchs_own_optimiser_and_autograd() -> None:
    features, prior = made_up()
    matrix = prior.double().clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [matrix], max_iter=500, tolerance_grad=1e-10, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        logits = torch.cat([features.word_logsumexp.double()[:, None], features.hidden.double() @ matrix.T], dim=1)
        each = functional.cross_entropy(logits, features.target + 1, reduction="none")
        weight = features.weight.double()
        total = (weight * each).sum() / weight.sum() + 1e-2 * ((matrix - prior.double()) ** 2).sum()
        total.backward()
        return total

    optimizer.step(loss)
    torch.testing.assert_close(
        solve(features, prior, 1e-2, tolerance=1e-9).matrix, matrix.detach().float(), rtol=0, atol=1e-5
    )


def test_a_stronger_pull_stays_nearer_to_the_prior() -> None:
    features, prior = made_up()
    away = [float((solve(features, prior, lam).matrix - prior).norm()) for lam in (1e-4, 1e-2, 1.0, 1e4)]
    assert away == sorted(away, reverse=True)
    assert away[-1] < 1e-3


def test_a_warm_start_at_the_optimum_is_done_at_once() -> None:
    features, prior = made_up()
    first = solve(features, prior, 1e-3, tolerance=1e-6)
    again = solve(features, prior, 1e-3, tolerance=1e-5, start=first.matrix)
    assert again.iterations == 0
    assert again.converged


def test_not_converging_is_said_aloud() -> None:
    features, prior = made_up()
    with pytest.warns(ConvergenceWarning, match=r"stopped after 2 of at most 2 iterations.*gradient norm of"):
        solution = solve(features, prior, 1e-6, max_iterations=2)
    assert not solution.converged
    assert solution.iterations == 2


def test_a_tolerance_below_rounding_ends_and_is_said_aloud() -> None:
    features, prior = made_up()
    with pytest.warns(ConvergenceWarning):
        solution = solve(features, prior, 1e-3, tolerance=0.0, max_iterations=10_000)
    assert not solution.converged
    assert solution.iterations < 1000
    assert solution.gradient_norm < 1e-9


def test_no_pull_is_warned_about() -> None:
    features, prior = made_up()
    with pytest.warns(ConvergenceWarning, match="no unique optimum"):
        solve(features, prior, 0.0)


def test_a_convergent_solve_is_silent_and_reports_progress() -> None:
    features, prior = made_up()
    steps: list[tuple[int, int, str]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        solve(features, prior, 1e-3, max_iterations=300, progress=lambda *step: steps.append(step))
    assert steps[-1] == (300, 300, "solve")


def test_bad_input_is_named() -> None:
    features, prior = made_up(tools=3)
    with pytest.raises(SolveError, match="lam is -1"):
        solve(features, prior, -1.0)
    with pytest.raises(SolveError, match="columns"):
        solve(features, prior[:, :4], 1e-3)
    with pytest.raises(SolveError, match="targets tool 2"):
        solve(features, prior[:2], 1e-3)
    with pytest.raises(SolveError, match="not finite"):
        solve(features, prior * float("nan"), 1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_optimum_is_the_same_on_a_gpu() -> None:
    features, prior = made_up()
    cpu, gpu = (solve(features, prior, 1e-3, tolerance=1e-8, device=device) for device in ("cpu", "cuda"))
    torch.testing.assert_close(gpu.matrix, cpu.matrix, rtol=0, atol=1e-5)
