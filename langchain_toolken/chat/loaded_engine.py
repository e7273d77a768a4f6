"""Which engine a chat model has, and how copies treat it: they share it, and another process loads it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from pickle import PicklingError
from typing import Any, Literal, Self

from pydantic import BaseModel, Field, field_validator

from langchain_toolken.decoding.engine import Engine
from langchain_toolken.decoding.local.engine import local_engine
from langchain_toolken.decoding.local.shared import shared_engine
from langchain_toolken.decoding.vllm.load import vllm_engine
from langchain_toolken.errors import ToolkenError
from langchain_toolken.lm.identity import Backend, LMIdentity
from langchain_toolken.lm.load import LoadArgumentError, load_language_model


class LoadingSettings(BaseModel):
    """What determines the LM that a chat model uses.

    Attributes:
        model: "nano" (the LM in this package), a folder, a `.gguf` file, a folder with a PEFT adapter, a Hugging Face
            Hub id, or a model in memory (`lm.load`). Left out, it is the LM that the toolkens were fitted for, by the
            name they have for it, and nano without toolkens.
        revision: The Hub revision of the model.
        dtype: The weights' dtype, such as "bfloat16"; None is float32 on a CPU and the model's own on a GPU.
        device: Where the LM runs, such as "cuda" or a CUDA device's number.
        device_map: How `from_pretrained` spreads the LM over devices.
        trust_remote_code: Whether the model's own code may run.
        backend: What runs the LM: "transformers", for GGUF files "llama_cpp", or "vllm" for a vLLM server. None takes
            llama.cpp for a GGUF file where it is installed.
        base_url: Where the vLLM server's API is, such as "http://127.0.0.1:8001/v1". Only read with backend="vllm".
        model_kwargs: Further arguments of `load_language_model`: a tokenizer, and those of
            `AutoModelForCausalLM.from_pretrained`, such as gguf_file, subfolder or a quantization_config, or of
            llama.cpp, such as n_gpu_layers. With vLLM: tokenizer, api_key, timeout and patience (`vllm_engine`).
    """

    model: str = "nano"
    revision: str | None = None
    dtype: str | None = None
    device: str | int | None = None
    device_map: str | dict[str, Any] | None = None
    trust_remote_code: bool = False
    backend: Backend | Literal["vllm"] | None = None
    base_url: str | None = None
    model_kwargs: dict[str, Any] = Field(default_factory=dict)

    @field_validator("model", mode="before")
    @classmethod
    def _path_as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, Path) else value

    @field_validator("dtype", "device", mode="before")
    @classmethod
    def _torch_as_text(cls, value: object) -> object:
        return str(value) if type(value).__module__ == "torch" else value


LOADED_BY = tuple(LoadingSettings.model_fields)
"""The chat model's fields that determine its engine."""


@dataclass(frozen=True, eq=False)
class LoadedEngine:
    """A chat model's engine, which deep copies share because weights are never copied.

    It is pickled as None, so that an unpickled chat model loads its engine at first use.

    Attributes:
        engine: The engine.
        by_name: Whether the chat model loaded it from its own settings (`LOADED_BY`). If not, no other process could
            load it, and pickling raises PicklingError.
    """

    engine: Engine
    by_name: bool

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type, tuple[()]]:
        if not self.by_name:
            raise PicklingError(
                f"this ToolkenChat was made from an engine in memory ({self.engine.model_id}), which another process "
                "cannot load. Create it with ToolkenChat(model=…, toolkens=…), or call ToolkenChat.from_engine in each "
                "process"
            )
        return type(None), ()


def engine_in_memory(model: Any, model_kwargs: Mapping[str, Any] | None) -> LoadedEngine:
    """Make an engine of a model in memory.

    Args:
        model: Whatever `load_language_model` takes besides names.
        model_kwargs: Further arguments of `load_language_model`, such as tokenizer.
    """
    lm = load_language_model(model, **(model_kwargs or {}))
    return LoadedEngine(local_engine(lm), by_name=False)


def load_engine(settings: LoadingSettings, max_batch_size: int | None, named_by: LMIdentity | None) -> LoadedEngine:
    """Load the engine that a chat model's settings determine, or take the one that was loaded with the same settings.

    Args:
        settings: The settings; a chat model has them.
        max_batch_size: As in `shared_engine`.
        named_by: The LM that the toolkens were made for, if `settings` have its name from there.

    Raises:
        ToolkenError: Whatever `load_language_model` raises. For an LM that the toolkens named, it says so.
    """
    arguments = {name: getattr(settings, name) for name in LOADED_BY}
    arguments |= arguments.pop("model_kwargs")
    try:
        if settings.backend == "vllm":
            return LoadedEngine(_of_vllm(settings), by_name=True)
        del arguments["base_url"]
        return LoadedEngine(shared_engine(max_batch_size=max_batch_size, **arguments), by_name=True)
    except ToolkenError as error:
        if named_by is None:
            raise
        raise type(error)(
            f"the toolkens were fitted for the LM {named_by}, which can't be loaded by that name here. Say where it is "
            f"(model=, or toolken … --model). {error}"
        ) from error


def _of_vllm(settings: LoadingSettings) -> Engine:
    if settings.base_url is None:
        raise LoadArgumentError('backend="vllm" needs base_url, the address of a vLLM server\'s API')
    placing = {name: getattr(settings, name) for name in ("dtype", "device", "device_map")}
    if given := [name for name, value in placing.items() if value is not None]:
        raise LoadArgumentError(f"{', '.join(given)}: where the LM runs, and how, is said to vllm serve, not here")
    known = list(signature(vllm_engine).parameters)[2:]
    if unknown := sorted(set(settings.model_kwargs) - set(known)):
        raise LoadArgumentError(f"model_kwargs: vLLM knows no {', '.join(unknown)}, only {', '.join(known)}")
    given_to_both = {"revision": settings.revision, "trust_remote_code": settings.trust_remote_code}
    return vllm_engine(settings.base_url, settings.model, **{**given_to_both, **settings.model_kwargs})
