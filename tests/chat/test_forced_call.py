"""chat.forced_call: the pieces of a forced call, and the call that `tool_choice` gives."""

from __future__ import annotations

import pytest
import torch
from langchain_core.messages import HumanMessage

from langchain_toolken.chat.calls import DecodedCall
from langchain_toolken.chat.forced_call import stream_forced_call
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.chat.why import NothingToExplainError
from langchain_toolken.decoding.local.completer import ArgumentPiece
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import tool_spec
from tests.support.scripted_engine import ScriptedEngine
from tests.support.tiny import make_lm
from tests.support.toolken_sets import provenance_of
from tests.support.tools import lamp

ASKED = [HumanMessage("Turn the lamp on")]


@pytest.mark.parametrize("mode", ["toolken", "prompt"])
def test_it_is_the_call_that_tool_choice_gives(mode: str) -> None:
    lm = make_lm()
    row = torch.ones(1, lm.hidden_size)
    toolkens = ToolkenSet((tool_spec(lamp),), row, row, 0.0, provenance_of(lm, "chat"))
    chat = ToolkenChat.from_engine(TransformersEngine(lm), toolkens, tool_mode=mode)
    *pieces, call = stream_forced_call(chat.decoding_setup(), ASKED, tool_spec(lamp))
    assert isinstance(call, DecodedCall)
    message = chat.bind_tools([lamp], tool_choice="lamp").invoke(ASKED)
    assert call.completion.arguments == message.tool_calls[0]["args"]
    assert "".join(piece.text for piece in pieces if isinstance(piece, ArgumentPiece)) == call.completion.text
    assert message.usage_metadata is not None
    assert call.written_tokens + call.completion.completion_tokens == message.usage_metadata["output_tokens"]


def test_an_engine_elsewhere_is_refused() -> None:
    setup = ToolkenChat.from_engine(ScriptedEngine([])).decoding_setup()
    with pytest.raises(NothingToExplainError, match="without --engine vllm"):
        next(stream_forced_call(setup, ASKED, tool_spec(lamp)))
