"""Hidden states of short texts, such as tools' names and descriptions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from langchain_toolken.lm.fast_linear import fast_linear
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress

_BATCH = 16


@torch.inference_mode()
def text_states(
    lm: LanguageModel,
    ids: Sequence[list[int]],
    progress: Progress | None = None,
    what: str = "prior",
    *,
    depth: float = 1.0,
) -> list[Tensor]:
    """Run the LM over texts and return the hidden states of their tokens.

    The LM's bos token precedes each text and is not in the result: its state is the same for all texts, and often huge.

    Args:
        lm: The LM.
        ids: Token ids of each text, without special tokens.
        progress: Called after each batch.
        what: What the texts are read for, for `progress`.
        depth: After which part of the LM's layers; 1 for the states after the final norm.

    Returns:
        For each text a tensor (n, d), float32 on the CPU.
    """
    bos = [] if lm.tokenizer.bos_token_id is None else [lm.tokenizer.bos_token_id]
    texts = [[*bos, *i][: lm.context_length] for i in ids]
    states: list[Tensor] = [torch.empty(0)] * len(texts)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        length = max(len(texts[i]) for i in batch)
        # With padding on the right, real positions of a causal LM never see it: any id will do, and no mask is needed.
        input_ids = torch.tensor([texts[i] + [0] * (length - len(texts[i])) for i in batch], device=lm.device)
        with fast_linear(lm.device):
            hidden = lm.hidden_states(input_ids) if depth == 1 else lm.inner_states(input_ids, depth)
        for row, i in enumerate(batch):
            states[i] = hidden[row, len(bos) : len(texts[i])].float().cpu()
        if progress is not None:
            progress(start + len(batch), len(order), what)
    return states
