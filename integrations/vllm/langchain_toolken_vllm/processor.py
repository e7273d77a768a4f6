"""`ToolkenProcessor`: tells the batch which request is where, and leaves vLLM's sampler only the chosen tokens."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import ValidationError
from vllm import SamplingParams
from vllm.v1.sample.logits_processor import BatchUpdate, LogitsProcessor, MoveDirectionality

from langchain_toolken.decoding.vllm.batch import ServedBatch
from langchain_toolken.decoding.vllm.served import ServedLM
from langchain_toolken.decoding.vllm.wire import VERSION, XARG, Asked
from langchain_toolken_vllm import PREFIX, state


class ToolkenProcessor(LogitsProcessor):
    """A logits processor of vLLM; see the module."""

    def __init__(self, vllm_config: Any, device: torch.device, is_pin_memory: bool) -> None:
        model = vllm_config.model_config
        served = None
        if any(name.startswith(PREFIX) for name in model.architectures):
            served = ServedLM.of_folder(model.model, device)
        state.batch = None if served is None else ServedBatch(served)

    @classmethod
    def validate_params(cls, sampling_params: SamplingParams) -> None:
        """Refuse a task that the plugin can't read, before it reaches the worker."""
        asked(sampling_params)

    def is_argmax_invariant(self) -> bool:
        """Return False: it decides what is drawn."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follow what vLLM did to its batch."""
        if batch_update is None or state.batch is None:
            return
        state.batch.remove(batch_update.removed)
        for place, params, prompt, _ in batch_update.added:
            state.batch.add(place, prompt or (), asked(params))
        for source, target, direction in batch_update.moved:
            state.batch.move(source, target, swap=direction == MoveDirectionality.SWAP)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Force the chosen tokens."""
        return logits if state.batch is None else state.batch.force(logits)


def asked(params: SamplingParams) -> Asked | None:
    """Read what a request wants of the plugin; None if nothing.

    Raises:
        ValueError: It can't be read. vLLM answers with it.
    """
    content = (params.extra_args or {}).get(XARG)
    if content is None:
        return None
    try:
        return Asked.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(
            f"the langchain-toolken-vllm plugin (version {VERSION} of its tasks) can't read a request: "
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}. Install the same langchain-toolken on both sides"
        ) from error
