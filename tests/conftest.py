"""Fixtures for all tests: a tiny tokenizer, tiny random models of every architecture, random toolkens."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from hypothesis import settings
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support import tiny
from tests.support.passes import Passes
from tests.support.toolken_sets import make_toolkens

# The same examples at every run: a failure in CI is one that can be seen again.
settings.register_profile("deterministic", derandomize=True, database=None)
settings.load_profile("deterministic")


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """The tiny tokenizer, with a chat template. Shared: do not change it."""
    return tiny.make_tokenizer()


@pytest.fixture(scope="session")
def tiny_model() -> Callable[..., PreTrainedModel]:
    """tiny_model(architecture, tied=False): one of `tiny.ARCHITECTURES` with random weights. Do not change it."""
    return cache(tiny.make_model)


@pytest.fixture(scope="session")
def tiny_lm(
    tiny_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> Callable[..., LanguageModel]:
    """tiny_lm(architecture, tied=False): a random model taken apart for toolkens. Shared: do not change it."""

    @cache
    def make(architecture: str, *, tied: bool = False) -> LanguageModel:
        return load_language_model(tiny_model(architecture, tied=tied), tokenizer=tiny_tokenizer)

    return make


@pytest.fixture(scope="session")
def tiny_llama(tiny_lm: Callable[..., LanguageModel]) -> LanguageModel:
    """A random Llama."""
    return tiny_lm("llama")


@pytest.fixture(scope="session")
def random_toolkens() -> Callable[..., ToolkenSet]:
    """random_toolkens(lm, names, bias=0.0, scale=1.0, seed=0): toolkens for tools of two numbers."""
    return make_toolkens


@pytest.fixture(scope="session")
def real_lm_file() -> Path:
    """The GGUF file, or whatever TOOLKEN_REAL_LM names, that tests marked real_lm run on."""
    named = os.environ.get("TOOLKEN_REAL_LM")
    found = Path(named) if named else Path(__file__).parents[1] / ".models" / "smollm2.gguf"
    if not found.exists():
        pytest.skip(f"the real LM is not at {found}: run `make smollm2`, or set TOOLKEN_REAL_LM")
    return found


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Passes:
    """The LMs' forward passes from here on."""
    return Passes(monkeypatch)


@pytest.fixture(scope="session")
def lm() -> LanguageModel:
    """A random Llama without a chat template. Shared: do not change it."""
    return tiny.make_lm(chat=False)
