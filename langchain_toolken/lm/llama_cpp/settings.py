"""`LlamaCppSettings`: what can be set of a model in llama.cpp."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langchain_toolken.errors import ToolkenError

MOST_CELLS = 8192
"""Default limit of the context: 0.2 GB of keys and values for an LM of 135M, 1 GB for one of 8B."""

KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
_TYPES: dict[str, int] = {
    "f32": 0,
    "f16": 1,
    "q4_0": 2,
    "q4_1": 3,
    "q5_0": 6,
    "q5_1": 7,
    "q8_0": 8,
    "bf16": 30,
}  # ggml_type


class LlamaCppArgumentError(ToolkenError, ValueError):
    """A setting of llama.cpp is not understood."""


class LlamaCppSettings(BaseModel):
    """How llama.cpp runs a model.

    Attributes:
        n_ctx: How many tokens may be in use together, those of all texts that run at once and of cached beginnings;
            what texts share counts once. No text may be longer. None takes what the LM was made for, at most
            `MOST_CELLS`.
        n_gpu_layers: How many layers run on the GPU; -1 for all. Without effect where llama.cpp was built for CPUs.
        n_threads: Threads for one token a text; None takes as many as torch, which heeds OMP_NUM_THREADS. More
            than there are free CPUs make it many times slower.
        n_threads_batch: Threads for prompts; None takes `n_threads`.
        repack: Whether llama.cpp may lay weights out anew for the CPU, which is faster. None leaves it out where that
            would use AMX and a gcc compiled llama.cpp that gets it wrong, since llama.cpp ends the process there.
        flash_attn: Whether to compute attention in one piece; None lets llama.cpp decide. Quantised values need it.
        type_k: How keys are kept. "q8_0" takes half the memory of "f16".
        type_v: How values are kept.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_ctx: int | None = Field(default=None, ge=32)
    n_gpu_layers: int = Field(default=-1, ge=-1)
    n_threads: int | None = Field(default=None, ge=1)
    n_threads_batch: int | None = Field(default=None, ge=1)
    repack: bool | None = None
    flash_attn: bool | None = None
    type_k: KvType = "f16"
    type_v: KvType = "f16"

    @classmethod
    def of(cls, given: dict[str, Any]) -> LlamaCppSettings:
        """Check settings.

        Raises:
            LlamaCppArgumentError: One is unknown or has a wrong value; the message names it.
        """
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            (first, *_) = error.errors()
            name = ".".join(map(str, first["loc"]))
            raise LlamaCppArgumentError(
                f"{name}={given.get(name)!r} is no setting of llama.cpp here ({first['msg']}): it takes "
                f"{', '.join(cls.model_fields)}. Arguments of transformers' from_pretrained need backend='transformers'"
            ) from error

    def cells(self, context_length: int) -> int:
        """Return how many tokens may be in use together, for an LM made for texts of `context_length`."""
        return self.n_ctx or min(context_length, MOST_CELLS)

    def of_context(self, params: Any) -> Any:
        """Set these settings in llama.cpp's parameters of a context."""
        params.n_threads = self.n_threads or torch.get_num_threads()
        params.n_threads_batch = self.n_threads_batch or params.n_threads
        params.flash_attn_type = -1 if self.flash_attn is None else int(self.flash_attn)
        params.type_k, params.type_v = _TYPES[self.type_k], _TYPES[self.type_v]
        return params
