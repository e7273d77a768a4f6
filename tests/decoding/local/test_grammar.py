"""Matchers: what may come next, what must, and when the JSON is whole."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_toolken.decoding.local.grammar import ArgumentGrammars
from langchain_toolken.tools.spec import ToolSpec
from tests.support.tiny import PADDED_ROWS, make_tokenizer

TOKENIZER = make_tokenizer()
VOCABULARY = len(TOKENIZER) + PADDED_ROWS
GRAMMARS = ArgumentGrammars(TOKENIZER, VOCABULARY, {1})
SPEC = ToolSpec(
    name="note",
    description="Note it.",
    json_schema={
        "type": "object",
        "properties": {"text": {"type": "string"}, "count": {"type": "integer"}},
        "required": ["text", "count"],
    },
)


@settings(deadline=None, max_examples=50)
@given(text=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12), count=st.integers())
def test_every_valid_json_passes_token_by_token(text: str, count: int) -> None:
    wanted = json.dumps({"text": text, "count": count}, separators=(",", ":"), ensure_ascii=False)
    matcher = GRAMMARS.matcher(SPEC)
    for token in TOKENIZER.encode(wanted, split_special_tokens=True):
        assert not matcher.done
        assert matcher.mask()[token]
        matcher.consume(token)
    assert matcher.done
    assert matcher.text() == wanted
    assert matcher.arguments() == {"text": text, "count": count}


def test_special_tokens_and_padding_rows_are_never_allowed() -> None:
    matcher = GRAMMARS.matcher(SPEC)
    matcher.force()
    mask = matcher.mask()
    assert mask.shape == (VOCABULARY,)
    assert mask.any()
    assert not mask[:5].any()
    assert not mask[len(TOKENIZER) :].any()


def test_what_must_come_is_forced() -> None:
    matcher = GRAMMARS.matcher(SPEC)
    forced = matcher.force()
    assert TOKENIZER.decode(forced).startswith('{"text":')
    assert matcher.ids == forced
    assert matcher.force() == []


def test_nothing_follows_a_whole_json() -> None:
    matcher = GRAMMARS.matcher(ToolSpec(name="now", description="Time.", json_schema={"type": "object"}))
    assert matcher.done
    assert matcher.arguments() == {}
    with pytest.raises(ValueError, match="now"):
        matcher.mask()
    with pytest.raises(ValueError, match="now"):
        matcher.consume(5)


def test_a_head_smaller_than_the_tokenizer_gets_a_mask_of_its_size() -> None:
    matcher = ArgumentGrammars(TOKENIZER, len(TOKENIZER) - 3, {1}).matcher(SPEC)
    assert matcher.mask().shape == (len(TOKENIZER) - 3,)


def test_a_disallowed_token_is_an_error_that_names_the_tool() -> None:
    matcher = GRAMMARS.matcher(SPEC)
    with pytest.raises(ValueError, match="note"):
        matcher.consume(TOKENIZER.convert_tokens_to_ids("9"))


def test_integers_beyond_what_python_parses_give_no_arguments() -> None:
    matcher = GRAMMARS.matcher(SPEC)
    digit = TOKENIZER.convert_tokens_to_ids("9")
    for token in [*TOKENIZER.encode('{"text":"","count":'), *[digit] * 5000, *TOKENIZER.encode("}")]:
        matcher.consume(token)
    assert matcher.done
    assert matcher.arguments() is None


def test_a_tokenizer_that_is_not_fast_is_refused() -> None:
    class Slow:
        pass

    with pytest.raises(ValueError, match="Slow"):
        ArgumentGrammars(Slow(), 10, {1})  # type: ignore[arg-type]
