"""`InnerLayers`: the states inside of an LM, taken while llama.cpp computes."""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from langchain_toolken.lm.llama_cpp.library import Context, Weights, library
from langchain_toolken.lm.llama_cpp.settings import LlamaCppSettings

_READ = 512  # tokens that the context has at least; most requests are much shorter


class InnerLayers:
    """Reads texts up to one layer; the layers that follow are not computed.

    llama.cpp calls back around each tensor that it computes, and names the states after a layer `l_out-NUMBER`.

    Args:
        weights: The model.
        settings: How it runs.
        size: The hidden size d.
    """

    def __init__(self, weights: Weights, settings: LlamaCppSettings, size: int) -> None:
        self._weights = weights
        self._settings = settings
        self._size = size
        self._lock = threading.Lock()
        self._context: Context | None = None
        self._wanted = b""
        self._found: list[Tensor] = []
        self._callback = library().ggml_backend_sched_eval_callback(self._look)  # kept, since C holds no reference

    def states(self, ids: list[int], layer: int) -> Tensor | None:
        """Read a text, and return the states (n, d) after a layer, of which the first is 0.

        Returns:
            Float32; None if this LM's layers have other names.
        """
        with self._lock:
            if self._context is None or self._context.cells < len(ids):
                self._context = None  # frees its memory first
                cells = max(_READ, 1 << (len(ids) - 1).bit_length())
                self._context = Context(self._weights, self._settings, cells, 1, self._callback)
            self._wanted, self._found = b"l_out-%d" % layer, []
            try:
                self._context.feed(0, ids, 0)
            finally:
                self._context.crop(0, 0)
            found = torch.cat(self._found) if self._found else None
            return found if found is not None and len(found) == len(ids) else None

    def _look(self, tensor: int, ask: bool, _data: Any) -> bool:
        """Say whether a tensor is wanted, before it is computed; take it afterwards, and end the computation."""
        ggml = _ggml()
        if ggml.ggml_get_name(tensor) != self._wanted:
            return not ask
        if not ask:
            states = np.empty((ggml.ggml_nelements(tensor) // self._size, self._size), dtype=np.float32)
            ggml.ggml_backend_tensor_get(tensor, states.ctypes.data, 0, states.nbytes)
            self._found.append(torch.from_numpy(states))
        return ask


@cache
def _ggml() -> Any:
    """Return the library that llama.cpp computes with, with the types of what is called here."""
    from llama_cpp._ggml import libggml

    libggml.ggml_get_name.argtypes = [ctypes.c_void_p]
    libggml.ggml_get_name.restype = ctypes.c_char_p
    libggml.ggml_nelements.argtypes = [ctypes.c_void_p]
    libggml.ggml_nelements.restype = ctypes.c_int64
    libggml.ggml_backend_tensor_get.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t]
    libggml.ggml_backend_tensor_get.restype = None
    return libggml
