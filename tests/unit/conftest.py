"""Fixtures of the unit tests of the chat model."""

from __future__ import annotations

import pytest

from langchain_toolken.decoding.lm import LanguageModel
from tests.unit.tiny_chat import make_language_model


@pytest.fixture(scope="session")
def lm() -> LanguageModel:
    """A random Llama without a chat template. Shared: do not change it."""
    return make_language_model()
