"""llama.cpp's library, by its low-level API: models, contexts, and tokens through them.

The package llama-cpp-python is optional, so it is imported at first use.
"""

from __future__ import annotations

import ctypes
import logging
import os
import re
import threading
from collections import deque
from dataclasses import dataclass
from enum import Enum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from langchain_toolken.errors import ToolkenError
from langchain_toolken.lm.llama_cpp.settings import LlamaCppSettings
from langchain_toolken.lm.model import UnsupportedModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

LOGGER = logging.getLogger("langchain_toolken.llama_cpp")
INSTALL = "pip install 'langchain-toolken[llama-cpp]'"

_SAID = 40  # lines of llama.cpp's log that are kept for an error's message
_said: deque[str] = deque(maxlen=_SAID)
_LOGGING = threading.Lock()
_callback: Any = None
_BATCH = 512
Part = tuple[int, "Sequence[int]", int]
"""A sequence's number, its next tokens, and how many it has read."""
_MOST_LOGITS = 1 << 24  # 64 MB of word logits at once


class LlamaCppError(ToolkenError, RuntimeError):
    """llama.cpp could not run tokens."""


class NoRoomError(LlamaCppError):
    """A context has no free cells left for the tokens."""


def is_installed() -> bool:
    """Return whether llama-cpp-python can be imported."""
    return find_spec("llama_cpp") is not None


def library() -> Any:
    """Import llama-cpp-python's low-level API, and take over its log.

    Raises:
        UnsupportedModelError: It is not installed, or its library does not load.
    """
    global _callback
    try:
        from llama_cpp import llama_cpp as api
    except (ImportError, OSError, RuntimeError) as error:
        raise UnsupportedModelError(
            f"llama.cpp can't be used ({error}): {INSTALL}, or take backend='transformers'"
        ) from error
    with _LOGGING:
        if _callback is None:
            _callback = api.llama_log_callback(_log)  # kept, since C holds no reference
            api.llama_log_set(_callback, ctypes.c_void_p(0))
            api.llama_backend_init()
    return api


def _log(_level: int, text: bytes, _data: Any) -> None:
    for line in text.decode("utf-8", errors="replace").splitlines():
        if line.strip(" ."):
            _said.append(line.strip())
            LOGGER.debug(line)


def last_words() -> str:
    """Return the lines of llama.cpp's log that tell of an error, newest last, for a message."""
    told = [line for line in _said if any(word in line.lower() for word in ("error", "fail", "unknown", "invalid"))]
    return "; ".join(dict.fromkeys(told[-3:])) or "; ".join([*_said][-2:]) or "it says no reason"


@dataclass(frozen=True, eq=False)
class Weights:
    """A loaded model.

    Attributes:
        pointer: llama.cpp's model.
        vocab: Its vocabulary.
        path: The file.
        free: Frees the model; kept here, since nothing can be imported while the interpreter ends.
    """

    pointer: Any
    vocab: Any
    path: Path
    free: Callable[[Any], None]

    def __del__(self) -> None:
        self.free(self.pointer)


def load_weights(path: Path, settings: LlamaCppSettings) -> Weights:
    """Load a GGUF file.

    Raises:
        UnsupportedModelError: It can't be loaded, or its states can't be cropped. The message names the file.
    """
    api = library()
    params = api.llama_model_default_params()
    params.n_gpu_layers = settings.n_gpu_layers
    unsound = b"AMX_INT8 = 1" in api.llama_print_system_info() and not amx_is_sound(Path(api.__file__).parent / "lib")
    params.use_extra_bufts = not unsound if settings.repack is None else settings.repack
    _said.clear()
    pointer = api.llama_model_load_from_file(str(path).encode(), params)
    if not pointer:
        raise UnsupportedModelError(_why_not_loaded(path))
    weights = Weights(pointer, api.llama_model_get_vocab(pointer), path, api.llama_model_free)
    kinds = {
        "has recurrent states": api.llama_model_is_recurrent(pointer) or api.llama_model_is_hybrid(pointer),
        "has an encoder": api.llama_model_has_encoder(pointer),
        "writes by diffusion": api.llama_model_is_diffusion(pointer),
        "has no decoder": not api.llama_model_has_decoder(pointer),
    }
    if found := [kind for kind, is_so in kinds.items() if is_so]:
        raise UnsupportedModelError(
            f"{path}: the model {found[0]}. Toolkens need a decoder with plain attention, whose cache can be cropped: "
            "choose another model"
        )
    return weights


def amx_is_sound(folder: Path) -> bool:
    """Tell by their notes whether the libraries in a folder were compiled by what compiles AMX right.

    gcc before 12.4 and 13.3 drops what AMX's configuration is loaded from (its PR 114098), which ends the process.
    """
    contents = [file.read_bytes() for file in folder.glob("*ggml-cpu*")]
    return bool(contents) and all(b"clang version" in content or _gcc_is_sound(content) for content in contents)


def _gcc_is_sound(content: bytes) -> bool:
    versions = [(int(major), int(minor)) for major, minor in re.findall(rb"GCC: \([^)]*\) (\d+)\.(\d+)", content)]
    return bool(versions) and all(
        version >= {12: (12, 4), 13: (13, 3)}.get(version[0], (14, 0)) for version in versions
    )


def _why_not_loaded(path: Path) -> str:
    said = " ".join(_said).lower()
    if "unknown model architecture" in said:
        return (
            f"{path}: this llama.cpp does not know the model's architecture ({last_words()}). Install a newer "
            f"llama-cpp-python ({INSTALL} --upgrade), or take backend='transformers'"
        )
    if "alloc" in said or "memory" in said:
        return (
            f"{path} does not fit into memory ({last_words()}): take a smaller quantisation, or fewer layers on the "
            "GPU (model_kwargs={'n_gpu_layers': …})"
        )
    return (
        f"{path} can't be loaded by llama.cpp ({last_words()}): it did not arrive whole, or is damaged. Fetch it "
        "again, or try backend='transformers'"
    )


def _larger_than_memory(weights: Weights, cells: int) -> str:
    """Say how much a context takes at least, if it is more than this machine has; "" if it is not.

    Without this, the machine would run out of memory while llama.cpp allocates it.
    """
    api, model = library(), weights.pointer
    if api.llama_supports_gpu_offload() or not hasattr(os, "sysconf"):
        return ""
    size = api.llama_model_n_embd(model) // max(1, api.llama_model_n_head(model))  # of a head
    cell = 2 * api.llama_model_n_layer(model) * api.llama_model_n_head_kv(model) * size // 2  # 4 bits a number
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if cells * cell < memory:
        return ""
    return f"at least {cells * cell / 1e9:.0f} GB, and this machine has {memory / 1e9:.0f}"


class _Outputs(Enum):
    """For which tokens of a part llama.cpp computes word logits."""

    NONE = "none"
    LAST = "last"
    ALL = "all"


class Context:
    """Sequences of tokens that a model has read, in one shared store of keys and values. For one thread at a time.

    Args:
        weights: The model.
        settings: How it runs.
        cells: How many tokens all sequences may have together; what sequences share counts once.
        sequences: How many sequences there may be.
        callback: What llama.cpp calls for each tensor that it computes; it must live as long.

    Attributes:
        cells: How many tokens all sequences may have together.
        most_states: Most tokens that `states` takes at once.
        most_tokens: Most tokens that `words` takes at once.

    Raises:
        UnsupportedModelError: There is not enough memory.
    """

    def __init__(
        self, weights: Weights, settings: LlamaCppSettings, cells: int, sequences: int, callback: Any = None
    ) -> None:
        self._api = api = library()
        self.cells = cells
        self._weights = weights  # which must live longer
        self._vocabulary = int(api.llama_vocab_n_tokens(weights.vocab))
        self._size = int(api.llama_model_n_embd_out(weights.pointer))
        self.most_tokens = _BATCH
        self.most_states = max(32, min(_BATCH, _MOST_LOGITS // self._vocabulary))
        params = settings.of_context(api.llama_context_default_params())
        params.n_ctx = cells
        params.n_batch = params.n_ubatch = _BATCH
        params.n_outputs_max = self.most_states
        params.n_seq_max = sequences
        params.pooling_type = api.LLAMA_POOLING_TYPE_NONE
        params.embeddings = True
        if callback is not None:
            params.cb_eval = callback
        # Sequences that begin alike share their beginning, and any of them can be cropped anywhere.
        params.kv_unified = params.swa_full = True
        _said.clear()
        self._pointer = None
        too_large = _larger_than_memory(weights, cells)
        if not too_large:
            self._pointer = api.llama_init_from_model(weights.pointer, params)
        if not self._pointer:
            raise UnsupportedModelError(
                f"{weights.path}: no memory for a context of {cells} tokens ({too_large or last_words()}). Take fewer "
                "(model_kwargs={'n_ctx': …}), or smaller keys and values (type_k='q8_0', type_v='q8_0')"
            )
        self._memory = api.llama_get_memory(self._pointer)
        self._tokens = np.zeros(_BATCH, dtype=np.int32)
        self._positions = np.zeros(_BATCH, dtype=np.int32)
        self._ones = np.ones(_BATCH, dtype=np.int32)
        self._sequences = np.zeros(_BATCH, dtype=np.int32)
        self._outputs = np.zeros(_BATCH, dtype=np.int8)
        pointer = ctypes.POINTER(ctypes.c_int32)
        start = self._sequences.ctypes.data
        self._sequence_pointers = (pointer * _BATCH)(
            *(ctypes.cast(start + 4 * i, pointer) for i in range(_BATCH))  # each token's list of one sequence
        )
        self._batch = api.llama_batch(
            n_tokens=0,
            token=self._tokens.ctypes.data_as(pointer),
            embd=None,
            pos=self._positions.ctypes.data_as(pointer),
            n_seq_id=self._ones.ctypes.data_as(pointer),
            seq_id=self._sequence_pointers,
            logits=self._outputs.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def __del__(self) -> None:
        # At the interpreter's end the module's functions are gone before this; the memory goes with the process.
        if getattr(self, "_pointer", None) and self._api.llama_free is not None:
            self._api.llama_free(self._pointer)

    def feed(self, sequence: int, tokens: Sequence[int], position: int) -> None:
        """Let a sequence read tokens, of which no states are wanted.

        Args:
            sequence: Its number.
            tokens: Token ids, any number.
            position: How many tokens it has read.

        Raises:
            NoRoomError: There are no cells left.
            LlamaCppError: llama.cpp failed.
            MemoryError: Memory ran out.
        """
        self._api.llama_set_embeddings(self._pointer, False)
        for start in range(0, len(tokens), _BATCH):
            self._decode([(sequence, tokens[start : start + _BATCH], position + start)], _Outputs.NONE)

    def words(self, parts: Sequence[Part]) -> Tensor:
        """Let sequences read tokens together, and return the word logits after the last token of each, without states.

        Args:
            parts: At most `most_tokens` tokens together, and `most_states` sequences.

        Returns:
            (n, V). It is valid until the next call.

        Raises:
            NoRoomError: There are no cells left.
            LlamaCppError: llama.cpp failed.
            MemoryError: Memory ran out.
        """
        self._api.llama_set_embeddings(self._pointer, False)
        self._decode(parts, _Outputs.LAST)
        logits = self._api.llama_get_logits(self._pointer)
        return torch.from_numpy(np.ctypeslib.as_array(logits, (len(parts), self._vocabulary)))

    def states(self, parts: Sequence[Part]) -> tuple[Tensor, Tensor]:
        """Let sequences read tokens together, and return all their states and word logits.

        Args:
            parts: At most `most_states` tokens together.

        Returns:
            Hidden states (n, d) after the final norm and word logits (n, V) of all tokens. They are valid until the
            next call.

        Raises:
            NoRoomError: There are no cells left.
            LlamaCppError: llama.cpp failed.
            MemoryError: Memory ran out.
        """
        self._api.llama_set_embeddings(self._pointer, True)
        count = self._decode(parts, _Outputs.ALL)
        logits = np.ctypeslib.as_array(self._api.llama_get_logits(self._pointer), (count, self._vocabulary))
        states = np.ctypeslib.as_array(self._api.llama_get_embeddings(self._pointer), (count, self._size))
        return torch.from_numpy(states), torch.from_numpy(logits)

    def share(self, sequence: int, other: int, length: int) -> None:
        """Let another, empty sequence begin with the first `length` tokens of this one."""
        self._api.llama_memory_seq_cp(self._memory, sequence, other, 0, length)

    def crop(self, sequence: int, length: int) -> None:
        """Let a sequence forget all tokens after its first `length`."""
        self._api.llama_memory_seq_rm(self._memory, sequence, length, -1)

    def _decode(self, parts: Sequence[Part], outputs: _Outputs) -> int:
        count = 0
        self._outputs[:] = outputs is _Outputs.ALL
        for sequence, tokens, position in parts:
            end = count + len(tokens)
            self._tokens[count:end] = tokens
            self._positions[count:end] = range(position, position + len(tokens))
            self._sequences[count:end] = sequence
            self._outputs[end - 1] = outputs is not _Outputs.NONE
            count = end
        self._batch.n_tokens = count
        code = self._api.llama_decode(self._pointer, self._batch)
        if code == 1:
            raise NoRoomError(f"{self._weights.path}: the context has no room for {count} more tokens")
        if code == -2:
            raise MemoryError(f"llama.cpp could not allocate memory ({last_words()})")
        if code:
            raise LlamaCppError(f"{self._weights.path}: llama.cpp stopped with code {code} ({last_words()})")
        return count
