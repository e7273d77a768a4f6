"""`GgufFile`: the rows of a GGUF file's output head and input embeddings, and what identifies its weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langchain_toolken.lm.head import LogitTransform
from langchain_toolken.lm.model import UnsupportedModelError

_EMBEDDINGS, _HEAD = "token_embd.weight", "output.weight"
_SAMPLED = 64  # bytes of a tensor that are fingerprinted


class GgufFile:
    """The parts of a GGUF file that toolkens are made from; they are unpacked as they are asked for.

    Args:
        path: The file.

    Attributes:
        transform: What the LM does to its word logits after the head.

    Raises:
        UnsupportedModelError: The file is damaged or cut off.
    """

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader

        try:
            reader = GGUFReader(path)
        except Exception as error:
            raise UnsupportedModelError(
                f"{path} can't be read as a GGUF file ({type(error).__name__}: {error}): it did not arrive whole, or "
                "is damaged. Fetch it again"
            ) from error
        # The reader itself is not kept: it holds every word of the vocabulary twice.
        self._tensors = {tensor.name: _Packed(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
        if _EMBEDDINGS not in self._tensors:
            raise UnsupportedModelError(f"{path} holds no {_EMBEDDINGS}: it is not a whole language model")

        def value(key: str) -> Any:
            field = reader.fields.get(key)
            return None if field is None else field.contents()

        self.transform = _transform(str(value("general.architecture") or ""), value)

    def head_rows(self, rows: list[int] | None = None) -> Tensor:
        """Return rows (n, d) of the output head, float32; None for all."""
        return self._rows(_HEAD if _HEAD in self._tensors else _EMBEDDINGS, rows)

    def embedding_rows(self) -> Tensor:
        """Return the input embeddings (V, d), float32."""
        return self._rows(_EMBEDDINGS, None)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the names, shapes, types and up to 64 evenly spaced bytes of every tensor."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self._tensors.items()):
            content = tensor.data.reshape(-1).view("uint8")
            places = [i * (len(content) - 1) // (_SAMPLED - 1) for i in range(_SAMPLED)]
            digest.update(json.dumps([name, [*tensor.data.shape], int(tensor.type)]).encode())
            digest.update(content[places].tobytes())
        return digest.hexdigest()

    def _rows(self, name: str, rows: list[int] | None) -> Tensor:
        from gguf.quants import dequantize

        tensor = self._tensors[name]
        packed = tensor.data if rows is None else tensor.data[rows]
        return torch.from_numpy(dequantize(packed, tensor.type).astype("float32", copy=True))


@dataclass(frozen=True, eq=False)
class _Packed:
    """A tensor's bytes in the file, row by row, and how they are packed."""

    data: Any
    type: Any


def _transform(architecture: str, value: Callable[[str], Any]) -> LogitTransform:
    scale, softcap = (value(f"{architecture}.{name}") for name in ("logit_scale", "final_logit_softcapping"))
    divides = architecture.startswith("granite")
    return LogitTransform(
        multiply=1.0 if scale is None or divides else float(scale),
        divide=float(scale) if scale is not None and divides else 1.0,
        softcap=None if softcap is None else float(softcap),
    )
