"""Load a frozen causal LM and check that toolkens can be put on it."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils.hub import cached_file, has_file

from langchain_toolken.errors import ToolkenError
from langchain_toolken.lm.head import LogitTransform, ToolkenHead
from langchain_toolken.lm.identity import Backend
from langchain_toolken.lm.llama_cpp.library import INSTALL, is_installed, library
from langchain_toolken.lm.llama_cpp.model import LlamaCppModel
from langchain_toolken.lm.llama_cpp.probe import probe as probe_llama_cpp
from langchain_toolken.lm.llama_cpp.settings import LlamaCppSettings
from langchain_toolken.lm.load_errors import not_a_tokenizer, not_loaded
from langchain_toolken.lm.model import LanguageModel, UnsupportedModelError
from langchain_toolken.lm.not_found import ModelNotFoundError
from langchain_toolken.lm.probe import probe
from langchain_toolken.lm.sources import OF_THE_HUB, Source, find_source
from langchain_toolken.lm.transformers_model import TransformersModel

if TYPE_CHECKING:
    from peft import PeftModel

_DTYPES = {"bf16": "bfloat16", "fp16": "float16", "half": "float16", "fp32": "float32", "float": "float32"}


class LoadArgumentError(ToolkenError, ValueError):
    """An argument of `load_language_model` is not understood, or this machine or installation can't do it."""


@dataclass(frozen=True)
class _Loaded:
    """A loaded model, before it is checked.

    Attributes:
        model: The model.
        name: What to call it in messages and provenance.
        revision: Its Hub commit, if known.
        tokenizer: Where its own tokenizer is; None if it has none.
    """

    model: Any
    name: str
    revision: str | None
    tokenizer: Source | None


def load_language_model(
    model: str | Path | PreTrainedModel | PeftModel | LanguageModel,
    *,
    tokenizer: str | Path | PreTrainedTokenizerBase | None = None,
    revision: str | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | int | None = None,
    device_map: Any = None,
    trust_remote_code: bool = False,
    backend: Backend | None = None,
    **from_pretrained: Any,
) -> LanguageModel:
    """Load a causal LM, freeze it, and check that toolkens can be put on it.

    Args:
        model: "nano" (the LM in this package), a folder, a `.gguf` file, a folder with a PEFT adapter, a Hub id of any
            of these (a GGUF file as "owner/name/file.gguf"), or a model in memory, a `PeftModel` included. A model in
            memory is used as it is: dtype, device and device_map are then ignored.
        tokenizer: The tokenizer, or the folder, `.gguf` file or Hub id to load it from; None loads the model's own, and
            for an adapter without one its base model's.
        revision: Hub revision.
        dtype: Such as "bfloat16", "torch.bfloat16" or "bf16"; "auto" takes the checkpoint's. None loads float32 on a
            CPU, where bfloat16 is slow, and the checkpoint's dtype on a GPU.
        device: Such as "cpu", "cuda:1", or a CUDA device's number. None takes the first CUDA device if there is one,
            else the CPU.
        device_map: accelerate's device map, instead of `device`, for models larger than one device.
        trust_remote_code: Whether to run model code from the Hub. Off by default, because anyone may have written it.
        backend: What runs the LM. "llama_cpp" runs GGUF files only, with their weights as they are packed. None takes
            it for a GGUF file where it is installed, unless arguments are given that only transformers has, such as
            dtype.
        **from_pretrained: For transformers, further arguments of `AutoModelForCausalLM.from_pretrained`, such as
            subfolder, gguf_file, token, or a quantization_config (an object, or a dict of its fields). GGUF weights are
            unpacked unless quantization_config is a `GgufConfig` without dequantize. For llama.cpp, the fields of
            `lm.llama_cpp.settings.LlamaCppSettings`, such as n_gpu_layers.

    Warns:
        UserWarning: llama.cpp is not installed, so a GGUF file is unpacked.

    Raises:
        ModelNotFoundError: There is no such folder or file, or the Hub does not provide the model.
        UnsupportedModelError: It can't be read, is not a causal LM, or its logits or cache fail the check (`lm.probe`).
        LoadArgumentError: An argument is not understood, both `device` and `device_map` were given, or a package that
            the model needs is not installed.
    """
    if isinstance(model, TransformersModel | LlamaCppModel):
        return model
    if isinstance(model, str | Path):
        if device is not None and device_map is not None:
            raise LoadArgumentError("give device or device_map, not both: a device_map says itself what goes where")
        fetching = {name: from_pretrained[name] for name in OF_THE_HUB if name in from_pretrained}
        source = find_source(
            model,
            revision=revision,
            subfolder=from_pretrained.pop("subfolder", None) or "",
            gguf_file=from_pretrained.pop("gguf_file", None),
            fetching=fetching,
        )
        placing = {"dtype": dtype, "device": device, "device_map": device_map}
        others = {*from_pretrained, *(name for name, given in placing.items() if given is not None)}
        if _runs_in_llama_cpp(source, backend, sorted(others - {*OF_THE_HUB, *LlamaCppSettings.model_fields})):
            return _in_llama_cpp(source, tokenizer, trust_remote_code, from_pretrained, fetching)
        placed = _placement(dtype, device, device_map)
        loaded = _from_files(source, {**placed, "trust_remote_code": trust_remote_code, **from_pretrained})
    else:
        fetching = {}
        loaded = _in_memory(model)
    lm = TransformersModel(
        model=loaded.model.eval().requires_grad_(False),
        tokenizer=_tokenizer(tokenizer, loaded, {**fetching, "trust_remote_code": trust_remote_code}),
        model_id=loaded.name,
        revision=loaded.revision,
        head=_toolken_head(loaded.model, loaded.name),
    )
    probe(lm)
    return lm


def _runs_in_llama_cpp(source: Source, backend: Backend | None, others: list[str]) -> bool:
    """Decide who runs an LM; `others` are the arguments given that only transformers may know."""
    if backend == "transformers":
        return False
    if backend == "llama_cpp":
        if source.gguf_file is None:
            raise LoadArgumentError(
                f"llama.cpp runs GGUF files, and {source.name} is none: take backend='transformers'"
            )
        if others:
            raise LoadArgumentError(
                f"llama.cpp has no argument {', '.join(others)}: it takes {', '.join(LlamaCppSettings.model_fields)}"
            )
        return True
    if backend is not None:
        raise LoadArgumentError(f"backend {backend!r} is not there: give 'llama_cpp', 'transformers' or None")
    if source.gguf_file is None or others:
        return False
    if not is_installed():
        warnings.warn(
            f"llama.cpp is not installed, so {source.name} is unpacked and runs with transformers, which takes several "
            f"times its memory and is slower: {INSTALL} (or say backend='transformers')",
            UserWarning,
            stacklevel=3,
        )
        return False
    return True


def _in_llama_cpp(
    source: Source,
    tokenizer: str | Path | PreTrainedTokenizerBase | None,
    trust_remote_code: bool,
    given: dict[str, Any],
    fetching: dict[str, Any],
) -> LlamaCppModel:
    assert source.gguf_file is not None
    _require("gguf", f"reading {source.name}")
    library()
    settings = LlamaCppSettings.of({name: value for name, value in given.items() if name not in fetching})
    where = {name: value for name, value in source.arguments.items() if name != "gguf_file"}
    try:
        path = cached_file(source.place, source.gguf_file, **where, **fetching)
        assert path is not None
    except OSError as error:
        raise not_loaded(source, error) from error
    loaded = _Loaded(None, source.name, source.revision, source)
    found = _tokenizer(tokenizer, loaded, {**fetching, "trust_remote_code": trust_remote_code})
    lm = LlamaCppModel(Path(path), source.name, found, settings)
    probe_llama_cpp(lm)
    return lm


def _in_memory(model: object) -> _Loaded:
    if _is_peft_model(model):
        return _of_peft_model(model)
    if not isinstance(model, PreTrainedModel):
        raise UnsupportedModelError(
            f"a {type(model).__module__}.{type(model).__name__} is no model that toolkens can be put on: give a name, "
            "a folder, a .gguf file, a transformers model or a PeftModel"
        )
    place = str(model.config.name_or_path or "")
    revision = getattr(model.config, "_commit_hash", None)
    return _Loaded(model, place or type(model).__name__, revision, Source(place, place, revision) if place else None)


def _is_peft_model(model: object) -> TypeGuard[PeftModel]:
    # Whoever made a PeftModel has imported PEFT; nobody else waits for it.
    peft = sys.modules.get("peft")
    return peft is not None and isinstance(model, peft.PeftModel)


def _of_peft_model(model: PeftModel) -> _Loaded:
    """Take the base model with the adapter's layers in it, which computes what the PeftModel computes."""
    adapter = model.active_adapter
    if model.active_peft_config.is_prompt_learning:
        raise UnsupportedModelError(
            f"the PEFT adapter {adapter!r} is a learned prompt ({type(model.active_peft_config).__name__}), which is "
            "not part of the model's layers: give a LoRA adapter or another that changes layers"
        )
    base = _in_memory(model.get_base_model())
    # Its name must not be the base's: a set that says so would later be used with the base alone.
    return _Loaded(base.model, f"{base.name} with the PEFT adapter {adapter!r} in memory", None, base.tokenizer)


def _placement(dtype: torch.dtype | str | None, device: torch.device | str | int | None, device_map: Any) -> Any:
    """Return the arguments of `from_pretrained` for the dtype and the device."""
    if device_map is None:
        there = _device(device)
        on_cpu = there.type == "cpu"
        # Quantised weights must be loaded where they stay. transformers takes a map of one device for the whole model.
        device_map = None if on_cpu else {"": there}
    else:
        on_cpu = not torch.cuda.is_available()
    return {"dtype": _dtype(dtype, torch.float32 if on_cpu else "auto"), "device_map": device_map}


def _device(device: torch.device | str | int | None) -> torch.device:
    if device is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if isinstance(device, str) and device.isdigit():
        device = int(device)
    try:
        found = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise LoadArgumentError(
            f"device {device!r} is not a device: give 'cpu', 'cuda', 'cuda:1', 'mps' or a CUDA device's number"
        ) from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise LoadArgumentError(
            f"device {device!r} is not there: torch sees {torch.cuda.device_count()} CUDA devices. Leave device out, "
            "or install a torch with CUDA for this machine"
        )
    return found


def _dtype(dtype: torch.dtype | str | None, default: torch.dtype | str) -> torch.dtype | str:
    if dtype is None:
        return default
    if dtype == "auto" or isinstance(dtype, torch.dtype):
        return dtype
    name = str(dtype).removeprefix("torch.")
    found = getattr(torch, _DTYPES.get(name, name), None)
    if not isinstance(found, torch.dtype) or not found.is_floating_point:
        raise LoadArgumentError(
            f"dtype {dtype!r} is not a dtype of weights: give 'float32', 'bfloat16', 'float16' or 'auto'"
        )
    return found


def _from_files(source: Source, arguments: dict[str, Any]) -> _Loaded:
    """Load the model that `arguments` of `from_pretrained` describe, with its adapter if it has one."""
    if source.base is not None:
        return _with_adapter(source, source.base, arguments)
    if source.gguf_file is not None:
        _require("gguf", f"reading {source.name}")
        arguments = {**arguments, **_unpacked(arguments.get("quantization_config"))}
    elif source.folder is not None:
        if not (source.folder / "config.json").is_file():
            raise ModelNotFoundError(
                f"no model in the folder {source.name}: it has no config.json, adapter_config.json or .gguf file"
            )
        if (source.folder / "adapter_config.json").is_file():
            _require("peft", f"the adapter in {source.name}")  # without PEFT, transformers would leave it out
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source.place, **source.arguments, **arguments, output_loading_info=True
        )
    except Exception as error:
        raise not_loaded(source, error) from error
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise UnsupportedModelError(
            f"{source.name} lacks {len(missing)} of the weights of a {type(model).__name__}, such as {missing[0]!r}: "
            "it was saved incompletely, or is no causal language model"
        )
    revision = getattr(model.config, "_commit_hash", None) or source.revision
    return _Loaded(model, source.name, revision, source)


def _unpacked(quantization_config: Any) -> dict[str, Any]:
    """Return the quantization_config for a GGUF file; without the caller's own, its weights are unpacked."""
    config_type = getattr(transformers, "GgufConfig", None)
    if config_type is None:  # transformers before 5.23 always unpacks
        return {}
    if quantization_config is None:
        return {"quantization_config": config_type(dequantize=True)}
    if isinstance(quantization_config, dict) and quantization_config.get("quant_method", "gguf") == "gguf":
        fields = {name: value for name, value in quantization_config.items() if name != "quant_method"}
        return {"quantization_config": config_type(**fields)}
    return {}


def _with_adapter(source: Source, base: Source, arguments: dict[str, Any]) -> _Loaded:
    """Load the base model and merge the adapter into its weights where the two allow it."""
    _require("peft", f"the PEFT adapter {source.name}")
    from peft import PeftModel

    loaded = _from_files(base, arguments)
    fetching = {name: arguments[name] for name in OF_THE_HUB if name in arguments}
    where = {name: value for name, value in source.arguments.items() if name != "gguf_file"}
    own = _has_tokenizer(source, fetching)
    try:
        if own:  # tokens added for the adapter have rows in its weights
            tokenizer = AutoTokenizer.from_pretrained(
                source.place, trust_remote_code=arguments["trust_remote_code"], **where, **fetching
            )
            if len(tokenizer) > loaded.model.get_input_embeddings().weight.shape[0]:
                loaded.model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        adapted = PeftModel.from_pretrained(loaded.model, source.place, **where, **fetching)
    except Exception as error:
        raise not_loaded(source, error) from error
    inside = _of_peft_model(adapted).model
    # Merged weights cost nothing at each token. Quantised ones would lose precision.
    if hasattr(adapted.base_model, "merge_and_unload") and getattr(inside, "hf_quantizer", None) is None:
        inside = adapted.merge_and_unload()
    return _Loaded(inside, source.name, source.revision, source if own else loaded.tokenizer)


def _has_tokenizer(source: Source, fetching: dict[str, Any]) -> bool:
    if source.folder is not None:
        return any((source.folder / file).is_file() for file in ("tokenizer_config.json", "tokenizer.json"))
    inside = f"{source.subfolder}/" if source.subfolder else ""
    known = {name: value for name, value in fetching.items() if name != "force_download"}
    return bool(has_file(source.place, f"{inside}tokenizer_config.json", revision=source.revision, **known))


def _require(package: str, needed_for: str) -> None:
    """Raise LoadArgumentError if an optional package is missing."""
    if find_spec(package) is None:
        raise LoadArgumentError(f"{needed_for} needs the package {package}: pip install 'langchain-toolken[{package}]'")


def _tokenizer(
    given: str | Path | PreTrainedTokenizerBase | None, loaded: _Loaded, arguments: dict[str, Any]
) -> PreTrainedTokenizerBase:
    if isinstance(given, PreTrainedTokenizerBase):
        return given
    source = loaded.tokenizer if given is None else find_source(given)
    if source is None:
        raise LoadArgumentError(f"{loaded.name}: a model made in memory has no tokenizer of its own; give tokenizer=")
    if source.gguf_file is not None:
        _require("gguf", f"reading {source.name}")
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source.place, **source.arguments, **arguments
        )
    except Exception as error:
        raise not_a_tokenizer(source, error) from error
    return tokenizer


def _toolken_head(model: Any, model_id: str) -> ToolkenHead:
    words = model.get_output_embeddings()
    weight = getattr(words, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2 or model.config.is_encoder_decoder:
        raise UnsupportedModelError(
            f"{model_id} ({type(model).__name__}) has no output head of one row per word on a decoder; "
            "toolkens need a decoder-only causal LM"
        )
    return ToolkenHead(words, LogitTransform.of(model.config.get_text_config()))
