"""Scoring: continuations' log-probabilities equal those of a plain forward pass, whatever is cached or padded."""

from __future__ import annotations

import pytest
import torch

from langchain_toolken.decoding.engine import DecodingRequest, PromptTooLongError, Sampling
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from tests.support.tiny import CONTEXT_LENGTH, make_model, make_tokenizer

PROMPT = [0, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50]
CONTINUATIONS = [[60], [61, 62, 63], [64, 65], [66, 67, 68, 69, 70, 71]]


def plainly(lm: LanguageModel, continuation: list[int]) -> float:
    with torch.no_grad():
        logits = lm.model(torch.tensor([[*PROMPT, *continuation]])).logits[0].float().log_softmax(dim=-1)
    scores = [float(logits[len(PROMPT) - 1 + i, token]) for i, token in enumerate(continuation)]
    return sum(scores) / len(scores)


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "cohere"])
def test_scores_are_the_models_own_mean_log_probabilities(architecture: str) -> None:
    lm = load_language_model(make_model(architecture), tokenizer=make_tokenizer())
    engine = TransformersEngine(lm)
    expected = [plainly(lm, continuation) for continuation in CONTINUATIONS]
    assert engine.score(PROMPT, CONTINUATIONS) == pytest.approx(expected, abs=1e-4)
    # From the prefix cache, and without one.
    assert engine.score(PROMPT, CONTINUATIONS) == pytest.approx(expected, abs=1e-4)
    assert TransformersEngine(lm, cached_prefixes=0).score(PROMPT, CONTINUATIONS) == pytest.approx(expected, abs=1e-4)


def test_scoring_leaves_the_cache_as_the_prompts_own() -> None:
    lm = load_language_model(make_model("llama"), tokenizer=make_tokenizer())
    engine = TransformersEngine(lm)
    sampling = Sampling(max_tokens=6)
    expected = TransformersEngine(lm).reason([PROMPT], DecodingRequest(sampling))[0]
    engine.score(PROMPT, CONTINUATIONS)
    after = engine.reason([PROMPT], DecodingRequest(sampling))[0]
    assert after.token_ids == expected.token_ids
    assert after.reused_tokens == len(PROMPT) - 1


def test_what_can_not_be_scored_is_refused() -> None:
    lm = load_language_model(make_model("llama"), tokenizer=make_tokenizer())
    engine = TransformersEngine(lm)
    assert engine.score(PROMPT, []) == []
    with pytest.raises(ValueError, match="at least one token"):
        engine.score(PROMPT, [[60], []])
    with pytest.raises(PromptTooLongError, match=f"context of {CONTEXT_LENGTH}"):
        engine.score([40] * (CONTEXT_LENGTH - 2), [[60, 61, 62]])
