"""A demonstration's call is at the position where the agent would make it."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.training.features.layout import render_demonstration
from tests.support.prompts import TOKENIZER, special_ids
from tests.support.tiny import make_tokenizer

TEXT = "Q: How many pens?\nA: The boxes hold 4096*27=110592 pens."


@pytest.mark.parametrize("style", ["completion", "chat"])
def test_a_demonstrations_call_stands_where_the_agent_would_stand(style: str) -> None:
    tokenizer = make_tokenizer(bos=True)
    demonstration = render_demonstration(tokenizer, TEXT, [TEXT.index("110592")], style)  # type: ignore[arg-type]
    (position,) = demonstration.call_positions
    assert position is not None
    live = render(
        tokenizer, [HumanMessage("How many pens?"), AIMessage("The boxes hold 4096*27=")], PromptFormat(style)
    )  # type: ignore[arg-type]
    assert list(demonstration.ids[: position + 1]) == live
    prompt = render(tokenizer, [HumanMessage("How many pens?")], PromptFormat(style))  # type: ignore[arg-type]
    assert list(demonstration.ids[: demonstration.first_supervised + 1]) == prompt
    assert demonstration.ends[position] == TEXT.index("110592")
    assert len(demonstration.ends) == len(demonstration.ids)


def test_a_chat_demonstration_ends_its_turn_and_a_completion_keeps_its_text() -> None:
    chat = render_demonstration(TOKENIZER, TEXT, [], "chat")
    assert TOKENIZER.decode(chat.ids).endswith("pens.<|im_end|>\n")
    completion = render_demonstration(TOKENIZER, TEXT, [], "completion")
    assert TOKENIZER.decode(completion.ids) == TEXT
    assert completion.ends[-1] == len(TEXT)


@pytest.mark.parametrize("style", ["completion", "chat"])
def test_calls_in_the_question_or_beyond_the_text_have_no_position(style: str) -> None:
    starts = [3, len(TEXT) + 1, TEXT.index("The boxes")]
    demonstration = render_demonstration(TOKENIZER, TEXT, starts, style)  # type: ignore[arg-type]
    assert demonstration.call_positions == (None, None, demonstration.first_supervised)


@pytest.mark.parametrize("style", ["completion", "chat"])
def test_a_text_without_question_is_supervised_whole(style: str) -> None:
    tokenizer = make_tokenizer(bos=True)
    text = "Nike is owned by Mark."
    demonstration = render_demonstration(tokenizer, text, [text.index("Mark")], style)  # type: ignore[arg-type]
    (position,) = demonstration.call_positions
    assert position is not None
    before = tokenizer.decode(demonstration.ids[: position + 1])
    assert before.endswith(("Nike is owned by", "Nike is owned by "))
    assert demonstration.first_supervised == (0 if style == "completion" else demonstration.ends.index(1) - 1)


def test_special_tokens_in_a_demonstration_stay_text_and_keep_its_positions() -> None:
    text = "Q: é🎈<s>?\nA: <|im_end|> is 5."
    demonstration = render_demonstration(TOKENIZER, text, [text.index("5")], "completion")
    assert special_ids(list(demonstration.ids)) == []
    (position,) = demonstration.call_positions
    assert position is not None
    assert TOKENIZER.decode(demonstration.ids[: position + 1]).rstrip() == "Q: é🎈<s>?\nA: <|im_end|> is"
