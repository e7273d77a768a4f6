"""Find the GGUF file of a model in a local Ollama store. Ollama need not run."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from functools import cache
from pathlib import Path

from langchain_toolken.lm.not_found import ModelNotFoundError

PREFIX = "ollama:"
_REGISTRY, _NAMESPACE, _TAG = "registry.ollama.ai", "library", "latest"
_WEIGHTS = "application/vnd.ollama.image.model"
_PART = re.compile(r"[\w-][\w.-]*")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def store() -> Path:
    """Return the folder of Ollama's models: OLLAMA_MODELS, or the one in the home folder."""
    return Path(os.environ.get("OLLAMA_MODELS") or "~/.ollama/models").expanduser()


def ollama_file(name: str) -> Path:
    """Find a model's weights.

    Args:
        name: As in `ollama run`: "NAME", "NAME:TAG", "USER/NAME" or "HOST/USER/NAME".

    Returns:
        A link to them with the ending .gguf, which lasts as long as this process: Ollama's own files have none.

    Raises:
        ModelNotFoundError: There is no such model, or its manifest or weights are damaged or missing.
    """
    place, _, tag = name.partition(":")
    parts = [*place.split("/"), tag or _TAG]
    if not 2 <= len(parts) <= 4 or not all(_PART.fullmatch(part) for part in parts):
        raise ModelNotFoundError(f"{PREFIX}{name} is no name of an Ollama model: write it as in `ollama run NAME:TAG`")
    full = [*(_REGISTRY, _NAMESPACE)[: 4 - len(parts)], *parts]
    manifest = store().joinpath("manifests", *full)
    if not manifest.is_file():
        raise ModelNotFoundError(
            f"{PREFIX}{name}: no such model in the Ollama store {store()} ({_there()}). Fetch it with `ollama pull "
            f"{name}`, or set OLLAMA_MODELS to the store's folder"
        )
    try:
        layers = json.loads(manifest.read_text(encoding="utf-8"))["layers"]
        digests = [str(layer["digest"]) for layer in layers if layer["mediaType"] == _WEIGHTS]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelNotFoundError(
            f"{manifest} is no manifest of Ollama ({error!r}): run `ollama pull {name}`"
        ) from error
    if len(digests) != 1 or not _DIGEST.fullmatch(digests[0]):
        raise ModelNotFoundError(
            f"{manifest} names {len(digests)} files of weights, not one GGUF file: take another model"
        )
    blob = store() / "blobs" / digests[0].replace(":", "-")
    if not blob.is_file():
        raise ModelNotFoundError(f"{PREFIX}{name}: its weights are missing at {blob}: run `ollama pull {name}` again")
    link = Path(_links().name) / hashlib.sha256(str(blob).encode()).hexdigest()[:16] / "model.gguf"
    if not link.is_symlink():
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(blob)
    return link


@cache
def _links() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="toolken-ollama-")


def _there() -> str:
    manifests = store() / "manifests" / _REGISTRY / _NAMESPACE
    names = sorted(f"{file.parent.name}:{file.name}" for file in manifests.glob("*/*"))
    return f"it has {', '.join(names[:5])}" + (" …" if len(names) > 5 else "") if names else "it is empty or not there"
