"""Loading: fingerprints, end-of-text ids, and the models that are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    DynamicCache,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel, UnsupportedModelError
from tests.support.tiny import ARCHITECTURES, CONTEXT_LENGTH, PADDED_ROWS, make_model


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_model: Callable[..., PreTrainedModel], tiny_tokenizer: Any) -> Path:
    tiny_model("llama").save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    return tmp_path


def test_a_folder_loads_with_its_sizes_and_ids(checkpoint: Path, tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    lm = load_language_model(checkpoint, device="cpu")
    assert lm.model_id == str(checkpoint)
    assert lm.vocab_size == len(tiny_tokenizer) + PADDED_ROWS
    assert lm.hidden_size == 32
    assert lm.context_length == CONTEXT_LENGTH
    assert lm.eos_ids == {1}
    assert lm.model.dtype == torch.float32
    assert not lm.model.training
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


def test_a_fingerprint_does_not_depend_on_the_dtype_of_loading(checkpoint: Path) -> None:
    full = load_language_model(checkpoint, device="cpu", dtype=torch.float32)
    half = load_language_model(checkpoint, device="cpu", dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16
    assert full.head_fingerprint == half.head_fingerprint
    assert full.tokenizer_fingerprint == half.tokenizer_fingerprint


def test_a_fingerprint_tells_weights_and_transforms_apart(
    tiny_lm: Callable[..., LanguageModel], tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    other = load_language_model(make_model("llama", seed=7), tokenizer=tiny_tokenizer)
    capped = make_model("gemma2")
    capped.config.final_logit_softcapping = 6.0
    fingerprints = {
        tiny_lm("llama").head_fingerprint,
        other.head_fingerprint,
        tiny_lm("gemma2").head_fingerprint,
        load_language_model(capped, tokenizer=tiny_tokenizer).head_fingerprint,
    }
    assert len(fingerprints) == 4


def test_an_added_token_changes_the_tokenizer_fingerprint(
    checkpoint: Path, tiny_llama: LanguageModel, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    other = PreTrainedTokenizerFast.from_pretrained(checkpoint)
    same = load_language_model(tiny_llama.model, tokenizer=other).tokenizer_fingerprint
    assert same == tiny_llama.tokenizer_fingerprint
    other.add_tokens(["<call>"])
    assert load_language_model(tiny_llama.model, tokenizer=other).tokenizer_fingerprint != same


def test_every_end_of_text_id_counts(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_model("llama")
    model.generation_config.eos_token_id = [4, 9]
    assert load_language_model(model, tokenizer=tiny_tokenizer).eos_ids == {1, 4, 9}
    model.generation_config.eos_token_id = None
    assert load_language_model(model, tokenizer=tiny_tokenizer).eos_ids == {1}


class LoudLlama(LlamaForCausalLM):
    """Scales its logits where no config entry says so."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(*args, **kwargs)
        output.logits = output.logits * 1.5
        return output


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_a_model_with_unknown_logits_is_refused_by_name(
    tiny_model: Callable[..., PreTrainedModel], tiny_tokenizer: PreTrainedTokenizerFast, dtype: torch.dtype
) -> None:
    model = LoudLlama(tiny_model("llama").config).to(dtype)
    with pytest.raises(UnsupportedModelError, match=r"LoudLlama.*differ from the model's own.*config"):
        load_language_model(model, tokenizer=tiny_tokenizer)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_probe_passes_every_architecture_in_half_precision(
    tiny_tokenizer: PreTrainedTokenizerFast, architecture: str, dtype: torch.dtype
) -> None:
    model = make_model(architecture).to(dtype)
    assert load_language_model(model, tokenizer=tiny_tokenizer).model.dtype == dtype


def test_a_model_without_a_croppable_cache_is_refused_by_name(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model = MambaForCausalLM(MambaConfig(vocab_size=345, hidden_size=32, num_hidden_layers=2, state_size=4))
    with pytest.raises(UnsupportedModelError, match=r"MambaForCausalLM.*cache"):
        load_language_model(model, tokenizer=tiny_tokenizer)


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3"])
def test_left_padding_does_not_change_hidden_states(tiny_lm: Callable[..., LanguageModel], architecture: str) -> None:
    lm = tiny_lm(architecture)
    alone = torch.tensor([[0, 40, 41, 200, 9]])
    padded = torch.tensor([[2, 2, 2, 0, 40, 41, 200, 9]])
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
    with torch.inference_mode():
        torch.testing.assert_close(
            lm.hidden_states(padded, attention_mask=mask)[:, 3:], lm.hidden_states(alone), rtol=1e-4, atol=1e-4
        )


def test_an_lm_that_calls_the_cache_by_its_old_name_gets_it_too(tiny_tokenizer: PreTrainedTokenizerFast) -> None:
    model: Any = make_model("llama")
    forward = model.get_decoder().forward

    def of_old(input_ids: Any, position_ids: Any, past_key_values: Any = None, **given: Any) -> Any:
        return forward(input_ids=input_ids, position_ids=position_ids, **{**given, "cache": past_key_values})

    model.get_decoder().forward = of_old
    lm = load_language_model(model, tokenizer=tiny_tokenizer)
    ids, cache = torch.tensor([[5, 6, 7]]), DynamicCache()
    whole = lm.hidden_states(ids)
    lm.hidden_states(ids[:, :2], cache=cache)
    assert cache.get_seq_length() == 2
    torch.testing.assert_close(lm.hidden_states(ids[:, 2:], cache=cache), whole[:, 2:])


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "gemma3"])
def test_inner_states_are_those_after_a_part_of_the_layers(
    tiny_lm: Callable[..., LanguageModel], architecture: str
) -> None:
    lm = tiny_lm(architecture)
    assert lm.has_inner_states
    ids = torch.tensor([[0, 40, 41, 200, 9]])
    with torch.inference_mode():
        first, middle, last = (lm.inner_states(ids, depth) for depth in (0.001, 0.5, 0.999))
        final = lm.hidden_states(ids)
    assert first.shape == middle.shape == final.shape
    assert not torch.allclose(first, final, atol=1e-3)
    torch.testing.assert_close(last, final, rtol=1e-4, atol=1e-4)
