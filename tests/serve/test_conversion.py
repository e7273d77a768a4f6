"""OpenAI's messages to LangChain's and back: nothing is lost on the way."""

from __future__ import annotations

from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage, ToolMessage

from langchain_toolken.chat.responses import closing_chunks
from langchain_toolken.serve.conversion import call_settings, langchain_messages, openai_call_deltas, openai_message
from langchain_toolken.serve.protocol import ChatRequest, Message


def messages(*given: dict[str, object]) -> list[Message]:
    return [Message.model_validate(each) for each in given]


def test_roles_become_langchains_messages() -> None:
    found = langchain_messages(
        messages(
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
            {"role": "assistant", "content": None},
        )
    )
    assert [type(message) for message in found] == [SystemMessage, HumanMessage, AIMessage]
    assert found[1].text == "Hi"
    assert found[2].text == ""


def test_what_only_langchain_knows_cannot_be_sent() -> None:
    given = {
        "role": "user",
        "content": "Hi",
        "type": "remove",
        "lc": 1,
        "response_metadata": {"a": 1},
        "additional_kwargs": {"b": 2},
    }
    (found,) = langchain_messages(messages(given))
    assert found == HumanMessage("Hi")


def test_an_answer_comes_back_as_it_was() -> None:
    call = {"name": "add", "args": {"a": 3, "tags": ["ü"]}, "id": "c1", "type": "tool_call"}
    cut = {"name": "add", "args": '{"a": 3', "id": "c2", "error": "cut", "type": "invalid_tool_call"}
    thought = {"reasoning_content": "First", "reasoning_open": True}
    sent = AIMessage("It is", tool_calls=[call], invalid_tool_calls=[cut], additional_kwargs=thought)
    result = {"role": "tool", "tool_call_id": "c1", "content": "7"}
    again, answered = langchain_messages(messages(openai_message(sent), result))
    assert isinstance(again, AIMessage)
    assert (again.text, again.tool_calls) == (sent.text, sent.tool_calls)
    assert [(each["id"], each["args"]) for each in again.invalid_tool_calls] == [("c2", '{"a": 3')]
    assert again.additional_kwargs["reasoning_content"] == "First"
    assert again.additional_kwargs["reasoning_open"]
    assert answered == ToolMessage("7", tool_call_id="c1")


def test_several_calls_are_streamed_one_after_the_other() -> None:
    calls = [{"name": name, "args": {"a": 1}, "id": name, "type": "tool_call"} for name in ("lamp", "door")]
    pieces = sum(closing_chunks(AIMessage("", tool_calls=calls)), AIMessageChunk(content=""))
    deltas = [delta["tool_calls"][0] for delta in openai_call_deltas(pieces)]
    assert [delta["index"] for delta in deltas] == [0, 0, 1, 1]
    assert [delta["function"]["name"] for delta in deltas[::2]] == ["lamp", "door"]
    assert {delta["function"]["arguments"] for delta in deltas[1::2]} == {'{"a": 1}'}


def test_only_the_settings_that_are_given_are_passed_on() -> None:
    asked = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    assert call_settings(ChatRequest.model_validate(asked)) == {}
    given = {"parallel_tool_calls": True, "max_tokens": 5, "max_completion_tokens": 7, "temperature": 0}
    settings = call_settings(ChatRequest.model_validate({**asked, **given}))
    assert settings == {"parallel_tool_calls": True, "max_tokens": 7, "temperature": 0}
