"""prompts.blocks: whatever a message holds, the LM reads words in its place, and no thread is lost."""

from __future__ import annotations

import json
from typing import Any, get_args, get_type_hints

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.content import ContentBlock

from langchain_toolken.prompts.blocks import message_text
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from tests.support.prompts import COMPLETION, INLINE, TOKENIZER, TURN, call

PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 5000}}
FORMATS = pytest.mark.parametrize("prompt_format", [COMPLETION, INLINE, TURN], ids=["completion", "inline", "turn"])


def deep(levels: int) -> list[Any]:
    nested: list[Any] = []
    for _ in range(levels):
        nested = [nested]
    return nested


def result(*blocks: Any) -> ToolMessage:
    return ToolMessage(list(blocks), tool_call_id="1")


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (PICTURE, "[image]"),
        ({"type": "image", "base64": "A" * 400, "mime_type": "image/png"}, "[image]"),
        ({"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}, "[audio]"),
        ({"type": "audio", "url": "https://a"}, "[audio]"),
        ({"type": "video", "file_id": "v"}, "[video]"),
        ({"type": "file", "file": {"filename": "report.pdf", "file_data": "x"}}, "[file report.pdf]"),
        ({"type": "file", "url": "https://a", "extras": {"filename": "a]\n\nQ: b"}}, "[file a Q: b]"),
        ({"type": "file", "base64": "AAAA", "mime_type": "application/pdf"}, "[file]"),
        ({"type": "document", "title": "Minutes", "source": {"type": "base64", "data": "x"}}, "[file Minutes]"),
        ({"type": "text-plain", "base64": "AAAA", "mime_type": "text/plain"}, "[file]"),
        ({"type": "json", "json": {"price": 5, "of": "café"}}, '{"price": 5, "of": "café"}'),
        ({"type": "non_standard", "value": {"price": 5}}, '{"price": 5}'),
        ({"type": "non_standard", "value": PICTURE}, "[image]"),
        ({"type": "refusal", "refusal": "No."}, "No."),
        ({"type": "document", "source": {"type": "text", "data": "Page 1"}}, "Page 1"),
        ({"type": "resource", "resource": {"uri": "file:///a", "text": "Page 1"}}, "Page 1"),
        ({"type": "json", "json": deep(3000)}, "[data]"),
        ({"json": {"price": 5}}, '{"json": {"price": 5}}'),
        ({"image": {"format": "png", "source": {"bytes": b"x"}}}, "[image]"),
        (
            {"type": "brand_new", "blob": "A" * 5000, "raw": b"x"},
            '{"type": "brand_new", "blob": "[data]", "raw": "[data]"}',
        ),
    ],
)
def test_a_block_that_is_no_text_becomes_words(block: dict[str, Any], text: str) -> None:
    assert message_text(result({"type": "text", "text": "done"}, block)) == f"done {text}"
    assert message_text(result(block, "and more")) == f"{text} and more"
    assert message_text(result(block)) == text


@pytest.mark.parametrize("block", [{"type": "text", "text": ""}, {"type": "text"}, {"type": "text", "text": None}, ""])
def test_a_block_without_words_adds_nothing(block: Any) -> None:
    assert message_text(result("done", block, ".")) == "done."


def test_text_in_a_file_is_text() -> None:
    assert message_text(result({"type": "text-plain", "text": "a\nb", "mime_type": "text/plain"})) == "a\nb"


@FORMATS
def test_every_standard_block_can_be_in_any_old_message(prompt_format: PromptFormat) -> None:
    kinds = [get_args(get_type_hints(block)["type"])[0] for block in get_args(ContentBlock)]
    assert {"text", "image", "file", "server_tool_result", "non_standard"} <= set(kinds)
    for kind in kinds:
        block = {"type": kind, "text": "t", "value": {"a": 1}, "name": "n", "args": {}, "id": "x"}
        messages: list[BaseMessage] = [
            SystemMessage([block]),
            HumanMessage([block]),
            AIMessage([block], tool_calls=[call()]),
            result(block),
            AIMessage([block]),
            HumanMessage("And now?"),
        ]
        assert "And now?" in TOKENIZER.decode(render(TOKENIZER, messages, prompt_format))


@FORMATS
def test_a_picture_in_a_result_or_an_earlier_question_does_not_end_the_thread(prompt_format: PromptFormat) -> None:
    messages: list[BaseMessage] = [
        HumanMessage(["See", PICTURE]),  # was refused; its thread goes on
        HumanMessage("Draw it"),
        AIMessage("It is", tool_calls=[call()]),
        result({"type": "text", "text": "done"}, PICTURE),
    ]
    for history in (messages, [*messages, AIMessage("."), HumanMessage("Thanks")]):
        read = TOKENIZER.decode(render(TOKENIZER, history, prompt_format))
        assert "See [image]" in read
        assert "done [image]" in read
        assert "base64" not in read


@FORMATS
@pytest.mark.parametrize("after", [[], [SystemMessage("Be brief.")]], ids=["last", "before a system message"])
def test_a_picture_in_the_question_to_answer_is_refused(after: list[BaseMessage], prompt_format: PromptFormat) -> None:
    old = [HumanMessage("Hi"), AIMessage("Hello.")]
    with pytest.raises(ValueError, match="'image_url'.*reads text only"):
        render(TOKENIZER, [*old, HumanMessage(["See", PICTURE]), *after], prompt_format)


def test_json_in_the_question_to_answer_is_text() -> None:
    question = HumanMessage([{"type": "json", "json": {"a": [1]}}])
    assert json.dumps({"a": [1]}) in TOKENIZER.decode(render(TOKENIZER, [question], COMPLETION))
