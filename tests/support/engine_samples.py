"""What the engine's tests decode from, and how they compare what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from langchain_toolken.decoding.engine import Candidate, Completion, Reasoning, Sampling
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.tools.spec import ToolSpec

PROMPTS = [
    [0, 40, 41, 200, 9, 17, 33, 60, 71, 80, 99, 300],
    [0, 50, 51, 90],
    [0, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27],
]
TOOLS = ["add", "subtract", "multiply", "divide", "power", "root", "log"]
GREEDY = Sampling(max_tokens=24)

Lm = Callable[..., LanguageModel]


def spec(name: str = "calculate", **properties: Any) -> ToolSpec:
    """A tool of these arguments; all are required but those with "optional"."""
    required = [key for key, value in properties.items() if not value.pop("optional", False)]
    schema = {"type": "object", "properties": properties, "required": required}
    return ToolSpec(name=name, description="Do it.", json_schema=schema)


def comparable(result: Reasoning | Completion) -> Reasoning | Completion:
    """The result without what the prefix cache may change: the count of reused tokens, a probability's last digits."""
    if isinstance(result, Completion):
        return replace(result, reused_tokens=0)
    return replace(
        result,
        reused_tokens=0,
        trigger=result.trigger and rounded(result.trigger),
        runners_up=tuple(rounded(candidate) for candidate in result.runners_up),
    )


def rounded(candidate: Candidate) -> Candidate:
    return replace(candidate, probability=pytest.approx(candidate.probability, rel=1e-3, abs=1e-5))
