"""An agent that takes a request over sees the request, and not that it was handed over."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.prompts.handoffs import without_handoffs
from langchain_toolken.tools.spec import tool_spec
from tests.support.scripted_engine import ScriptedEngine, reasoning
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import lamp

OVER, BACK = "transfer_to_worker", "transfer_back_to_supervisor"
ASKED = HumanMessage("Light, please.")


def call(name: str, result: str, text: str = "", *, number: int = 1) -> list[BaseMessage]:
    made: Any = {"name": name, "args": {}, "id": f"{name}-{number}"}
    return [AIMessage(text, tool_calls=[made]), ToolMessage(result, tool_call_id=f"{name}-{number}")]


OVERS = call(OVER, "Successfully transferred to worker")
BACKS = call(BACK, "Successfully transferred back to supervisor", "Transferring back to supervisor")
WORK = call("lamp", "the lamp is on")


def test_the_worker_sees_the_request_and_its_own_work() -> None:
    history = [ASKED, *OVERS, *WORK, AIMessage("It is on."), *BACKS, HumanMessage("Now off."), *OVERS]
    assert without_handoffs(history, ["lamp"]) == [ASKED, *WORK, AIMessage("It is on."), HumanMessage("Now off.")]


def test_the_supervisor_sees_that_it_handed_over() -> None:
    history = [ASKED, *OVERS, AIMessage("It is on."), *BACKS]
    assert without_handoffs(history, [OVER]) == [ASKED, *OVERS, AIMessage("It is on.")]


def test_calls_beside_a_handoff_and_tools_that_are_only_named_like_one_stay() -> None:
    made: Any = [{"name": name, "args": {}, "id": name, "type": "tool_call"} for name in ("lamp", OVER)]
    results = [ToolMessage("on", tool_call_id="lamp"), ToolMessage("Successfully transferred", tool_call_id=OVER)]
    assert without_handoffs([ASKED, AIMessage("", tool_calls=made), *results], ["lamp"]) == [
        ASKED,
        AIMessage("", tool_calls=made[:1]),
        results[0],
    ]
    money = [ASKED, *call("transfer_to_savings", "12 euros were moved")]
    assert without_handoffs(money, []) == money


def test_the_lm_reads_a_request_that_was_handed_over_as_one_without_an_answer() -> None:
    engine = ScriptedEngine([reasoning(" Yes."), reasoning(" Yes.")])
    bound = ToolkenChat.from_engine(engine, scripted_toolkens(tool_spec(lamp))).bind_tools([lamp])
    bound.invoke([ASKED])
    bound.invoke([ASKED, *OVERS])
    assert engine.prompts[0] == engine.prompts[1]
