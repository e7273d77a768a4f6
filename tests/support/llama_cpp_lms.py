"""A tiny random Llama as a GGUF file in llama.cpp, and the same in transformers; skips where llama.cpp is absent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from langchain_toolken.lm.llama_cpp.library import is_installed
from langchain_toolken.lm.llama_cpp.model import LlamaCppModel
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.transformers_model import TransformersModel
from tests.support.gguf_files import write_gguf
from tests.support.tiny import make_model, make_tokenizer

EXACT: dict[str, Any] = {"type_k": "f32", "type_v": "f32", "flash_attn": False, "n_threads": 1}
"""Keys and values as precise as in transformers, so that the two agree to rounding."""

needs_llama_cpp = pytest.mark.skipif(not is_installed(), reason="llama.cpp is not installed: run `make llama-cpp`")


def tiny_file(folder: Path) -> Path:
    """Write the file."""
    return write_gguf(folder / "tiny.gguf", make_model("llama"), make_tokenizer())


def in_llama_cpp(file: Path, **settings: Any) -> LlamaCppModel:
    """Load it in llama.cpp."""
    lm = load_language_model(file, backend="llama_cpp", **{**EXACT, **settings})
    assert isinstance(lm, LlamaCppModel)
    return lm


def in_transformers(file: Path) -> TransformersModel:
    """Load it in transformers."""
    lm = load_language_model(file, backend="transformers")
    assert isinstance(lm, TransformersModel)
    return lm
