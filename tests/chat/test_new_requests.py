"""chat.new_requests: a later message that asks for a call by itself gets it, whatever was said before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.engine import Candidate
from langchain_toolken.toolkens.evidence import Evidence, Gate
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.tiny import make_tokenizer
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import spec

TIMER, WEATHER = spec("timer", minutes={"type": "integer"}), spec("weather", city={"type": "string"})
CALL = {"name": "weather", "args": {"city": "Rome"}, "id": "1"}
TOLD: list[BaseMessage] = [
    HumanMessage("In Rome?"),
    AIMessage("", tool_calls=[CALL]),
    ToolMessage("Sun", tool_call_id="1"),
    AIMessage("Sunny."),
]
ASKED = HumanMessage("Wake me in 5 minutes.")


@dataclass
class Judge(ScriptedEngine):
    """An engine that knows how likely the call of a timer is in each prompt."""

    call: float = 0.9

    def rank(self, prompts: Sequence[Sequence[int]], **settings: Any) -> list[tuple[Candidate, ...]]:
        super().rank(prompts, **settings)
        return [(Candidate("timer", self.call - 0.01), Candidate("weather", 0.01)) for _ in prompts]


def bound(engine: ScriptedEngine, *, gate: bool = True, **fields: Any) -> Any:
    toolkens = scripted_toolkens(TIMER, WEATHER)
    d = toolkens.matrix.shape[1]
    evidence = Evidence(gate=Gate(torch.zeros(d), torch.zeros(d), 0.0, threshold=1.0)) if gate else None
    chat = ToolkenChat.from_engine(
        engine, replace(toolkens, evidence=evidence), style="chat", reinjection="turn", **fields
    )
    return chat.bind_tools([TIMER, WEATHER])


def judge(call: float = 0.9, **script: Any) -> Judge:
    return Judge(tokenizer=make_tokenizer(chat=True), call=call, **script)


def test_a_request_after_a_tools_turn_is_called_for_and_read_by_itself() -> None:
    engine = judge(completions=[completion('{"minutes": 5}', {"minutes": 5})])
    message = bound(engine).invoke([*TOLD, ASKED])
    assert message.tool_calls[0]["args"] == {"minutes": 5}
    told = message.response_metadata["toolken"]
    assert (told["name"], told["probability"]) == ("timer", pytest.approx(0.89))
    assert "Rome" not in engine.decoded()[0], "the message alone is judged"
    assert "Rome" in engine.decoded()[1], "arguments may be taken from the conversation"


def test_a_stream_gives_the_same_call() -> None:
    engine = judge(completions=[completion('{"minutes": 5}', {"minutes": 5})])
    pieces = list(bound(engine).stream([*TOLD, ASKED]))
    whole = sum(pieces[1:], start=pieces[0])
    assert whole.tool_calls[0]["args"] == {"minutes": 5}


@pytest.mark.parametrize(
    ("messages", "call", "fields"),
    [
        ([*TOLD, HumanMessage("Thanks!")], 0.7, {}),  # below the gate's threshold of 0.73
        ([ASKED], 0.9, {}),
        ([*TOLD, ASKED], 0.9, {"gate": False}),
        (TOLD[:3], 0.9, {}),
        ([*TOLD, ASKED], 0.9, {"rerank": "frozen"}),
    ],
    ids=["asks for none", "the first message", "no gate", "after a result", "with a second look"],
)
def test_everything_else_is_decided_in_the_conversation(
    messages: list[BaseMessage], call: float, fields: dict[str, Any]
) -> None:
    assert bound(judge(call, reasonings=[reasoning("Fine.")]), **fields).invoke(messages).content == "Fine."


def test_a_forced_tool_is_called_whatever_the_message_asks_for() -> None:
    engine = judge(completions=[completion('{"city": "Rome"}', {"city": "Rome"})])
    llm = bound(engine).bound
    forced = llm.bind_tools([TIMER, WEATHER], tool_choice="weather")
    assert forced.invoke([*TOLD, ASKED]).tool_calls[0]["name"] == "weather"
