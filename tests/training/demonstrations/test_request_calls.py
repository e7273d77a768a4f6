"""A text's question wants its first call, whatever the answer before the call says."""

from __future__ import annotations

from langchain_core.messages import AIMessage, HumanMessage

from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.demonstrations.request_calls import called_from_requests


def test_the_first_call_of_a_text_comes_right_after_its_question() -> None:
    text = "Q: How much is left?\nA: It is 7-3=4, and 4*2=8."
    calls = (
        DemonstratedCall(start=text.index("4,"), tool="subtract", args=[7, 3], result="4"),
        DemonstratedCall(start=text.index("8."), tool="multiply", args=[4, 2], result="8"),
    )
    (found,) = called_from_requests([Demonstration(text=text, calls=calls, line=3)])
    assert found == Demonstration(
        text="",
        calls=(DemonstratedCall(start=0, tool="subtract", args=[7, 3]),),
        before=(HumanMessage("How much is left?"),),
        line=3,
    )


def test_a_text_without_a_call_is_a_request_that_is_answered_with_words() -> None:
    (found,) = called_from_requests([Demonstration(text="Q: Who are you?\nA: A small LM.", calls=())])
    assert (found.text, found.calls, found.before) == ("A small LM.", (), (HumanMessage("Who are you?"),))


def test_histories_and_texts_without_a_question_stay_as_they_are() -> None:
    call = DemonstratedCall(start=5, tool="add")
    history = Demonstration(text="It is 7", calls=(call,), before=(HumanMessage("Hi"), AIMessage("Hello")))
    plain = Demonstration(text="3+4= 7", calls=(call,))
    assert called_from_requests([history, plain]) == (history, plain)
