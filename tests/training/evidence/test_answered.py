"""Requests with a result of the fit's own making say above what a call is made after a result."""

from __future__ import annotations

from dataclasses import replace

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.evidence.answered import answered_calls, answered_features, is_answered
from langchain_toolken.training.fit import fit
from langchain_toolken.training.options import FitOptions

OPTIONS = FitOptions()
NO_ARGUMENTS = {"type": "object", "properties": {}}
SPECS = [
    ToolSpec(name="rain", description="Tell the weather of tomorrow.", json_schema=NO_ARGUMENTS),
    ToolSpec(name="table", description="Book a table in a restaurant.", json_schema=NO_ARGUMENTS),
]


def call(request: str, tool: str = "rain", *before: object, parallel: bool = False) -> Demonstration:
    made = DemonstratedCall(start=0, tool=tool, args={})
    return Demonstration(text="", calls=(made,), before=(HumanMessage(request), *before), parallel=parallel)


def answered(request: str) -> tuple[AIMessage, ToolMessage]:
    return AIMessage("", tool_calls=[{"name": "rain", "args": {}, "id": "1"}]), ToolMessage("wet", tool_call_id="1")


CALLS = [call(f"wet on day {i}") for i in range(60)]


def test_the_call_and_a_result_follow_the_request_and_no_call() -> None:
    made = answered_calls(CALLS, SPECS, "chat", OPTIONS)
    assert len(made) == 24
    assert all(is_answered(one) and not one.calls for one in made)
    assert len({one.before[0].text for one in made}) == 24
    assert {one.before[-2].tool_calls[0]["name"] for one in made} == {"rain"}  # type: ignore[attr-defined]
    results = {one.before[-1].text[:2] for one in made}
    assert len(results) > 2, "results have several forms"
    assert {bool(one.text) for one in made} == {True, False}


def test_descriptions_take_the_place_of_demonstrations_that_are_not_there() -> None:
    made = answered_calls([], SPECS, "chat", OPTIONS)
    assert {one.before[-2].tool_calls[0]["name"] for one in made} == {"rain", "table"}  # type: ignore[attr-defined]
    assert len(answered_calls(CALLS[:3], SPECS, "chat", OPTIONS)) > 3


def test_none_is_made_where_demonstrations_say_what_follows_a_result() -> None:
    said = [Demonstration(text="It is wet.", calls=(), before=one.before + answered("?")) for one in CALLS[:10]]
    assert answered_calls([*CALLS, *said[:9]], SPECS, "chat", OPTIONS)
    assert not answered_calls([*CALLS, *said], SPECS, "chat", OPTIONS)
    again = call("and then", "table", *answered("?"))
    assert not answered_calls([*CALLS, again], SPECS, "chat", OPTIONS)
    beside = call("both", "table", *answered("?"), parallel=True)
    assert answered_calls([*CALLS, beside], SPECS, "chat", OPTIONS), "a call beside another follows no result"


def test_none_is_made_where_results_are_put_into_the_sentence() -> None:
    assert not answered_calls(CALLS, SPECS, "completion", OPTIONS)
    assert not answered_calls(CALLS, SPECS, "chat", replace(OPTIONS, reinjection="inline"))


def test_nothing_is_read_where_none_was_made(tiny_llama: LanguageModel) -> None:
    assert answered_features(tiny_llama, [], "chat", OPTIONS) is None


@pytest.mark.parametrize("count", [0, 12])
def test_a_fit_knows_when_to_call_after_a_result_without_a_demonstration_of_one(
    tiny_llama: LanguageModel, count: int, recwarn: pytest.WarningsRecorder
) -> None:
    given = CALLS[:count] + [call(f"a table for {i}", "table") for i in range(count)]
    result = fit(tiny_llama, SPECS, given or None, style="chat", keep_demonstrations=False)
    assert result.when is not None
    assert result.when.gate is not None
    assert result.when.gate.after_result is not None
    assert result.when.gate.after_result >= result.when.gate.threshold
