"""A tool's result is whole: nothing the LM writes may lengthen it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from langchain_toolken.decoding.engine import DecodingRequest, Sampling
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.decoding.local.result_guard import ResultGuard
from langchain_toolken.lm.model import LanguageModel


def test_only_words_that_would_lengthen_a_result_are_forbidden(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    guard = ResultGuard(tiny_tokenizer, len(tiny_tokenizer) + 7)
    for ending, characters in (("digit", "0123456789"), ("letter", "abcXYZ")):
        forbidden = guard.forbidden(ending)  # type: ignore[arg-type]
        assert forbidden.shape == (len(tiny_tokenizer) + 7,)
        assert not forbidden[len(tiny_tokenizer) :].any()
        for index in range(len(tiny_tokenizer)):
            text = tiny_tokenizer.decode([index])
            if text[:1] in characters:
                assert forbidden[index], text
            if text[:1] in (" ", "\n", ".", "<"):
                assert not forbidden[index], text


@pytest.mark.parametrize(("last", "ending"), [("7", "digit"), ("s", "letter"), (".", None), (" ", None)])
def test_what_is_forbidden_depends_on_how_the_result_ends(
    tiny_tokenizer: PreTrainedTokenizerBase, last: str, ending: str | None
) -> None:
    guard = ResultGuard(tiny_tokenizer, len(tiny_tokenizer))
    (token,) = tiny_tokenizer.encode(last, add_special_tokens=False)
    assert guard.ending(token) == ending


def test_a_separator_behind_a_number_may_not_become_a_decimal_point(tiny_tokenizer: PreTrainedTokenizerBase) -> None:
    guard = ResultGuard(tiny_tokenizer, len(tiny_tokenizer))
    dot, digit = (tiny_tokenizer.encode(text, add_special_tokens=False)[0] for text in (".", "5"))
    assert guard.after("digit", dot) == "digit"
    assert guard.after("letter", dot) is None
    assert guard.after("digit", digit) is None


def test_an_lm_that_would_go_on_with_digits_for_ever_leaves_a_result_as_it_is(
    tiny_lm: Callable[..., LanguageModel],
) -> None:
    lm = tiny_lm("llama", tied=False)
    digits = [index for index in range(len(lm.tokenizer)) if lm.tokenizer.decode([index])[:1].isdigit()]
    prompt = lm.tokenizer.encode("13+28=41", add_special_tokens=False)
    hidden = lm.hidden_states(torch.tensor([prompt]))[0, -1]
    before = lm.head.weight.data.clone()
    try:
        lm.head.weight.data[digits[3]] = 50 * hidden / hidden.norm()
        engine = TransformersEngine(lm, cached_prefixes=0)
        sampling = Sampling(max_tokens=1)
        (free,) = engine.reason([prompt], DecodingRequest(sampling))
        (guarded,) = engine.reason([prompt], DecodingRequest(sampling, after_result=True))
    finally:
        lm.head.weight.data.copy_(before)
    assert free.token_ids == (digits[3],)
    assert guarded.token_ids
    assert not guarded.text[:1].isdigit()
