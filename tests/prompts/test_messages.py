"""prompts.messages: what the LM goes on from is the sentence itself, in either style."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from transformers import PreTrainedTokenizerFast

from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import answer_so_far, render
from langchain_toolken.prompts.turns import join_result
from tests.support.prompts import COMPLETION, INLINE, TOKENIZER, call, hostile, special_ids
from tests.support.tiny import make_tokenizer


@given(user=hostile, result=hostile)
@settings(max_examples=100, deadline=None)
def test_a_completion_prompt_holds_no_special_token_but_the_bos(user: str, result: str) -> None:
    tokenizer = make_tokenizer_with_bos()
    messages = [HumanMessage(user), AIMessage("It is", tool_calls=[call()]), ToolMessage(result, tool_call_id="1")]
    ids = render(tokenizer, messages, COMPLETION)
    assert special_ids(ids) == ["<s>"]
    assert tokenizer.decode(ids[1:]) == f"Q: {user}\nA: {join_result('It is', result)}"


def make_tokenizer_with_bos(cache: list[PreTrainedTokenizerFast] = []) -> PreTrainedTokenizerFast:  # noqa: B006
    if not cache:
        cache.append(make_tokenizer(bos=True))
    return cache[0]


def test_completion_style_lays_out_questions_and_answers() -> None:
    messages = [
        SystemMessage("Be brief."),
        HumanMessage("How many?"),
        AIMessage("It is 4096*27=", tool_calls=[call()]),
        ToolMessage("110592", tool_call_id="1"),
        AIMessage(" pens."),
        HumanMessage("And?"),
    ]
    prompt_format = PromptFormat("completion", few_shot="Q: 1+1?\nA: 2\n\n")
    assert TOKENIZER.decode(render(TOKENIZER, messages, prompt_format)) == (
        "Q: 1+1?\nA: 2\n\nBe brief.\n\nQ: How many?\nA: It is 4096*27=110592 pens.\n\nQ: And?\nA:"
    )


@pytest.mark.parametrize("prompt_format", [COMPLETION, INLINE], ids=["completion", "chat"])
def test_inline_history_renders_to_the_ids_of_the_sentence_itself(prompt_format: PromptFormat) -> None:
    pieces = [
        HumanMessage("How many?"),
        AIMessage("The boxes hold 4096*27=", tool_calls=[call()]),
        ToolMessage("110592", tool_call_id="1"),
        AIMessage(" pens, and 2 boxes", tool_calls=[call("2")]),
        ToolMessage("8192", tool_call_id="2"),
    ]
    sentence = "The boxes hold 4096*27=110592 pens, and 2 boxes 8192"
    whole = [HumanMessage("How many?"), AIMessage(sentence)]
    assert render(TOKENIZER, pieces, prompt_format) == render(TOKENIZER, whole, prompt_format)
    assert answer_so_far(pieces, "inline") == sentence
