"""decoding.local.tokens_by_text: which tokens begin a text, and which text a token has."""

from __future__ import annotations

from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel


def test_a_text_begins_with_the_tokenizers_own_token_and_every_token_is_found_by_its_first_character(
    tiny_llama: LanguageModel,
) -> None:
    tokens = TransformersEngine(tiny_llama).grammars.tokens_by_text
    (first,) = tokens.beginning("paris")
    assert "paris".startswith(tokens.text(first))
    assert first in tokens.beginning_with("p")
    assert all(tokens.text(token).startswith("p") for token in tokens.beginning_with("p"))
    assert tokens.text(tiny_llama.tokenizer.eos_token_id) == ""
