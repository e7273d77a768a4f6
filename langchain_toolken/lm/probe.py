"""Refuse a model whose logits or whose cache cannot be reproduced outside of it."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import DynamicCache

from langchain_toolken.lm.model import UnsupportedModelError
from langchain_toolken.lm.transformers_model import TransformersModel

PROBE_LENGTH = 12

# The largest accepted difference from the model's own logits, relative to their size. The head gets the same hidden
# states as in the model, so only the order of sums (batched or not) differs.
TOLERANCES = {torch.float32: 1e-4, torch.float64: 1e-4, torch.bfloat16: 1e-2, torch.float16: 2e-3}


def probe(lm: TransformersModel) -> None:
    """Check on a short prompt that the head on the decoder's states gives the model's logits, and that caches crop.

    Raises:
        UnsupportedModelError: One of the two fails. The message names the model, what differs, and where to look.
    """
    name = f"{lm.model_id} ({type(lm.model).__name__})"
    stride = max(1, (lm.vocab_size - 1) // PROBE_LENGTH)
    prompt = torch.tensor([[(1 + i * stride) % lm.vocab_size for i in range(PROBE_LENGTH)]], device=lm.device)
    with torch.inference_mode():
        own: Tensor = lm.model(input_ids=prompt, use_cache=False).logits.float()
        hidden = lm.hidden_states(prompt)
        if hidden.shape[-1] != lm.hidden_size:
            raise UnsupportedModelError(
                f"{name}: the decoder gives states of size {hidden.shape[-1]}, the output head takes {lm.hidden_size}; "
                "the model projects in between, which is not supported. Choose another model"
            )
        words = lm.head.word_logits(hidden)
        tolerance = TOLERANCES.get(lm.head.weight.dtype, max(TOLERANCES.values()))
        if different := difference(words, own, tolerance):
            raise UnsupportedModelError(
                f"{name}: word logits computed from the decoder's states differ from the model's own ({different}). "
                "The model changes its logits after the output head in a way that is not supported: look for a scale, "
                f"a multiplier or a soft-cap in its config (found: {lm.head.transform}), or choose another model"
            )
        cached = _with_cropped_cache(lm, prompt, name)
        # Attention over a cache is summed in another order than over a whole prompt; a lost state is off by far more.
        if different := difference(cached, own[:, -1], 10 * tolerance):
            raise UnsupportedModelError(
                f"{name}: continuing from a cropped cache gives other logits than a fresh run ({different}), as in "
                "models with recurrent or convolutional states. Choose a model with plain attention"
            )


def _with_cropped_cache(lm: TransformersModel, prompt: Tensor, name: str) -> Tensor:
    """Return the last position's word logits (1, V), from a cache that went one token too far and was cropped."""
    half = prompt.shape[1] // 2
    cache = DynamicCache()
    try:
        lm.hidden_states(torch.cat([prompt[:, :half], prompt[:, :1]], dim=1), cache=cache)
        cache.crop(-1)
        hidden = lm.hidden_states(prompt[:, half:], cache=cache)
    except (AttributeError, IndexError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        raise UnsupportedModelError(
            f"{name} does not work with a plain key-value cache that can be cropped ({type(error).__name__}: {error}). "
            "Choose a model with plain attention"
        ) from error
    return lm.head.word_logits(hidden[:, -1])


def difference(ours: Tensor, own: Tensor, tolerance: float) -> str:
    """Describe a difference from the model's logits of more than `tolerance` times their size; "" if there is none."""
    if ours.shape != own.shape:
        return f"shape {tuple(ours.shape)} instead of {tuple(own.shape)}"
    own = own.to(ours.device)
    size = own.abs().max().item()
    largest = (ours - own).abs().max().item()
    # "not <=" so that NaN counts as a difference.
    if not largest <= tolerance * max(size, 1e-6):
        return f"by up to {largest:.3g} on logits of size up to {size:.3g}"
    return ""
