"""training.demonstrations.repeated_calls: calls after words, and calls of what was answered already."""

from __future__ import annotations

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.demonstrations.repeated_calls import calls_after_words, repeats_calls
from tests.support.prompts import call


def text(*arguments: dict[str, int] | None) -> Demonstration:
    return Demonstration(
        text="It is 7, or 7.", calls=tuple(DemonstratedCall(start=6, tool="add", args=each) for each in arguments)
    )


def after_a_result(*asked_again: HumanMessage) -> Demonstration:
    made = AIMessage("", tool_calls=[call("1", "lamp", state="on")])
    before = (HumanMessage("?"), made, ToolMessage("on", tool_call_id="1"), *asked_again)
    again = DemonstratedCall(start=0, tool="lamp", args={"state": "on"})
    return Demonstration(text="", calls=(again,), before=before)


@pytest.mark.parametrize(
    ("demonstration", "repeats"),
    [
        (text({"a": 3, "b": 4}, {"b": 4, "a": 3}), True),
        (text({"a": 3, "b": 4}, {"a": 4, "b": 3}), False),
        (text(None, None), False),
        (after_a_result(), True),
        (after_a_result(HumanMessage("Again, please")), False),
    ],
    ids=["same arguments", "others", "not shown", "after its result", "another question"],
)
def test_a_call_is_repeated_if_it_has_the_same_arguments_for_the_same_question(
    demonstration: Demonstration, repeats: bool
) -> None:
    assert repeats_calls([text({"a": 1}), demonstration]) is repeats


@pytest.mark.parametrize(("before_it", "after_words"), [("", False), ("\n ", False), ("Let me look. ", True)])
def test_a_call_after_words_is_one_with_text_of_its_answer_before_it(before_it: str, after_words: bool) -> None:
    made = DemonstratedCall(start=len(before_it), tool="lamp", args={"state": "on"})
    asked = Demonstration(text=before_it, calls=(made,), before=(HumanMessage("Is it on?"),))
    assert calls_after_words([asked, asked]) is after_words
    assert calls_after_words([asked, text(None)])
