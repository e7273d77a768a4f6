"""chat.prompt_length: a prompt is counted as it would be read, also where its messages make none."""

from __future__ import annotations

from langchain_core.messages import HumanMessage, ToolMessage

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.chat.prompt_length import prompt_length
from tests.support.scripted_engine import ScriptedEngine


def test_messages_that_make_no_prompt_are_counted_as_questions() -> None:
    setup = ToolkenChat.from_engine(ScriptedEngine()).decoding_setup()
    question = prompt_length(setup, [HumanMessage("one two three")], ())
    assert question == len(setup.prompt([HumanMessage("one two three")], ()).ids)
    assert prompt_length(setup, [], ()) == 0
    assert prompt_length(setup, [ToolMessage("one two three", tool_call_id="1")], ()) == question
