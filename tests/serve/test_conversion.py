"""OpenAI's messages to LangChain's and back: nothing is lost on the way."""

from __future__ import annotations

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_toolken.serve.conversion import langchain_messages, openai_message
from langchain_toolken.serve.protocol import Message


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
