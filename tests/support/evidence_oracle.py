"""What evidence says after a text, from its formulas in float64 and the model's own states of the whole text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.requests import Request
from langchain_toolken.toolkens.set import ToolkenSet

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Expected:
    """When and which after one text.

    Attributes:
        words: The model's own word logits (V,).
        toolkens: The toolkens' logits (K,), −inf for tools that are not active.
        lead: By how much a call beats the best word, greedily: a call is made where it is above 0.
        call: p(call).
        shares: p(k | call), (K,).
        mean: The mean state of the request.
    """

    words: Array
    toolkens: Array
    lead: float
    call: float
    shares: Array
    mean: Array


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max())
    normalised: Array = powers / powers.sum()
    return normalised


def logsumexp(logits: Array) -> float:
    return float(logits.max() + np.log(np.exp(logits - logits.max()).sum()))


def states_and_words(lm: LanguageModel, ids: Sequence[int]) -> tuple[Array, Array]:
    """What the model's output head was given at every token (T, d), and the model's logits after the last one (V,)."""
    seen: list[torch.Tensor] = []
    head: Any = lm.model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        with torch.inference_mode():
            words = lm.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0, -1]
    finally:
        hook.remove()
    return seen[0][0].double().numpy(), words.double().numpy()


def expected(
    lm: LanguageModel,
    ids: Sequence[int],
    toolkens: ToolkenSet,
    request: Request,
    active: Collection[str] | None = None,
) -> Expected:
    evidence = toolkens.evidence
    assert evidence is not None
    states, words = states_and_words(lm, ids)
    state, mean = states[-1], states[request.span[0] : request.span[1]].mean(axis=0)
    plain = toolkens.matrix.double().numpy() @ state + toolkens.biases.double().numpy()
    which = evidence.scale * plain
    if evidence.request_rows is not None:
        which = which + evidence.request_rows.double().numpy() @ mean
    for match in evidence.lexical:
        which = which + match.weight * match.scores(request.text).double().numpy()
    off = np.array([active is not None and name not in active for name in toolkens.names])
    plain, which = np.where(off, -np.inf, plain), np.where(off, -np.inf, which)
    gate = evidence.gate
    if gate is None:
        lead = float(plain.max() - words.max())
        call = float(1 / (1 + np.exp(logsumexp(words) - logsumexp(plain))))
    else:
        odds = gate.state.double().numpy() @ state + gate.request.double().numpy() @ mean + gate.constant
        lead, call = float(odds - gate.threshold), float(1 / (1 + np.exp(-odds)))
    return Expected(words, plain, lead, call, softmax(which), mean)
