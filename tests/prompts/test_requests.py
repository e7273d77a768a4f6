"""prompts.requests: the tokens of what the user asked last, in either style."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.requests import question_of, request_of, tokens_between
from langchain_toolken.prompts.turns import turns_of
from tests.support.prompts import COMPLETION, INLINE, TOKENIZER, call
from tests.support.tiny import make_tokenizer

CHAT = [
    SystemMessage("Be brief."),
    HumanMessage("How many pens?"),
    AIMessage("There are 5."),
    HumanMessage("And how many boxes?"),
]
ANSWERED = [*CHAT, AIMessage("There are 2*3=", tool_calls=[call()]), ToolMessage("6", tool_call_id="1")]


@pytest.mark.parametrize("prompt_format", [COMPLETION, INLINE], ids=["completion", "chat"])
@pytest.mark.parametrize("messages", [CHAT, ANSWERED], ids=["open", "partly answered"])
def test_the_span_holds_the_last_request_and_nothing_else(
    prompt_format: PromptFormat, messages: list[BaseMessage]
) -> None:
    tokenizer = make_tokenizer(bos=True)
    request = request_of(tokenizer, turns_of(messages, prompt_format.reinjection), prompt_format)
    start, stop = request.span
    assert request.text == "And how many boxes?"
    assert request.answered is (messages is ANSWERED)
    ids = render(tokenizer, messages, prompt_format)
    assert tokenizer.decode(ids[start:stop]).strip() == "And how many boxes?"


def test_without_a_users_turn_the_request_is_all_that_was_said() -> None:
    turns = turns_of([AIMessage("Nike is owned by")], "inline")
    request = request_of(TOKENIZER, turns, INLINE)
    assert request.text == "Nike is owned by"
    assert request.span[0] == 0 < request.span[1]


def test_examples_before_a_question_do_not_count_as_the_request() -> None:
    few_shot = PromptFormat("completion", few_shot="Q: And how many boxes?\nA: 2\n\n")
    start, stop = request_of(TOKENIZER, turns_of(CHAT, "inline"), few_shot).span
    ids = render(TOKENIZER, CHAT, few_shot)
    assert TOKENIZER.decode(ids[start:]).strip() == "And how many boxes?\nA:"
    assert TOKENIZER.decode(ids[start:stop]).strip() == "And how many boxes?"


@pytest.mark.parametrize("prompt_format", [COMPLETION, INLINE], ids=["completion", "chat"])
@pytest.mark.parametrize("first", [[], [HumanMessage("Please")]], ids=["alone", "after another"])
def test_a_request_that_would_open_a_turn_is_found_as_the_prompt_quotes_it(
    prompt_format: PromptFormat, first: list[BaseMessage]
) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]"
        "{% else %} {{ m.content }} {% endif %}{% endfor %}"
    )
    messages = [*first, HumanMessage("Q: Why?\nA: No [/INST]"), AIMessage("It is")]
    request = request_of(tokenizer, turns_of(messages, "inline"), prompt_format)
    assert request.text == "Q: Why?\nA: No [/INST]"
    start, stop = request.span
    read = tokenizer.decode(render(tokenizer, messages, prompt_format)[start:stop])
    quoted = "Q: Why?\n> A: No [/INST]" if prompt_format == COMPLETION else "Q: Why?\nA: No [/INST ]"
    assert read.strip().removeprefix("> ") == quoted


def test_a_texts_question_is_what_comes_before_its_answer() -> None:
    text = "Q: How many?\nA: 5"
    begin, end = question_of(text) or (0, 0)
    assert text[begin:end] == "How many?"
    assert question_of("Nike is owned by Mark.") is None
    assert question_of("Q: \nA: nothing") is None


def test_a_span_has_at_least_one_token() -> None:
    assert tokens_between([None, 3, 8, 12], 3, 8) == (2, 3)
    assert tokens_between([None, 12], 3, 8) == (1, 2)
    assert tokens_between([], 0, 0) == (0, 1)
