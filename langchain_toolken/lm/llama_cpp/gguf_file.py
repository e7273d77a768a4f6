"""`GgufFile`: the rows of a GGUF file's output head and input embeddings, and what identifies its weights."""

from __future__ import annotations

import hashlib
import json
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

    Raises:
        UnsupportedModelError: The file is damaged or cut off.
    """

    def __init__(self, path: Path) -> None:
        from gguf import GGUFReader

        self.path = path
        try:
            self._reader = GGUFReader(path)
        except Exception as error:
            raise UnsupportedModelError(
                f"{path} can't be read as a GGUF file ({type(error).__name__}: {error}): it did not arrive whole, or "
                "is damaged. Fetch it again"
            ) from error
        self._tensors = {tensor.name: tensor for tensor in self._reader.tensors}
        if _EMBEDDINGS not in self._tensors:
            raise UnsupportedModelError(f"{path} holds no {_EMBEDDINGS}: it is not a whole language model")

    @property
    def architecture(self) -> str:
        """The architecture's name, such as "llama"."""
        return str(self._value("general.architecture", ""))

    @cached_property
    def transform(self) -> LogitTransform:
        """What the LM does to its word logits after the head."""
        scale = self._value(f"{self.architecture}.logit_scale", None)
        softcap = self._value(f"{self.architecture}.final_logit_softcapping", None)
        divides = self.architecture.startswith("granite")
        return LogitTransform(
            multiply=1.0 if scale is None or divides else float(scale),
            divide=float(scale) if scale is not None and divides else 1.0,
            softcap=None if softcap is None else float(softcap),
        )

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
            digest.update(json.dumps([name, [int(n) for n in tensor.shape], int(tensor.tensor_type)]).encode())
            digest.update(content[places].tobytes())
        return digest.hexdigest()

    def _rows(self, name: str, rows: list[int] | None) -> Tensor:
        from gguf.quants import dequantize

        tensor = self._tensors[name]
        packed = tensor.data if rows is None else tensor.data[rows]
        return torch.from_numpy(dequantize(packed, tensor.tensor_type).astype("float32", copy=True))

    def _value(self, key: str, default: Any) -> Any:
        field = self._reader.fields.get(key)
        return default if field is None else field.contents()
