"""chat.whole_turns: a turn's message at once, piece by piece, and under a schema."""

from __future__ import annotations

from pydantic import BaseModel

from langchain_toolken.chat.model import ToolkenChat
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import spec

WEATHER = spec("weather", city={"type": "string"})


class Price(BaseModel):
    """A price."""

    amount: int


def test_a_streamed_turn_adds_up_to_the_message_that_the_whole_turn_gives() -> None:
    def chat() -> ToolkenChat:
        script = ScriptedEngine([reasoning(" It is", "weather")], [completion('{"city": "Rome"}', {"city": "Rome"})])
        return ToolkenChat.from_engine(script, scripted_toolkens(WEATHER))

    whole = chat().bind_tools([WEATHER]).invoke("Rome?")
    pieces = list(chat().bind_tools([WEATHER]).stream("Rome?"))
    assert len(pieces) > 2
    added = sum(pieces[1:], start=pieces[0])
    assert (added.content, added.tool_calls[0]["args"]) == (whole.content, whole.tool_calls[0]["args"])


def test_a_schemas_answer_comes_in_one_piece_after_the_card_of_the_schema() -> None:
    engine = ScriptedEngine(completions=[completion('{"amount": 3}', {"amount": 3})])
    llm = ToolkenChat.from_engine(engine, scripted_toolkens(WEATHER))
    assert llm.with_structured_output(Price).invoke("How much?") == Price(amount=3)
    assert "amount" in engine.decoded()[0]
