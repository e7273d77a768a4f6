"""training.held_out_calls: which calls a set keeps, what they answer, and which parameters are copied."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage, HumanMessage

from langchain_toolken.prompts.call_cards import Asked, CallExample
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.held_out_calls import argument_calls, asked_of, copied_parameters, same_arguments

DOUBLE = ToolSpec(
    name="double",
    description="Double it.",
    json_schema={
        "type": "object",
        "properties": {"x": {"type": "integer"}, "step": {"type": "integer", "default": 1}},
        "required": ["x"],
    },
)


def call(tool: str, request: str, **arguments: Any) -> CallExample:
    return CallExample(tool=tool, request=request, arguments=arguments)


def test_a_parameter_is_copied_if_most_of_three_values_or_more_stand_in_what_was_asked() -> None:
    examples = [
        *(call("weather", f"weather in {city}", city=city, unit="celsius") for city in ("Lima", "Oslo", "Rome")),
        call("weather", "weather in the Big Apple", city="New York", unit="celsius"),
    ]
    assert copied_parameters(examples) == {"weather": ("city",)}
    assert copied_parameters(examples[:1]) == {}


def test_one_or_two_values_count_beside_those_of_all_parameters_together() -> None:
    cities = [call("weather", f"weather in {city}", city=city) for city in ("Lima", "Oslo", "Rome")]
    timers = [call("timer", f"{n} minutes", minutes=n) for n in (1, 2)]
    assert copied_parameters([*cities, *timers]) == {"weather": ("city",), "timer": ("minutes",)}
    made_up = [call("weather", "weather there", city=city) for city in ("Lima", "Oslo", "Rome")]
    assert copied_parameters([*made_up, timers[0]]) == {}


def test_what_a_call_in_a_text_answers_is_the_question_and_the_sentence_so_far() -> None:
    text = "Q: How much?\nA: It is 3+4=7."
    call = DemonstratedCall(start=text.index("7."), tool="double")
    assert asked_of(Demonstration(text=text, calls=(call,)), call, "inline") == Asked("How much?", " It is 3+4=")
    bare = DemonstratedCall(start=4, tool="double")
    assert asked_of(Demonstration(text="3+4=7", calls=(bare,)), bare, "inline") == Asked("", "3+4=")
    chat = Demonstration(text="It is 7", calls=(bare,), before=(HumanMessage("How much?"), AIMessage("First, ")))
    assert asked_of(chat, bare, "inline") == Asked("How much?", "First, It i")


def test_calls_without_arguments_carry_nothing() -> None:
    bare = Demonstration(text="3+4=7", calls=(DemonstratedCall(start=4, tool="double", result="7"),))
    assert argument_calls([bare], [DOUBLE], "inline").examples == ()


def test_an_argument_that_has_its_default_is_the_same_as_none() -> None:
    assert same_arguments(DOUBLE, {"x": 1, "step": 1}, {"x": 1})
    assert not same_arguments(DOUBLE, {"x": 1, "step": 2}, {"x": 1})
    assert not same_arguments(DOUBLE, {"x": 1}, {})
