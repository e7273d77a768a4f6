"""Hidden states of texts about tools, one LM pass for all of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from langchain_toolken.lm.fast_linear import fast_linear
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress

_BATCH = 16


@torch.inference_mode()
def text_states(lm: LanguageModel, ids: Sequence[list[int]], progress: Progress | None = None) -> list[Tensor]:
    """Hidden states (n, d) over each text's tokens, float32 on the CPU.

    The bos goes in front if the LM has one, and is not pooled: its state is the same for all tools, and often huge.
    """
    bos = [] if lm.tokenizer.bos_token_id is None else [lm.tokenizer.bos_token_id]
    texts = [[*bos, *i][: lm.context_length] for i in ids]
    states: list[Tensor] = [torch.empty(0)] * len(texts)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        length = max(len(texts[i]) for i in batch)
        # Padded on the right a causal LM's real positions never see the padding: any id may stand there, unmasked.
        input_ids = torch.tensor([texts[i] + [0] * (length - len(texts[i])) for i in batch], device=lm.device)
        with fast_linear(lm.device):
            hidden = lm.hidden_states(input_ids)
        for row, i in enumerate(batch):
            states[i] = hidden[row, len(bos) : len(texts[i])].float().cpu()
        if progress is not None:
            progress(start + len(batch), len(order), "prior")
    return states
