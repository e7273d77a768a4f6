"""What the engine's tests share: prompts, tool names, settings, and a comparison of results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from langchain_toolken.decoding.engine import Candidate, Completion, Reasoning, Sampling
from langchain_toolken.lm.model import LanguageModel
from tests.support import tiny

PROMPTS = tiny.PROMPTS[:3]
TOOLS = ["add", "subtract", "multiply", "divide", "power", "root", "log"]
GREEDY = Sampling(max_tokens=24)

Lm = Callable[..., LanguageModel]


def comparable(result: Reasoning | Completion) -> Reasoning | Completion:
    """Drop what the prefix cache may change: the count of reused tokens and the last digits of probabilities."""
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
