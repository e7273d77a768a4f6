"""What tells one chat model's answers from another's, for LangChain's caches and tracers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from langchain_core.language_models.base import LangSmithParams

from langchain_toolken.toolkens import ToolkenSet


def toolkens_identity(toolkens: ToolkenSet) -> str:
    """A short text that is the same for equal toolkens, biases and calibrations, and for no others."""
    digest = hashlib.sha256(f"{toolkens.names} {toolkens.biases.tolist()} {toolkens.calibration}".encode())
    digest.update(toolkens.matrix.numpy().tobytes())
    return f"{len(toolkens)} tools, sha256 {digest.hexdigest()[:16]}"


def langsmith_params(model: str, temperature: float, max_tokens: int, stop: Sequence[str] | None) -> LangSmithParams:
    """What LangSmith shows of a call."""
    params = LangSmithParams(
        ls_provider="toolken",
        ls_model_name=model,
        ls_model_type="chat",
        ls_temperature=temperature,
        ls_max_tokens=max_tokens,
    )
    if stop:
        params["ls_stop"] = list(stop)
    return params
