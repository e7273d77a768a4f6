"""Hidden states of short texts, such as tools' names and descriptions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from langchain_toolken.lm.fast_linear import fast_linear
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.transformers_model import SharedBeginning, TransformersModel
from langchain_toolken.progress import Progress

_BATCH = 16
# A shorter beginning is not worth a cache.
_LEAST_SHARED = 8


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


@torch.inference_mode()
def prompt_states(
    lm: LanguageModel,
    prompts: Sequence[Sequence[int]],
    spans: Sequence[tuple[int, int]],
    progress: Progress | None = None,
    what: str = "requests",
) -> tuple[Tensor, Tensor]:
    """Run the LM over prompts, what they all begin with only once.

    Args:
        lm: The LM.
        prompts: Token ids of each, at least one.
        spans: A part of each, as (start, stop).
        progress: Called after each batch.
        what: What the prompts are read for, for `progress`.

    Returns:
        The last state of each prompt (n, d), and the mean state of its part (n, d): float32 on the CPU.
    """
    shared = shared_beginning(lm, prompts)
    last, means = torch.empty(len(prompts), lm.hidden_size), torch.empty(len(prompts), lm.hidden_size)
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        length = max(len(prompts[i]) for i in batch)
        ids = torch.tensor([[*prompts[i], *[0] * (length - len(prompts[i]))] for i in batch], device=lm.device)
        with fast_linear(lm.device):
            if shared is not None and isinstance(lm, TransformersModel):
                hidden = shared.continued(lm, ids)
            else:
                hidden = lm.hidden_states(ids)
        for row, i in enumerate(batch):
            last[i] = hidden[row, len(prompts[i]) - 1].float().cpu()
            means[i] = hidden[row, slice(*spans[i])].float().mean(dim=0).cpu()
        if progress is not None:
            progress(start + len(batch), len(order), what)
    return last, means


def shared_length(lm: LanguageModel, texts: Sequence[Sequence[int]]) -> int:
    """Count the tokens that all texts begin with; 0 if they are too few to pay, or run each time.

    At least one token of each text is left.
    """
    if len(texts) < 2 or not isinstance(lm, TransformersModel):
        return 0
    listed = [list(text) for text in texts]
    first, last = min(listed), max(listed)  # what these two share, all share
    most = min(map(len, listed)) - 1
    count = next((i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), most)
    count = min(count, most)
    return count if count >= _LEAST_SHARED else 0


@torch.inference_mode()
def shared_beginning(lm: LanguageModel, texts: Sequence[Sequence[int]]) -> SharedBeginning | None:
    """Run what all texts begin with; None if that is too short to pay, or the LM can't go on from it."""
    count = shared_length(lm, texts)
    if not count or not isinstance(lm, TransformersModel):
        return None
    with fast_linear(lm.device):
        return SharedBeginning.of(lm, texts[0][:count])


@torch.inference_mode()
def next_word_logits(lm: LanguageModel, texts: Sequence[list[int]]) -> Tensor:
    """Return the word logits (n, V) that follow each text."""
    width = max(map(len, texts))
    ids = torch.tensor([text + [0] * (width - len(text)) for text in texts], device=lm.device)
    with fast_linear(lm.device):
        states = lm.hidden_states(ids)
    last = torch.tensor([len(text) - 1 for text in texts], device=states.device)
    return lm.head.word_logits(states[torch.arange(len(texts), device=states.device), last].to(lm.head_device)).cpu()
