"""Check that llama.cpp's hidden states are those that its word logits come from, and that its cache crops."""

from __future__ import annotations

import torch

from langchain_toolken.lm.llama_cpp.model import LlamaCppModel
from langchain_toolken.lm.model import UnsupportedModelError

_LENGTH = 12
_ROWS = 64
_CELLS = 256
# llama.cpp rounds states to 8 bits before a product with packed weights, which is off by less than a hundredth.
_TOLERANCE = 0.03
# The rounding depends on how many tokens are read at once: with Gemma 3 270M (Q4_K_M) a text that is read in two parts
# differs by 4%, also without a crop. One wrong token in the cache makes 20% and more there.
_CROPPED_TOLERANCE = 0.1


def probe(lm: LlamaCppModel) -> None:
    """Compare some rows of the head on the states of a short text with the logits, whole and from a cropped cache.

    Raises:
        UnsupportedModelError: They differ. The message names the file and what differs.
    """
    stride = max(1, (lm.vocab_size - 1) // _LENGTH)
    ids = [(1 + i * stride) % lm.vocab_size for i in range(_LENGTH)]
    words = [i * (lm.vocab_size - 1) // (_ROWS - 1) for i in range(_ROWS)]
    context = lm.context(sequences=2, cells=_CELLS)
    states, logits = (found.clone() for found in context.states([(0, ids, 0)]))
    computed = lm.transform(states @ lm.head_rows(words).T)
    if different := _difference(computed, logits[:, words], _TOLERANCE):
        raise UnsupportedModelError(
            f"{lm.model_id}: word logits computed from llama.cpp's states differ from its own ({different}). The model "
            "changes its logits after the output head in a way that is not supported: take backend='transformers', or "
            "another model"
        )
    half = _LENGTH // 2
    context.share(0, 1, _LENGTH)
    context.crop(1, half)
    _, again = context.states([(1, ids[half:], half)])
    if different := _difference(again[-1], logits[-1], _CROPPED_TOLERANCE):
        raise UnsupportedModelError(
            f"{lm.model_id}: continuing from a cropped cache gives other logits than a fresh run ({different}). Choose "
            "a model with plain attention"
        )


def _difference(ours: torch.Tensor, own: torch.Tensor, tolerance: float) -> str:
    size, largest = own.abs().max().item(), (ours - own).abs().max().item()
    # "not <=" so that NaN counts as a difference.
    return (
        "" if largest <= tolerance * max(size, 1e-6) else f"by up to {largest:.3g} on logits of size up to {size:.3g}"
    )
