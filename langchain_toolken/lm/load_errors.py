"""What went wrong while an LM's files were read, as an error that names the file and the next step."""

from __future__ import annotations

from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open

from langchain_toolken.errors import ToolkenError
from langchain_toolken.lm.model import UnsupportedModelError
from langchain_toolken.lm.not_found import ModelNotFoundError
from langchain_toolken.lm.sources import Source

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def not_loaded(source: Source, error: Exception) -> ToolkenError:
    """Return the error to raise for one that `from_pretrained` raised while it loaded a model."""
    name = source.name
    if isinstance(error, ToolkenError):
        return error
    if isinstance(error, UnpicklingError):
        return UnsupportedModelError(
            f"{name}: its weights are a pickle file ({_files(source, _PICKLES)}) that is damaged, or that holds more "
            "than weights. Pickle files can run code when they are read, so what is not a weight is refused. Get the "
            "model as safetensors, or convert it where you trust it: model.save_pretrained(FOLDER)"
        )
    if isinstance(error, SafetensorError):
        return UnsupportedModelError(
            f"{_damaged(source) or name}: the weights can't be read ({error}). The file did not arrive whole or is a "
            "Git LFS pointer: fetch it again"
        )
    if isinstance(error, ImportError):
        return UnsupportedModelError(f"{name} needs a package that is not installed: {_first_lines(error)}")
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return UnsupportedModelError(
            f"{name} does not fit into memory ({_first_lines(error)}): load it in bfloat16, quantised "
            "(quantization_config), or over several devices (device_map)"
        )
    if isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
        return UnsupportedModelError(
            f"{name}: {error}. Arguments that load_language_model does not know go to from_pretrained, which does not "
            "know this one either: correct it or leave it out"
        )
    if source.gguf_file is not None:
        return UnsupportedModelError(
            f"{name} can't be read as a GGUF file ({_first_lines(error)}): it did not arrive whole, or transformers "
            "does not support its architecture. Fetch it again, or take the model's checkpoint for transformers"
        )
    if isinstance(error, OSError):
        return _not_found("model", source, error)
    return UnsupportedModelError(
        f"{name} cannot be loaded as a causal language model ({type(error).__name__}: {_first_lines(error)})"
    )


def not_a_tokenizer(source: Source, error: Exception) -> ToolkenError:
    """Return the error to raise for one that `AutoTokenizer` raised."""
    if isinstance(error, ImportError):
        return UnsupportedModelError(f"the tokenizer of {source.name} needs a package: {_first_lines(error)}")
    return _not_found("tokenizer", source, error)


def _not_found(what: str, source: Source, error: Exception) -> ModelNotFoundError:
    if source.folder is not None:
        needed = "tokenizer.json" if what == "tokenizer" else "config.json and weights"
        at = f"cannot load the {what} {source.name!r} from that {'file' if source.gguf_file else 'folder'}"
        step = (
            "the file has no tokenizer that transformers can read"
            if source.gguf_file
            else f"a folder needs {needed}" + ("; or give tokenizer=" if what == "tokenizer" else "")
        )
        return ModelNotFoundError(f"{at}: {step}. Reason: {_first_lines(error)}")
    return ModelNotFoundError(
        f"cannot load the {what} {source.name!r}: it is neither a local folder or file nor could it be fetched from "
        "the Hugging Face Hub. Check the spelling, the network (or HF_HUB_OFFLINE), and for gated models `hf auth "
        f"login`. Reason: {_first_lines(error)}"
    )


def _files(source: Source, patterns: tuple[str, ...]) -> str:
    """Name the files in the source's folder that match; a general word for those on the Hub."""
    found = [] if source.folder is None else [file.name for p in patterns for file in source.folder.glob(p)]
    return ", ".join(sorted(found)) or patterns[0]


def _damaged(source: Source) -> Path | None:
    """Find the safetensors file that can't be read."""
    for file in [] if source.folder is None else sorted(source.folder.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError:
            return file
    return None


def _first_lines(error: BaseException) -> str:
    """Return an error's text without empty lines, and not more than a screen can hold."""
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    return (text[:500] + " …" if len(text) > 500 else text) or type(error).__name__
