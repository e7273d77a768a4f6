"""Scores of continuations of a prompt under the LM alone, without toolkens."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from transformers import DynamicCache

from langchain_toolken.decoding.local.cache import PrefixCache
from langchain_toolken.lm.transformers_model import TransformersModel


def score_continuations(
    lm: TransformersModel, prefixes: PrefixCache, prompt: Sequence[int], continuations: Sequence[Sequence[int]]
) -> list[float]:
    """Compute the mean log-probability per token of each continuation.

    The mean, and not the sum, so that a long continuation is not at a disadvantage. The prompt runs once, starting from
    the prefix cache. The continuations then run as one batch, padded on the right, where causal attention never looks.

    Args:
        lm: The LM.
        prefixes: Where the prompt finds its beginning, and leaves its cache.
        prompt: Token ids.
        continuations: Token ids, each with at least one token.

    Returns:
        One mean for each continuation, in nats per token.

    Raises:
        ValueError: The prompt or a continuation is empty.
    """
    if not prompt or not all(continuations):
        raise ValueError("a prompt and each of its continuations need at least one token to be scored")
    if not continuations:
        return []
    with torch.inference_mode():
        cache, reused = prefixes.take(prompt)
        hidden = lm.hidden_states(torch.tensor([prompt[reused:]], device=lm.device), cache=cache)[:, -1]
        prefixes.put(prompt, cache)
        first = lm.head.word_logits(hidden)[0].log_softmax(dim=-1)
        totals = [float(first[tokens[0]]) for tokens in continuations]
        width = max(len(tokens) for tokens in continuations) - 1
        if width:
            branches = DynamicCache()
            branches.layers = [copy.copy(layer) for layer in cache.layers]  # the cached entry stays unchanged
            branches.batch_repeat_interleave(len(continuations))
            ids = [[*tokens[:-1], *[0] * (width + 1 - len(tokens))] for tokens in continuations]
            states = lm.hidden_states(torch.tensor(ids, device=lm.device), cache=branches)
            for row, tokens in enumerate(continuations):
                if len(tokens) > 1:
                    logits = lm.head.word_logits(states[row, : len(tokens) - 1]).log_softmax(dim=-1)
                    following = torch.tensor(tokens[1:], device=logits.device)
                    totals[row] += float(logits.gather(1, following[:, None]).sum())
        return [total / len(tokens) for total, tokens in zip(totals, continuations, strict=True)]
