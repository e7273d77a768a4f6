"""oneDNN's products against float64's, and linear layers that go through it."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from langchain_toolken.lm import fast_linear
from langchain_toolken.lm.fast_linear import product


@pytest.mark.parametrize("onednn", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("n", "d", "tools"), [(1, 1, 1), (7, 320, 3), (571, 33, 130)])
def test_a_product_is_exact_to_its_dtype_whichever_way_its_factors_lie(
    monkeypatch: pytest.MonkeyPatch, onednn: bool, dtype: torch.dtype, n: int, d: int, tools: int
) -> None:
    monkeypatch.setattr(fast_linear, "_HAS_ONEDNN", onednn and fast_linear._HAS_ONEDNN)
    generator = torch.Generator().manual_seed(n)
    hidden, rows = (torch.randn(size, d, generator=generator).to(dtype) for size in (n, tools))
    share = torch.rand(n, tools, generator=generator).to(dtype)
    forth, back = hidden.double() @ rows.double().T, share.double().T @ hidden.double()
    tolerance = 8 * torch.finfo(dtype).eps
    for found, true in ((product(hidden, rows), forth), (product(share.T, hidden.T), back)):
        assert found.dtype == dtype
        assert (found.double() - true).norm() <= tolerance * true.norm()


def test_linear_layers_give_the_same_with_and_without_onednn() -> None:
    torch.manual_seed(0)
    layer, given = torch.nn.Linear(24, 40), torch.randn(2, 5, 24)
    with torch.inference_mode(), fast_linear.fast_linear(given.device):
        found, unbiased = layer(given), functional.linear(given, layer.weight)
    torch.testing.assert_close(found, layer(given))
    torch.testing.assert_close(unbiased, given @ layer.weight.T)
