"""The rows' curvature matches the Hessian's diagonal blocks, and saves L-BFGS steps near the optimum."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.solve import row_curvature, solver
from langchain_toolken.training.solve.row_curvature import RowCurvature, kept_positions
from langchain_toolken.training.solve.solver import solve

TOOLS, SIZE, POSITIONS = 4, 24, 40


def shares(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states (n, d), shares (n, K) of which few are large, and weights (n,) that add up to one."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(POSITIONS, SIZE, generator=generator) + 1
    share = (4 * torch.randn(POSITIONS, TOOLS + 1, generator=generator)).softmax(dim=1)[:, :TOOLS]
    weight = torch.rand(POSITIONS, generator=generator) + 0.1
    return hidden, share.contiguous(), weight / weight.sum()


def blocks(hidden: torch.Tensor, share: torch.Tensor, weight: torch.Tensor, lam: float) -> torch.Tensor:
    """The Hessian's diagonal blocks (K, d, d), by autograd from the cross-entropy itself at these shares."""
    states = hidden.double()
    words = torch.log((1 - share.double().sum(dim=1)).clamp(min=1e-12))
    logits = share.double().log()

    def loss(rows: torch.Tensor) -> torch.Tensor:
        total = torch.logaddexp((logits + states @ rows.T).logsumexp(dim=1), words)
        return weight.double() @ total + lam * rows.square().sum()

    every = torch.autograd.functional.hessian(loss, torch.zeros(TOOLS, SIZE, dtype=torch.float64))
    return torch.stack([every[row, :, row] for row in range(TOOLS)])


@pytest.fixture
def few_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_curvature, "_MOST", 6)


@pytest.mark.parametrize("lam", [1e-3, 1e-1])
def test_with_all_positions_kept_it_inverts_the_hessians_diagonal_blocks(
    lam: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_curvature, "_MOST", POSITIONS)
    hidden, share, weight = shares(0)
    before = share.clone()
    found = RowCurvature(hidden, share, weight, lam)
    assert kept_positions(TOOLS, SIZE) >= POSITIONS
    gradient = torch.randn(TOOLS, SIZE, generator=torch.Generator().manual_seed(1))
    exact = torch.linalg.solve(blocks(hidden, share, weight, lam), gradient.double())
    torch.testing.assert_close(found(gradient).double(), exact, rtol=1e-3, atol=1e-3 * float(exact.abs().max()))
    assert torch.equal(share, before)  # it belongs to the local model


@pytest.mark.usefixtures("few_kept")
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_with_few_kept_it_is_nearer_to_the_blocks_than_the_pull_alone_is(
    chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_curvature, "CHUNK_ELEMENTS", chunk)
    lam = 1e-2
    hidden, share, weight = shares(2)
    found = RowCurvature(hidden, share, weight, lam)
    true = blocks(hidden, share, weight, lam)
    eye = torch.eye(SIZE)
    for row in range(TOOLS):
        gradients = torch.zeros(SIZE, TOOLS, SIZE)
        gradients[:, row] = eye
        inverse = torch.stack([found(gradient)[row] for gradient in gradients]).double()
        scaled = torch.linalg.eigvals(inverse @ true[row]).real
        plain = torch.linalg.eigvalsh(true[row] / (2 * lam))
        assert float(scaled.max() / scaled.min()) < float(plain.max() / plain.min()) / 2


@pytest.mark.usefixtures("few_kept")
@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), lam=st.sampled_from([0.0, 1e-6, 1e-2]), half=st.booleans())
def test_it_is_symmetric_and_positive_so_that_every_direction_descends(seed: int, lam: float, half: bool) -> None:
    hidden, share, weight = shares(seed)
    if half:
        hidden, share = hidden.bfloat16(), share.bfloat16()
    found = RowCurvature(hidden, share, weight, lam)
    generator = torch.Generator().manual_seed(seed)
    one, other = (torch.randn(TOOLS, SIZE, generator=generator) for _ in range(2))
    across, back = float((found(one) * other).sum()), float((found(other) * one).sum())
    size = float(found(one).norm() * other.norm())
    assert abs(across - back) < 1e-3 * size
    assert float((found(one) * one).sum()) > 0


@pytest.mark.parametrize("lam", [0.0, 1e-9])
def test_copies_of_one_position_and_long_states_are_no_obstacle(lam: float) -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = 300 * torch.randn(1, 256, generator=generator).repeat(90, 1)
    hidden += 1e-3 * torch.randn(hidden.shape, generator=generator)
    share, weight = torch.zeros(90, 100), torch.full((90,), 1 / 90)
    share[:, 0] = 0.24
    found = RowCurvature(hidden, share, weight, lam)
    gradient = torch.randn(100, 256, generator=generator)
    assert bool(torch.isfinite(found(gradient)).all())
    assert float((found(gradient) * gradient).sum()) > 0


def test_a_matrix_too_large_for_any_kept_position_still_gets_the_shared_curvature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(row_curvature, "_ELEMENTS", 1)
    assert kept_positions(TOOLS, SIZE) == 0
    hidden, share, weight = shares(3)
    gradient = torch.ones(TOOLS, SIZE)
    found = RowCurvature(hidden, share, weight, 1e-2)(gradient)
    assert bool(torch.isfinite(found).all())
    assert float((found * gradient).sum()) > 0


def test_shares_of_nothing_leave_the_pull_alone() -> None:
    hidden, share, weight = shares(4)
    found = RowCurvature(hidden, torch.zeros_like(share), weight, 0.25)
    gradient = torch.randn(TOOLS, SIZE)
    torch.testing.assert_close(found(gradient), 2 * gradient)


def confused(tools: int = 8, calls: int = 240) -> tuple[Features, torch.Tensor]:
    """Calls whose hidden states lie along few directions, some much longer than others, which is hard for L-BFGS."""
    generator = torch.Generator().manual_seed(0)
    target = torch.cat([torch.arange(calls) % tools, torch.full((calls,), -1)])
    spread = torch.logspace(0.5, -1.5, SIZE)
    hidden = torch.randn(2 * calls, SIZE, generator=generator)
    hidden[:calls] += 2 * torch.eye(SIZE)[target[:calls]]
    hidden = hidden * spread
    logsumexp = 1 + torch.rand(2 * calls, generator=generator)
    features = Features(
        hidden=hidden,
        word_logsumexp=logsumexp,
        word_max=logsumexp - 1,
        target=target,
        target_logit=torch.where(target < 0, logsumexp - 1.5, 0.0),
        weight=torch.ones(2 * calls),
        demonstration=torch.arange(2 * calls) // 2,
    )
    return features, torch.zeros(tools, SIZE)


@pytest.mark.filterwarnings("ignore:the solve stopped")
def test_near_the_optimum_it_saves_more_than_half_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    features, prior = confused()
    start = solve(features, prior, 2e-6).matrix
    with_it = solve(features, prior, 1e-6, start=start, tolerance=1e-7)
    monkeypatch.setattr(solver, "_NEAR", 0.0)
    without = solve(features, prior, 1e-6, start=start, tolerance=1e-7)
    torch.testing.assert_close(with_it.matrix, without.matrix, rtol=0, atol=1e-2 * float(without.matrix.abs().max()))
    assert with_it.iterations < without.iterations / 2
