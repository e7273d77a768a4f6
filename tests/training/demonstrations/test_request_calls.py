"""A text's question wants its first call, whatever the answer before the call says."""

from __future__ import annotations

from langchain_core.messages import AIMessage, HumanMessage

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.demonstrations.load import LoadedDemonstrations
from langchain_toolken.training.demonstrations.request_calls import called_from
from langchain_toolken.training.fit import fit
from tests.support.tools import spec


def from_requests(*demonstrations: Demonstration) -> tuple[Demonstration, ...]:
    return called_from("request", LoadedDemonstrations(demonstrations, ())).demonstrations


def test_the_first_call_of_a_text_comes_right_after_its_question() -> None:
    text = "Q: How much is left?\nA: It is 7-3=4, and 4*2=8."
    calls = (
        DemonstratedCall(start=text.index("4,"), tool="subtract", args=[7, 3], result="4"),
        DemonstratedCall(start=text.index("8."), tool="multiply", args=[4, 2], result="8"),
    )
    (found,) = from_requests(Demonstration(text=text, calls=calls, line=3))
    assert found == Demonstration(
        text="",
        calls=(DemonstratedCall(start=0, tool="subtract", args=[7, 3]),),
        before=(HumanMessage("How much is left?"),),
        line=3,
    )


def test_a_text_without_a_call_is_a_request_that_is_answered_with_words() -> None:
    (found,) = from_requests(Demonstration(text="Q: Who are you?\nA: A small LM.", calls=()))
    assert (found.text, found.calls, found.before) == ("A small LM.", (), (HumanMessage("Who are you?"),))


def test_histories_and_texts_without_a_question_stay_as_they_are() -> None:
    call = DemonstratedCall(start=5, tool="add")
    history = Demonstration(text="It is 7", calls=(call,), before=(HumanMessage("Hi"), AIMessage("Hello")))
    plain = Demonstration(text="3+4= 7", calls=(call,))
    assert from_requests(history, plain) == (history, plain)


def test_a_fit_from_requests_calls_where_the_answer_begins_and_puts_results_into_the_sentence(
    tiny_llama: LanguageModel,
) -> None:
    texts = [f"Q: How much is {n} and 1?\nA: It is {n}+1={n + 1}." for n in range(12)]
    rows = [
        {"text": text, "calls": [{"start": text.rindex("=") + 1, "tool": "add", "args": [n, 1], "result": str(n + 1)}]}
        for n, text in enumerate(texts)
    ]
    rows.append({"text": "Q: Who are you?\nA: A small LM.", "calls": []})
    number = {"type": "integer"}
    tools = [spec("add", a=number, b=number)]
    inside, at_once = (
        fit(tiny_llama, tools, rows, calls_from=where, lam=0.1, negatives="none") for where in ("answer", "request")
    )
    assert inside.features is not None
    assert at_once.features is not None
    assert at_once.features.tool_positions == inside.features.tool_positions == 12
    assert at_once.features.word_positions < inside.features.word_positions
    assert at_once.toolkens.provenance.reinjection == "inline"
    assert {call.so_far for call in at_once.toolkens.examples.calls} == {""}
