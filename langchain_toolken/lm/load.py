"""Load a frozen causal LM and check that toolkens can be put on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from langchain_core import exceptions
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from langchain_toolken.errors import ToolkenError
from langchain_toolken.lm.head import LogitTransform, ToolkenHead
from langchain_toolken.lm.model import LanguageModel, UnsupportedModelError
from langchain_toolken.lm.probe import probe
from langchain_toolken.nano import NANO_PATH

NANO_ALIAS = "nano"


class ModelNotFoundError(ToolkenError, exceptions.ModelNotFoundError, ValueError):
    """The model's or its tokenizer's files are not where they were looked for. LangChain's own type, too."""


def load_language_model(
    model: str | Path | PreTrainedModel,
    *,
    tokenizer: str | Path | PreTrainedTokenizerBase | None = None,
    revision: str | None = None,
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    device_map: Any = None,
    trust_remote_code: bool = False,
    **from_pretrained: Any,
) -> LanguageModel:
    """Load a causal LM, freeze it, and check that toolkens can be put on it.

    Args:
        model: "nano" (the LM in this package), a folder, a Hub id, or a model in memory, which is used as it is: dtype,
            device and device_map are then ignored.
        tokenizer: The tokenizer, or the folder or Hub id to load it from; None loads the model's own.
        revision: Hub revision.
        dtype: None loads float32 on a CPU, where bfloat16 is slow, and the checkpoint's dtype on a GPU.
        device: None takes the first CUDA device if there is one, else the CPU.
        device_map: accelerate's device map, instead of `device`, for models larger than one device.
        trust_remote_code: Whether to run model code from the Hub. Off by default, because anyone may have written it.
        **from_pretrained: Further arguments of `AutoModelForCausalLM.from_pretrained`.

    Raises:
        ModelNotFoundError: There is no such folder, or the Hub does not provide the model.
        UnsupportedModelError: It is not a causal LM, or its logits or cache fail the check (`lm.probe`).
        ValueError: Both `device` and `device_map` were given.
    """
    if isinstance(model, PreTrainedModel):
        model_id = str(model.config.name_or_path or type(model).__name__)
        loaded: Any = model
        if tokenizer is None:
            if not model.config.name_or_path:
                raise ValueError(f"{model_id}: a model made in memory has no tokenizer of its own; give tokenizer=")
            tokenizer = model.config.name_or_path
    else:
        if device is not None and device_map is not None:
            raise ValueError("give device or device_map, not both: a device_map says itself what goes where")
        model_id = str(model)
        source = _find(model)
        if device_map is None:
            device = torch.device(device if device is not None else "cuda" if torch.cuda.is_available() else "cpu")
            on_cpu = device.type == "cpu"
        else:
            on_cpu = not torch.cuda.is_available()
        try:
            loaded = AutoModelForCausalLM.from_pretrained(
                source,
                revision=revision,
                dtype=dtype if dtype is not None else torch.float32 if on_cpu else "auto",
                device_map=device_map,
                trust_remote_code=trust_remote_code,
                **from_pretrained,
            )
        except OSError as error:
            raise ModelNotFoundError(_not_found("model", model_id, error)) from error
        except ValueError as error:
            raise UnsupportedModelError(f"{model_id} cannot be loaded as a causal language model: {error}") from error
        if device_map is None:
            loaded = loaded.to(device)
        if tokenizer is None:
            tokenizer = source
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        try:
            tokenizer = AutoTokenizer.from_pretrained(
                str(tokenizer), revision=revision, trust_remote_code=trust_remote_code
            )
        except (OSError, ValueError) as error:
            raise ModelNotFoundError(_not_found("tokenizer", str(tokenizer), error)) from error
    lm = LanguageModel(
        model=loaded.eval().requires_grad_(False),
        tokenizer=tokenizer,
        model_id=model_id,
        revision=revision or getattr(loaded.config, "_commit_hash", None),
        head=_toolken_head(loaded, model_id),
    )
    probe(lm)
    return lm


def _toolken_head(model: Any, model_id: str) -> ToolkenHead:
    words = model.get_output_embeddings()
    weight = getattr(words, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 2 or model.config.is_encoder_decoder:
        raise UnsupportedModelError(
            f"{model_id} ({type(model).__name__}) has no output head of one row per word on a decoder; "
            "toolkens need a decoder-only causal LM"
        )
    return ToolkenHead(words, LogitTransform.of(model.config.get_text_config()))


def _find(model: str | Path) -> str:
    """Return the folder or Hub id to load from."""
    if str(model) == NANO_ALIAS:
        model = NANO_PATH
    path = Path(model).expanduser()
    if path.is_dir():
        return str(path)
    # A Hub id is "name" or "owner/name"; anything else can only be meant as a folder.
    if isinstance(model, Path) or path.is_absolute() or str(model).startswith((".", "~")) or str(model).count("/") > 1:
        raise ModelNotFoundError(
            f"no model folder at {path}: give a folder with config.json and weights, a Hugging Face Hub id, or 'nano'"
        )
    return str(model)


def _not_found(what: str, name: str, error: Exception) -> str:
    return (
        f"cannot load the {what} {name!r}: it is neither a complete local folder nor could it be fetched from the "
        "Hugging Face Hub. Check the spelling, the network (or HF_HUB_OFFLINE), and for gated models `hf auth login`. "
        f"Reason: {error}"
    )
