"""Loading an LM: folders, GGUF files, PEFT adapters, models in memory, dtypes, devices, and what failures say."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import (
    AutoModelForCausalLM,
    GgufConfig,
    LlamaModel,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from langchain_toolken.lm.load import LoadArgumentError, load_language_model
from langchain_toolken.lm.model import LanguageModel, UnsupportedModelError
from langchain_toolken.lm.not_found import ModelNotFoundError
from langchain_toolken.lm.transformers_model import TransformersModel
from tests.support.gguf_files import write_gguf
from tests.support.tiny import make_model, make_tokenizer, save_lm

IDS = torch.tensor([[0, 40, 41, 200, 9, 17]])


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_lm(tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    (tmp_path / "gguf").mkdir()
    return write_gguf(tmp_path / "gguf" / "tiny.gguf", make_model("llama"), make_tokenizer())


@pytest.fixture
def adapted(checkpoint: Path) -> PeftModel:
    return _adapted(checkpoint)


def _adapted(checkpoint: Path, **config: Any) -> PeftModel:
    """A LoRA adapter with random weights on the checkpoint."""
    torch.manual_seed(1)
    lora = LoraConfig(**{"task_type": "CAUSAL_LM", "target_modules": ["q_proj", "up_proj"], **config})
    lora.init_lora_weights = False
    return get_peft_model(AutoModelForCausalLM.from_pretrained(checkpoint), lora).eval()


def _logits(lm: LanguageModel) -> torch.Tensor:
    with torch.inference_mode():
        return lm.head.word_logits(lm.hidden_states(IDS))


def _own_logits(model: Any) -> torch.Tensor:
    with torch.inference_mode():
        return model(input_ids=IDS).logits


# GGUF files


@pytest.mark.parametrize("name", ["file", "folder", "gguf_file"])
def test_a_gguf_file_loads_with_its_tokenizer_and_chat_template(gguf: Path, name: str) -> None:
    if name == "file":
        lm = load_language_model(str(gguf), backend="transformers")
    elif name == "folder":
        lm = load_language_model(gguf.parent, backend="transformers")
    else:
        lm = load_language_model(gguf.parent.parent, subfolder="gguf", gguf_file="tiny.gguf", backend="transformers")
    assert lm.model_id == str(gguf)
    torch.testing.assert_close(_logits(lm), _own_logits(make_model("llama")))
    made = make_tokenizer()
    assert lm.tokenizer.chat_template == made.chat_template
    text = "<|im_start|>Anna has 5.5 euros"
    assert lm.tokenizer(text).input_ids == made(text).input_ids


def test_gguf_weights_are_unpacked_unless_the_caller_says_otherwise(
    gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[GgufConfig] = []
    load = AutoModelForCausalLM.from_pretrained

    def recorded(*args: Any, **others: Any) -> Any:
        seen.append(others["quantization_config"])
        return load(*args, **others)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", recorded)
    load_language_model(gguf, backend="transformers")
    load_language_model(gguf, quantization_config=GgufConfig())
    load_language_model(gguf, quantization_config={"quant_method": "gguf"})
    assert [config.dequantize for config in seen] == [True, False, False]


def test_the_tokenizer_of_a_gguf_file_serves_another_model(gguf: Path, checkpoint: Path) -> None:
    lm = load_language_model(checkpoint, tokenizer=gguf)
    assert lm.tokenizer.chat_template == make_tokenizer().chat_template


def test_a_gguf_file_without_the_package_names_the_extra(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("langchain_toolken.lm.load.find_spec", lambda name: None)
    with pytest.raises(LoadArgumentError, match=r"tiny\.gguf.*pip install 'langchain-toolken\[gguf\]'"):
        load_language_model(gguf, backend="transformers")


def test_a_gguf_file_is_unpacked_with_a_warning_where_llama_cpp_is_not_installed(
    gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_toolken.lm.load.is_installed", lambda: False)
    with pytest.warns(UserWarning, match=r"llama\.cpp is not installed.*tiny\.gguf.*pip install.*llama-cpp"):
        lm = load_language_model(gguf)
    assert isinstance(lm, TransformersModel)
    load_language_model(gguf, dtype="float32")  # only transformers has dtypes, so there is nothing to say


def test_a_gguf_file_that_did_not_arrive_whole_is_named(gguf: Path) -> None:
    content = gguf.read_bytes()
    for length in (30, len(content) // 2):
        gguf.write_bytes(content[:length])
        with pytest.raises(UnsupportedModelError, match=r"tiny\.gguf can't be read.*[Ff]etch it again"):
            load_language_model(gguf, backend="transformers")


# PEFT adapters


@pytest.mark.parametrize(
    "config",
    [{}, {"target_modules": ["lm_head"]}, {"modules_to_save": ["lm_head"]}, {"use_dora": True}],
    ids=["layers", "head", "saved head", "dora"],
)
@pytest.mark.filterwarnings("ignore:.*save_embedding_layers.*:UserWarning")
def test_an_adapter_folder_computes_what_peft_computes_and_takes_its_base_models_tokenizer(
    checkpoint: Path, tmp_path: Path, config: dict[str, Any]
) -> None:
    adapted = _adapted(checkpoint, **config)
    adapted.save_pretrained(tmp_path / "adapter")
    lm = load_language_model(tmp_path / "adapter")
    torch.testing.assert_close(_logits(lm), _own_logits(adapted), rtol=1e-4, atol=1e-4)
    assert lm.model_id == str(tmp_path / "adapter")
    assert lm.tokenizer.chat_template == make_tokenizer().chat_template
    assert not any("lora" in name for name, _ in lm.model.named_modules())


@pytest.mark.filterwarnings("ignore:.*save_embedding_layers.*:UserWarning")
def test_an_adapters_own_tokenizer_may_have_further_tokens(checkpoint: Path, tmp_path: Path) -> None:
    base, tokenizer = AutoModelForCausalLM.from_pretrained(checkpoint), make_tokenizer()
    tokenizer.add_tokens([f"<new{i}>" for i in range(10)])
    base.resize_token_embeddings(len(tokenizer))
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], modules_to_save=["embed_tokens", "lm_head"])
    adapted = get_peft_model(base, config).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    tokenizer.save_pretrained(tmp_path / "adapter")
    lm = load_language_model(tmp_path / "adapter")
    assert lm.vocab_size == len(tokenizer) == len(lm.tokenizer)
    torch.testing.assert_close(_logits(lm), _own_logits(adapted), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", [{}, {"modules_to_save": ["lm_head"]}], ids=["layers", "saved head"])
def test_a_peft_model_in_memory_is_taken_with_its_adapter(checkpoint: Path, config: dict[str, Any]) -> None:
    adapted = _adapted(checkpoint, **config)
    lm = load_language_model(adapted)
    torch.testing.assert_close(_logits(lm), _own_logits(adapted))
    # The base model's folder is not enough to find it again.
    assert str(checkpoint) in lm.model_id
    assert "adapter" in lm.model_id
    with pytest.raises(ModelNotFoundError):
        load_language_model(lm.model_id)


def test_a_learned_prompt_is_refused_in_memory_and_in_a_folder(checkpoint: Path, tmp_path: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(checkpoint)
    adapted = get_peft_model(base, PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3))
    adapted.save_pretrained(tmp_path / "adapter")
    for model in (adapted, tmp_path / "adapter"):
        with pytest.raises(UnsupportedModelError, match="learned prompt.*give a LoRA adapter"):
            load_language_model(model)


def test_an_adapter_without_its_base_or_without_peft_says_what_to_do(
    adapted: PeftModel, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapted.save_pretrained(tmp_path / "adapter")
    with monkeypatch.context() as without:
        without.setattr("langchain_toolken.lm.load.find_spec", lambda name: None)
        with pytest.raises(LoadArgumentError, match=r"adapter.*pip install 'langchain-toolken\[peft\]'"):
            load_language_model(tmp_path / "adapter")
    checkpoint.rename(tmp_path / "elsewhere")
    with pytest.raises(ModelNotFoundError, match=r"base model.*base_model_name_or_path in .*adapter_config\.json"):
        load_language_model(tmp_path / "adapter")


# Models in memory


def test_a_loaded_lm_is_returned_as_it_is(tiny_llama: LanguageModel) -> None:
    assert load_language_model(tiny_llama) is tiny_llama


def test_a_model_in_memory_needs_its_tokenizer() -> None:
    with pytest.raises(LoadArgumentError, match="tokenizer="):
        load_language_model(make_model("llama"))


def test_an_object_that_is_no_model_is_named() -> None:
    with pytest.raises(UnsupportedModelError, match=r"torch\.nn.*Linear is no model.*PeftModel"):
        load_language_model(torch.nn.Linear(2, 2))  # type: ignore[arg-type]


# dtype and device


@pytest.mark.parametrize("dtype", ["bfloat16", "torch.bfloat16", "bf16", torch.bfloat16])
def test_a_dtype_may_be_written_in_several_ways(checkpoint: Path, dtype: str) -> None:
    assert load_language_model(checkpoint, device="cpu", dtype=dtype).model.dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["int8", "banana", "nn", "torch."])
def test_a_dtype_that_is_none_is_named(checkpoint: Path, dtype: str) -> None:
    with pytest.raises(LoadArgumentError, match=f"{dtype}.*bfloat16"):
        load_language_model(checkpoint, dtype=dtype)


def test_device_and_device_map_exclude_each_other(checkpoint: Path) -> None:
    with pytest.raises(LoadArgumentError, match="not both"):
        load_language_model(checkpoint, device="cpu", device_map="auto")


@pytest.mark.parametrize("device", [0, "0", "cuda:0", "cuda", torch.device("cuda", 0)])
def test_a_device_may_be_a_number(checkpoint: Path, monkeypatch: pytest.MonkeyPatch, device: Any) -> None:
    if torch.cuda.is_available():
        assert load_language_model(checkpoint, device=device).device == torch.device("cuda", 0)
    else:
        with pytest.raises(LoadArgumentError, match="torch sees 0 CUDA devices"):
            load_language_model(checkpoint, device=device)


def test_a_device_that_is_none_is_named(checkpoint: Path) -> None:
    with pytest.raises(LoadArgumentError, match="'banana'.*'cuda:1'"):
        load_language_model(checkpoint, device="banana")


# What failures say


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "no-such-model"
    for name in (missing, str(missing)):
        with pytest.raises(ModelNotFoundError, match="no-such-model"):
            load_language_model(name)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=rf"{tmp_path.name}.*config\.json"):
        load_language_model(tmp_path)


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    make_model("llama").save_pretrained(tmp_path)
    with pytest.raises(ModelNotFoundError, match=rf"tokenizer '.*{tmp_path.name}'.*tokenizer="):
        load_language_model(tmp_path)


def test_a_repository_that_cannot_be_fetched_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFoundError, match=r"nobody/no-such-model.*network"):
        load_language_model("nobody/no-such-model", device="cpu")


class _Hostile:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


@pytest.mark.parametrize("content", ["code", "garbage"])
def test_a_pickle_that_is_not_only_weights_is_refused_with_our_own_advice(
    checkpoint: Path, tmp_path: Path, content: str
) -> None:
    (checkpoint / "model.safetensors").unlink()
    if content == "code":
        torch.save({"lm_head.weight": _Hostile(tmp_path / "ran")}, checkpoint / "pytorch_model.bin")
    else:
        (checkpoint / "pytorch_model.bin").write_bytes(b"garbage" * 50)
    with pytest.raises(UnsupportedModelError, match=r"pytorch_model\.bin.*safetensors") as caught:
        load_language_model(checkpoint)
    assert "weights_only" not in str(caught.value)
    assert not (tmp_path / "ran").exists()


def test_a_pickle_of_weights_loads(checkpoint: Path) -> None:
    (checkpoint / "model.safetensors").unlink()
    torch.save(make_model("llama").state_dict(), checkpoint / "pytorch_model.bin")
    torch.testing.assert_close(_logits(load_language_model(checkpoint)), _own_logits(make_model("llama")))


@pytest.mark.parametrize("content", [b"version https://git-lfs.github.com/spec/v1\n", struct.pack("<Q", 1 << 40)])
def test_a_damaged_safetensors_file_is_named(checkpoint: Path, content: bytes) -> None:
    (checkpoint / "model.safetensors").write_bytes(content)
    with pytest.raises(UnsupportedModelError, match=r"model\.safetensors.*fetch it again"):
        load_language_model(checkpoint)


def test_a_model_without_an_output_head_is_refused(tmp_path: Path, tiny_model: Callable[..., PreTrainedModel]) -> None:
    body = tiny_model("llama").model
    assert isinstance(body, LlamaModel)
    body.save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match=r"lacks 1 of the weights of a LlamaForCausalLM.*lm_head"):
        load_language_model(tmp_path)


def test_an_argument_that_nobody_knows_is_named(checkpoint: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="'nonsense'.*leave it out"):
        load_language_model(checkpoint, nonsense=1)


def test_a_missing_quantisation_package_is_named(checkpoint: Path) -> None:
    with pytest.raises(UnsupportedModelError, match=r"base needs a package.*bitsandbytes"):
        load_language_model(checkpoint, quantization_config={"load_in_4bit": True})


def test_a_tokenizer_is_not_looked_up_at_the_models_revision(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, tiny_tokenizer: PreTrainedTokenizerFast
) -> None:
    seen: list[Any] = []

    def recorded(place: str, **arguments: Any) -> PreTrainedTokenizerFast:
        seen.append((place, arguments.get("revision")))
        return tiny_tokenizer

    monkeypatch.setattr("langchain_toolken.lm.load.AutoTokenizer.from_pretrained", recorded)
    load_language_model(checkpoint, tokenizer="owner/tokenizer", revision="abc")
    assert seen == [("owner/tokenizer", None)]
