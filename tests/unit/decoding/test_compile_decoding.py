"""compile_decoding: which LMs it takes and which it refuses, ToolkenChat with it, torch's own compiler."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    Gemma4ForCausalLM,
    Gemma4TextConfig,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    PreTrainedModel,
)

from langchain_toolken.chat_models import ToolkenChat
from langchain_toolken.decoding import shared
from langchain_toolken.decoding.compiled_batch import CompiledStep
from langchain_toolken.decoding.engine import Sampling
from langchain_toolken.decoding.lm import LanguageModel, UnsupportedModelError, load_language_model
from langchain_toolken.decoding.transformers_engine import TransformersEngine
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.tools import tool_spec
from tests.compiled import Compiled, Steps, check_same, one_layer
from tests.tiny import HIDDEN_SIZE, WINDOW, make_model
from tests.unit.tiny_chat import make_language_model, toolken_firing_after

PROMPTS = [[0, 40, 41, 200, 9, 17, 33, 60, 71, 80, 99, 300], [0, 50, 51, 90]]


@pytest.mark.skipif(
    not any(shutil.which(name) for name in (os.environ.get("CXX", "g++"), "g++", "clang++")),
    reason="torch.compile's inductor needs a C++ compiler (g++ or clang++) on a CPU, and there is none",
)
def test_inductor_gives_the_same_words(tiny_tokenizer: Any) -> None:
    lm = one_layer(tiny_tokenizer)
    sampling = Sampling(max_tokens=12, top_logprobs=2)
    engines = (TransformersEngine(lm, compiled=CompiledStep(lm)), TransformersEngine(lm))
    ours, plain = (engine.reason(PROMPTS[:2], toolkens=None, sampling=sampling) for engine in engines)
    for mine, its in zip(ours, plain, strict=True):
        check_same(mine, its)


# --- ToolkenChat ------------------------------------------------------------------------------------------------------


@tool
def lamp(state: Literal["on", "off"], room: Literal["hall", "attic"]) -> str:
    """Turn the lamp on or off."""
    return f"the lamp in the {room} is {state}"


def check_close(ours: Any, plain: Any) -> None:
    """Equal, but for floats' last digits and the calls' ids."""
    if isinstance(plain, dict):
        assert ours.keys() == plain.keys()
        for key in plain.keys() - {"id"}:
            check_close(ours[key], plain[key])
    elif isinstance(plain, list):
        assert len(ours) == len(plain)
        for mine, its in zip(ours, plain, strict=True):
            check_close(mine, its)
    else:
        assert ours == (pytest.approx(plain, abs=1e-4) if isinstance(plain, float) else plain)


def test_a_chat_models_call_and_what_follows_its_result_are_the_same() -> None:
    lm = make_language_model()
    question = [HumanMessage("How many pens do 27 boxes hold?")]
    begun = ToolkenChat.from_engine(TransformersEngine(lm), style="completion", max_tokens=3).reason(question)
    prompt = render(lm.tokenizer, question, PromptFormat("completion"))
    before = [[*prompt, *begun.token_ids[:count]] for count in range(4)]
    toolkens = toolken_firing_after(lm, tool_spec(lamp), before[-1:], before[:-1], "completion")

    def conversation(engine: TransformersEngine) -> list[AIMessage]:
        chat = ToolkenChat.from_engine(engine, toolkens, max_tokens=32, logprobs=True, top_logprobs=2)
        bound = chat.bind_tools([lamp])
        calling = bound.invoke(question)
        (call,) = calling.tool_calls
        result = ToolMessage("the lamp is on", tool_call_id=call["id"])
        return [calling, chat.invoke([*question, calling, result])]

    ours, plain = conversation(Compiled(lm).engine()), conversation(TransformersEngine(lm))
    for mine, its in zip(ours, plain, strict=True):
        for part in ("content", "tool_calls", "response_metadata", "usage_metadata"):
            check_close(getattr(mine, part), getattr(its, part))
    calling, following = ours
    assert calling.text
    assert calling.tool_calls[0]["name"] == "lamp"
    assert len(following.text) > 3
    assert following.usage_metadata is not None
    assert following.usage_metadata["input_token_details"]["cache_read"] >= len(prompt)


def test_the_flag_makes_an_engine_of_its_own_that_others_with_it_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: Any
) -> None:
    steps = Steps(monkeypatch)
    tiny_tokenizer.save_pretrained(tmp_path)
    one_layer(tiny_tokenizer).model.save_pretrained(tmp_path)
    monkeypatch.setattr(shared, "CompiledStep", partial(CompiledStep, backend="eager"))
    plain = ToolkenChat(model=str(tmp_path), device="cpu", style="completion", max_tokens=5)
    flagged = ToolkenChat(
        model=str(tmp_path), device="cpu", style="completion", max_tokens=5, compile_decoding=True, logprobs=True
    )
    expected = plain.invoke("How many pens?").content
    assert not steps.rows
    assert flagged.invoke("How many pens?").content == expected
    assert steps.rows[-4:] == [1] * 4
    again = ToolkenChat(model=str(tmp_path), device="cpu", compile_decoding=True, max_batch_size=3)
    assert again.engine is flagged.engine is not plain.engine


# --- which LMs --------------------------------------------------------------------------------------------------------

SIZES: dict[str, Any] = {
    "vocab_size": 345,
    "hidden_size": HIDDEN_SIZE,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 2,
}


def bloom() -> PreTrainedModel:
    return BloomForCausalLM(BloomConfig(n_layer=2, n_head=4, **SIZES))


def gpt_neo() -> PreTrainedModel:
    kinds = [[["global", "local"], 1]]
    return GPTNeoForCausalLM(
        GPTNeoConfig(num_layers=2, num_heads=4, attention_types=kinds, max_position_embeddings=512, **SIZES)
    )


def offloaded() -> PreTrainedModel:
    model = make_model("llama")
    model.hf_device_map = {"model": 0, "lm_head": "cpu"}
    return model


def quantized() -> PreTrainedModel:
    model = make_model("llama")
    model.hf_quantizer = SimpleNamespace(is_compileable=False)
    return model


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (bloom, "cannot be compiled over a static cache.*unpack"),
        (gpt_neo, "it gives other logits"),
        (offloaded, "offloaded"),
        (quantized, "without quantization_config"),
    ],
)
def test_an_lm_that_cannot_be_compiled_is_refused_with_the_reason(
    model: Callable[[], PreTrainedModel], reason: str, tiny_tokenizer: Any
) -> None:
    torch.manual_seed(0)
    lm = load_language_model(model().eval(), tokenizer=tiny_tokenizer)
    with pytest.raises(UnsupportedModelError, match=f"(?s)compile_decoding.*{reason}") as refused:
        CompiledStep(lm, backend="eager")
    assert "off" in str(refused.value)
    assert lm.model_id in str(refused.value)


def test_an_attention_without_static_masks_is_refused(tiny_tokenizer: Any) -> None:
    lm = load_language_model(make_model("llama"), tokenizer=tiny_tokenizer)
    lm.model.set_attn_implementation("flex_attention")
    with pytest.raises(
        UnsupportedModelError, match="compile_decoding: its attention is 'flex_attention'; load it with .*sdpa"
    ):
        CompiledStep(lm, backend="eager")


def test_an_older_torch_is_refused(tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "__version__", "2.12.1+cu128")
    with pytest.raises(ValueError, match="compile_decoding needs torch 2.13 or later, this is 2.12.1"):
        CompiledStep(tiny_llama)


def test_layers_that_use_anothers_states_need_none_of_their_own(tiny_tokenizer: Any) -> None:
    torch.manual_seed(0)
    config = Gemma4TextConfig(
        num_hidden_layers=4,
        num_kv_shared_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        global_head_dim=8,
        intermediate_size=64,
        vocab_size_per_layer_input=345,
        hidden_size_per_layer_input=8,
        sliding_window=WINDOW,
        layer_types=["sliding_attention", "full_attention"] * 2,
        **SIZES,
    )
    lm = load_language_model(Gemma4ForCausalLM(config).eval(), tokenizer=tiny_tokenizer)
    sampling = Sampling(max_tokens=2 * WINDOW, top_logprobs=1)
    engines = (Compiled(lm).engine(), TransformersEngine(lm))
    ours, plain = (engine.reason(PROMPTS[:2], toolkens=None, sampling=sampling) for engine in engines)
    for mine, its in zip(ours, plain, strict=True):
        check_same(mine, its)


def test_a_step_of_another_lm_is_refused(tiny_llama: LanguageModel, tiny_tokenizer: Any) -> None:
    with pytest.raises(ValueError, match="compiled step is"):
        TransformersEngine(tiny_llama, compiled=Compiled(one_layer(tiny_tokenizer)).step)
