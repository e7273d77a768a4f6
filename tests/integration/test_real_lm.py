"""A real LM, SmolLM2-135M-Instruct, from the GGUF file that `make smollm2` fetches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from langchain_core.messages import HumanMessage

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.training.fit import fit_toolkens
from tests.support.tools import lamp, multiply

pytestmark = [pytest.mark.real_lm, pytest.mark.slow]


@pytest.fixture(scope="module")
def lm(real_lm_file: Path) -> LanguageModel:
    return load_language_model(real_lm_file)


def test_the_gguf_file_brings_its_chat_template_and_decodes_as_transformers_generates(lm: LanguageModel) -> None:
    assert lm.context_length == 8192
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = lm.tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt")
    ids = prompt["input_ids"] if not isinstance(prompt, torch.Tensor) else prompt
    assert "<|im_start|>user\nWhat is the capital" in lm.tokenizer.decode(ids[0])
    own = lm.model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :]
    chat = ToolkenChat(model=lm, max_tokens=24)  # type: ignore[arg-type]
    answer = chat.invoke([HumanMessage(question[0]["content"])]).text
    assert answer.strip() == lm.tokenizer.decode(own, skip_special_tokens=True).strip()
    assert "Paris" in answer


@pytest.mark.filterwarnings("ignore:no demonstrations were given")
def test_a_saved_set_finds_its_lm(lm: LanguageModel, real_lm_file: Path, tmp_path: Path) -> None:
    fit_toolkens(lm, [multiply, lamp], docstring_examples=False).save(tmp_path / "toolkens")
    chat = ToolkenChat(toolkens=tmp_path / "toolkens", max_tokens=8)
    assert chat.model == str(real_lm_file)
    assert {one.tool for one in chat.rank_tools([HumanMessage("What is 3 times 5?")])} == {"multiply", "lamp"}
