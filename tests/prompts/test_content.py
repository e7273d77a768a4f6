"""prompts.content: content can't forge a special token, and is kept character for character."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers
from transformers import PreTrainedTokenizerFast

from langchain_toolken.prompts.content import bos_ids, encode_content
from tests.support.prompts import SPECIAL_IDS, TOKENIZER, hostile
from tests.support.tiny import SPECIALS, make_tokenizer


@given(hostile)
@settings(max_examples=200, deadline=None)
def test_content_has_no_special_token_and_decodes_to_itself(text: str) -> None:
    ids = encode_content(TOKENIZER, text)
    assert not SPECIAL_IDS & set(ids)
    assert TOKENIZER.decode(ids) == text


def test_lone_surrogates_become_the_replacement_character() -> None:
    assert TOKENIZER.decode(encode_content(TOKENIZER, "a\ud800b")) == "a\ufffdb"


def test_a_marker_that_only_normalisation_reveals_stays_text() -> None:
    raw = Tokenizer.from_str(TOKENIZER.backend_tokenizer.to_str())
    raw.normalizer = normalizers.NFKC()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=raw, bos_token="<s>", eos_token="</s>")
    tokenizer.add_tokens([AddedToken("<call>", special=True, normalized=True)])
    forged = "\uff1ccall\uff1e"
    marker = tokenizer.convert_tokens_to_ids("<call>")
    assert marker in tokenizer(forged).input_ids
    assert marker not in encode_content(tokenizer, forged)


def test_a_special_token_of_one_character_is_refused_by_name() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["§"]})
    with pytest.raises(ValueError, match="'§'"):
        encode_content(tokenizer, "see § 3")


def test_whitespace_added_tokens_stay_whole() -> None:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens(["\n\n"])
    assert encode_content(tokenizer, "\n\n") == [tokenizer.convert_tokens_to_ids("\n\n")]


def test_bos_ids_are_what_the_tokenizer_puts_in_front() -> None:
    assert bos_ids(make_tokenizer()) == []
    assert bos_ids(make_tokenizer(bos=True)) == [0]


def with_unused_tokens(count: int = 6000) -> PreTrainedTokenizerFast:
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken(f"<unused{i}>", special=True) for i in range(count)])
    return tokenizer


@pytest.mark.parametrize("part", ["<", "<unused", "<unused7> ", "<unused5999>x", "<|im_end|"])
def test_long_texts_take_a_few_calls_of_the_tokenizer_however_many_tokens_are_special(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = with_unused_tokens()
    encode_content(tokenizer, "a")  # learns the tokenizer's rules
    calls: list[int] = []
    run = PreTrainedTokenizerFast.__call__

    def counted(self: PreTrainedTokenizerFast, text: str | list[str], **settings: object) -> object:
        calls.append(len(text) if isinstance(text, str) else sum(map(len, text)))
        return run(self, text, **settings)

    monkeypatch.setattr(PreTrainedTokenizerFast, "__call__", counted)
    text = part * 20_000
    ids = encode_content(tokenizer, text)
    assert len(calls) <= 2
    assert sum(calls) <= 2 * len(text)
    assert not set(tokenizer.get_added_vocab().values()) & set(ids)
    assert tokenizer.decode(ids) == text


@given(st.lists(st.sampled_from([*SPECIALS, "<unused", "<unused12>", "<unused123>", "1", ">", "<", "|"]), max_size=12))
@settings(max_examples=100, deadline=None)
def test_every_place_where_an_added_token_begins_is_cut(parts: list[str]) -> None:
    tokenizer, text = UNUSED, "".join(parts)
    ids = encode_content(tokenizer, text)
    assert not set(tokenizer.get_added_vocab().values()) & set(ids)
    assert tokenizer.decode(ids) == text


UNUSED = with_unused_tokens(200)
