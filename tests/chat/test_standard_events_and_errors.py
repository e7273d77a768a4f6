"""LangChain's newer standards: stream_events in its version v3, and the exceptions that every chat model raises."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.exceptions import ContextOverflowError, ModelError, ModelInvalidRequestError
from langchain_core.exceptions import ModelNotFoundError as StandardModelNotFoundError
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.engine import OutOfMemoryError, PromptTooLongError
from langchain_toolken.errors import ToolkenError
from langchain_toolken.lm.not_found import ModelNotFoundError
from langchain_toolken.tools.spec import tool_spec
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import lamp

pytestmark = pytest.mark.filterwarnings("ignore:.*stream_v3. is in beta")

QUESTION = [HumanMessage("Is the lamp on?")]
WHOLE = completion('{"state":"on"}', {"state": "on"})


def chat(*script: Any, **fields: Any) -> ToolkenChat:
    return ToolkenChat.from_engine(ScriptedEngine(*script), scripted_toolkens(tool_spec(lamp)), **fields)


def kinds(events: list[Any]) -> list[str]:
    return [event["delta"]["type"] for event in events if event["event"] == "content-block-delta"]


def test_a_call_streams_as_v3_events() -> None:
    stream = chat([reasoning(" It", "lamp")], [WHOLE]).bind_tools([lamp]).stream_events(QUESTION, version="v3")
    events = list(stream)
    assert kinds(events) == ["text-delta", "text-delta", "tool-call-delta"]
    message = stream.output
    assert isinstance(message, AIMessage)
    assert (message.text, [call["args"] for call in message.tool_calls]) == ("It", [{"state": "on"}])
    assert message.response_metadata["toolken"]["name"] == "lamp"


async def test_text_streams_as_v3_events_asynchronously() -> None:
    stream = await chat([reasoning(" On")]).astream_events(QUESTION, version="v3")
    assert kinds([event async for event in stream]) == ["text-delta", "text-delta"]
    assert (await stream.output).text == "On"


@pytest.mark.parametrize("written", ['{"', '{"state":"o', '{"state":"\\'])
def test_a_call_that_was_cut_off_stays_an_invalid_one_however_it_is_streamed(written: str) -> None:
    def bound() -> Any:
        return chat([reasoning(" It", "lamp")], [completion(written, None)]).bind_tools([lamp])

    stream = bound().stream_events(QUESTION, version="v3")
    assert kinds(list(stream))[-1] == "tool-call-delta"
    assert stream.output.tool_calls == []
    assert [block["type"] for block in stream.output.content] == ["text", "invalid_tool_call"]
    merged: Any = None
    for chunk in bound().stream(QUESTION):
        merged = chunk if merged is None else merged + chunk
    assert (merged.tool_calls, [call["name"] for call in merged.invalid_tool_calls]) == ([], ["lamp"])


@pytest.mark.parametrize(
    ("messages", "asked"),
    [
        (QUESTION, {"temperature": -1}),
        (QUESTION, {"tool_choice": "any"}),
        (QUESTION, {"response_format": {"type": "json_object"}}),
        ([*QUESTION, ToolMessage("on", tool_call_id="1")], {}),
    ],
)
def test_what_can_not_be_asked_is_an_invalid_request(messages: list[Any], asked: dict[str, Any]) -> None:
    with pytest.raises(ModelInvalidRequestError) as caught:
        chat([reasoning(" On")]).invoke(messages, **asked)
    assert isinstance(caught.value, ToolkenError)
    assert isinstance(caught.value, ValueError)
    assert not caught.value.is_retryable


def test_the_other_errors_of_a_call_are_langchains_own_too() -> None:
    assert issubclass(PromptTooLongError, ContextOverflowError)
    assert issubclass(OutOfMemoryError, ModelError)
    assert not OutOfMemoryError.is_retryable
    with pytest.raises(StandardModelNotFoundError, match="no-such-folder") as caught:
        ToolkenChat(model="./no-such-folder").invoke(QUESTION)
    assert isinstance(caught.value, ModelNotFoundError)


def test_a_reasoning_effort_is_named_as_something_that_local_lms_do_not_have() -> None:
    with pytest.warns(UserWarning, match="no 'reasoning_effort'"):
        chat([reasoning(" On")]).invoke(QUESTION, reasoning_effort="low")
