"""The states inside of an LM in llama.cpp are those that transformers has of the same file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from langchain_toolken.lm.llama_cpp.model import LlamaCppModel
from langchain_toolken.lm.model import UnsupportedModelError
from langchain_toolken.lm.transformers_model import TransformersModel
from tests.support.llama_cpp_lms import in_llama_cpp, in_transformers, needs_llama_cpp, tiny_file
from tests.support.tiny import PROMPTS

pytestmark = needs_llama_cpp


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("gguf"))


@pytest.fixture
def lm(file: Path) -> LlamaCppModel:
    return in_llama_cpp(file)


@pytest.fixture(scope="module")
def twin(file: Path) -> TransformersModel:
    return in_transformers(file)


def test_states_after_a_layer_are_those_of_transformers(lm: LlamaCppModel, twin: TransformersModel) -> None:
    assert lm.has_inner_states
    ids = torch.tensor([PROMPTS[0], PROMPTS[0][::-1]])
    with torch.inference_mode():
        # The tiny LM has two layers; the last state of all is a normed one, so depth 1 is not compared.
        found, own = lm.inner_states(ids, 0.5), twin.inner_states(ids, 0.5)
        torch.testing.assert_close(found, own, rtol=1e-3, atol=1e-3)
        assert not torch.allclose(found, lm.hidden_states(ids), atol=0.1)


def test_a_text_longer_than_a_pass_is_read_in_parts(lm: LlamaCppModel, twin: TransformersModel) -> None:
    ids = torch.arange(5, 605)[None] % 300
    with torch.inference_mode():
        torch.testing.assert_close(lm.inner_states(ids, 0.5), twin.inner_states(ids, 0.5), rtol=1e-2, atol=1e-2)


def test_reading_them_leaves_the_last_states_as_they_were(lm: LlamaCppModel) -> None:
    ids = torch.tensor([PROMPTS[1]])
    before = lm.hidden_states(ids)
    lm.inner_states(ids, 0.5)
    torch.testing.assert_close(lm.hidden_states(ids), before)


def test_an_lm_whose_layers_have_other_names_has_none(lm: LlamaCppModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lm._inner, "_look", lambda _tensor, ask, _data: not ask)
    lm._inner._callback = type(lm._inner._callback)(lm._inner._look)
    assert not lm.has_inner_states
    with pytest.raises(UnsupportedModelError, match="gives no states inside of this LM"):
        lm.inner_states(torch.tensor([PROMPTS[1]]), 0.5)
