"""Float32 products on a CPU through oneDNN instead of MKL, which is about half as fast on AMD.

Both compute in float32 throughout. The operator is the one that torch.compile's CPU backend calls.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

_HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def product(given: Tensor, weight: Tensor) -> Tensor:
    """Return `given @ weight.T` for (n, d) and (K, d) of any dtype and on any device."""
    if _is_float32_on_cpu(given, weight):
        return _linear(given, weight, None)
    return given @ weight.T


def fast_linear(device: torch.device) -> AbstractContextManager[Any]:
    """Return a context in which float32 linear layers on a CPU go through oneDNN; other devices are not affected."""
    return _OneDnnLinear() if device.type == "cpu" and _HAS_ONEDNN else nullcontext()


class _OneDnnLinear(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.linear and not kwargs and _is_float32_on_cpu(*args[:2]):
            return _linear(args[0], args[1], args[2] if len(args) > 2 else None)
        return func(*args, **(kwargs or {}))


def _is_float32_on_cpu(given: Tensor, weight: Tensor) -> bool:
    alike = given.dtype == weight.dtype == torch.float32 and given.device.type == weight.device.type == "cpu"
    return alike and _HAS_ONEDNN


def _linear(given: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    found: Tensor = torch.ops.mkldnn._linear_pointwise(given, weight, bias, "none", [], "")
    return found
