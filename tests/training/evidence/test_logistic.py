"""The logistic regression is at its optimum, and standardising survives constant features."""

from __future__ import annotations

import torch

from langchain_toolken.training.evidence.logistic import Standard, binary


def test_the_gradient_vanishes_at_the_solution() -> None:
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(200, 5, generator=generator)
    call = features[:, 0] + torch.randn(200, generator=generator) > 0
    weight = torch.rand(200, generator=generator)
    found = binary(features, call, weight, 1e-2).requires_grad_()
    each = torch.nn.functional.binary_cross_entropy_with_logits(features @ found, call.float(), reduction="none")
    loss = (weight / weight.sum()) @ each + 1e-2 * found.square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert found.grad is not None
    assert found.grad.norm() < 0.02
    assert found[0] > 3 * found[1:].abs().max()


def test_standardised_features_have_mean_0_and_deviation_1() -> None:
    features = torch.randn(500, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 100.0, 0.01, 0.0])
    features += torch.tensor([3.0, -50.0, 7.0, 2.0])
    standard = Standard.of(features)
    found = standard(features)
    torch.testing.assert_close(found.mean(dim=0), torch.zeros(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(found[:, :3].std(dim=0, correction=0), torch.ones(3), atol=1e-3, rtol=0)
    assert torch.isfinite(found).all()
