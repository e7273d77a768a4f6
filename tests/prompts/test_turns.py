"""prompts.turns: results join as prose does, and a history that makes no prompt says why, in every format."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.turns import Turn, join_result, turns_of
from tests.support.prompts import COMPLETION, INLINE, TOKENIZER, TURN, call


@pytest.mark.parametrize(
    ("text", "result", "joined"),
    [
        ("", "5", "5"),
        ("4096*27=", "110592", "4096*27=110592"),
        ("4096 * 27 =", "110592", "4096 * 27 = 110592"),
        ("It is ", "5", "It is 5"),
        ("It is", "5", "It is 5"),
        ("It costs $", "5", "It costs $5"),
        ("(", "5", "(5"),
        ('"', "Paris", '"Paris'),
        ("=", "5", "=5"),
        ("It is", "5\n", "It is 5"),
        ("It is", "5 \r\n\n", "It is 5"),
        ("It is", "a\n b", "It is a\n b"),
        ("It is", "", "It is"),
        ("4096 * 27 =", " \n", "4096 * 27 ="),
    ],
)
def test_results_join_as_prose_does(text: str, result: str, joined: str) -> None:
    assert join_result(text, result) == joined


def test_text_blocks_are_joined_and_calls_among_them_left_to_tool_calls() -> None:
    message = HumanMessage([{"type": "text", "text": "How "}, "many", {"type": "text", "text": "?"}])
    assert TOKENIZER.decode(render(TOKENIZER, [message], COMPLETION)) == "Q: How many?\nA:"


@pytest.mark.parametrize("prompt_format", [COMPLETION, INLINE, TURN], ids=["completion", "inline", "turn"])
@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "no messages"),
        ([HumanMessage([{"type": "image_url", "image_url": "x"}])], "image_url"),
        ([HumanMessage("a"), ToolMessage("5", tool_call_id="call_9")], "call_9"),
        ([HumanMessage("a"), AIMessage("b", tool_calls=[call()])], "'multiply'.*result"),
        (
            [
                HumanMessage("a"),
                AIMessage("b", tool_calls=[call("x")]),
                HumanMessage("c"),
                ToolMessage("5", tool_call_id="x"),
            ],
            "'x'",
        ),
        ([ChatMessage("a", role="narrator")], "narrator"),
    ],
    ids=["empty", "image", "result without call", "call without result", "result too late", "unknown role"],
)
def test_histories_that_make_no_prompt_say_why(
    messages: list[BaseMessage], says: str, prompt_format: PromptFormat
) -> None:
    with pytest.raises(ValueError, match=says):
        render(TOKENIZER, messages, prompt_format)


def test_two_system_messages_are_one_and_thoughts_stay_apart_from_the_text() -> None:
    thought = AIMessage([{"type": "reasoning", "reasoning": "Easy."}, {"type": "text", "text": "Hi."}])
    messages = [
        SystemMessage("Be brief."),
        SystemMessage("Be kind."),
        HumanMessage("Hello"),
        thought,
        HumanMessage("?"),
    ]
    assert turns_of(messages, "inline") == [
        Turn("system", "Be brief.\n\nBe kind."),
        Turn("user", "Hello"),
        Turn("assistant", "Hi.", thought="Easy."),
        Turn("user", "?"),
    ]


def test_a_thought_in_a_users_message_is_refused_as_any_block_that_is_no_text() -> None:
    with pytest.raises(ValueError, match="'reasoning'"):
        turns_of([HumanMessage([{"type": "reasoning", "reasoning": "Easy."}])], "inline")


@pytest.mark.parametrize("prompt_format", [COMPLETION, INLINE, TURN], ids=["completion", "inline", "turn"])
@pytest.mark.parametrize("arguments", ['{"a": 4096, "b": "', "nonsense", "", "[1]", None])
def test_an_invalid_call_that_is_answered_shows_the_lm_what_was_wrong(
    arguments: str | None, prompt_format: PromptFormat
) -> None:
    bad = {"type": "invalid_tool_call", "id": "x", "name": "multiply", "args": arguments, "error": "cut off"}
    messages: list[BaseMessage] = [
        HumanMessage("How many?"),
        AIMessage("It is", invalid_tool_calls=[bad]),
        ToolMessage("Not JSON, try again.", tool_call_id="x", status="error"),
    ]
    assert "Not JSON, try again." in TOKENIZER.decode(render(TOKENIZER, messages, prompt_format))
    again = [*messages, AIMessage("", tool_calls=[call("y")]), ToolMessage("110592", tool_call_id="y")]
    assert "110592" in TOKENIZER.decode(render(TOKENIZER, again, prompt_format))


def test_an_invalid_calls_arguments_are_shown_as_far_as_they_go() -> None:
    bad = {"type": "invalid_tool_call", "id": "x", "name": "multiply", "args": '{"a": 4096, "b', "error": None}
    messages = [HumanMessage("?"), AIMessage("", invalid_tool_calls=[bad]), ToolMessage("No.", tool_call_id="x")]
    assert turns_of(messages, "turn")[1].tool_calls == ({"id": "x", "name": "multiply", "args": {"a": 4096}},)


def test_an_invalid_call_without_a_result_is_left_out() -> None:
    bad = {"type": "invalid_tool_call", "id": "x", "name": "multiply", "args": "{", "error": None}
    messages = [HumanMessage("?"), AIMessage("It is", invalid_tool_calls=[bad]), AIMessage("Stopped.")]
    assert turns_of(messages, "turn")[1].tool_calls == ()


def test_two_results_of_one_call_are_both_read() -> None:
    messages = [
        HumanMessage("?"),
        AIMessage("It is", tool_calls=[call()]),
        ToolMessage("5", tool_call_id="1"),
        ToolMessage("6", tool_call_id="1"),
    ]
    assert turns_of(messages, "inline")[1].text == "It is 5 6"
    assert [turn.text for turn in turns_of(messages, "turn")[2:]] == ["5", "6"]


@pytest.mark.parametrize("result", ["", " ", "\n", [], [{"type": "text", "text": ""}]])
@pytest.mark.parametrize("text", ["", "It is", "4096*27=", "It is ", 'It is "', "It costs $"])
def test_a_result_without_words_leaves_the_text_as_it_is_and_its_tool_spent(text: str, result: str | list[str]) -> None:
    messages = [HumanMessage("?"), AIMessage(text, tool_calls=[call()]), ToolMessage(result, tool_call_id="1")]
    turn = turns_of(messages, "inline")[-1]
    assert (turn.text, turn.spent) == (text, ("multiply",))
    assert turns_of([*messages, AIMessage(" so")], "inline")[-1].spent == ()
