"""A text's question wants its first call, whatever the answer before the call says."""

from __future__ import annotations

from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.demonstrations.load import LoadedDemonstrations
from langchain_toolken.training.demonstrations.request_calls import called_from, endings
from langchain_toolken.training.fit import fit
from tests.support.tools import spec


def from_requests(*demonstrations: Demonstration) -> tuple[Demonstration, ...]:
    return called_from("request", LoadedDemonstrations(demonstrations, ())).demonstrations


def test_the_first_call_of_a_text_comes_right_after_its_question_and_the_rest_after_its_result() -> None:
    text = "Q: How much is left?\nA: It is 7-3=4, and 4*2=8."
    calls = (
        DemonstratedCall(start=text.index("4,"), tool="subtract", args={"a": 7, "b": 3}, result="4"),
        DemonstratedCall(start=text.index("8."), tool="multiply", args={"a": 4, "b": 2}, result="8"),
    )
    asked, answered = from_requests(Demonstration(text=text, calls=calls, line=3))
    assert asked == Demonstration(
        text="",
        calls=(DemonstratedCall(start=0, tool="subtract", args={"a": 7, "b": 3}),),
        before=(HumanMessage("How much is left?"),),
        line=3,
    )
    called = [{"name": "subtract", "args": {"a": 7, "b": 3}, "id": "1"}]
    assert answered == Demonstration(
        text=", and 4*2=8.",
        calls=(calls[1].model_copy(update={"start": len(", and 4*2=")}),),
        before=(
            HumanMessage("How much is left?"),
            AIMessage("", tool_calls=called),
            ToolMessage("4", tool_call_id="1"),
        ),
        line=3,
    )


def test_a_text_that_shows_no_result_does_not_show_what_follows_it() -> None:
    text = "Q: How much is left?\nA: It is 7-3="
    (asked,) = from_requests(Demonstration(text=text, calls=(DemonstratedCall(start=len(text), tool="subtract"),)))
    assert asked.calls == (DemonstratedCall(start=0, tool="subtract"),)


def test_a_text_without_a_call_is_a_request_that_is_answered_with_words() -> None:
    (found,) = from_requests(Demonstration(text="Q: Who are you?\nA: A small LM.", calls=()))
    assert (found.text, found.calls, found.before) == ("A small LM.", (), (HumanMessage("Who are you?"),))


def test_histories_and_texts_without_a_question_stay_as_they_are() -> None:
    call = DemonstratedCall(start=5, tool="add")
    history = Demonstration(text="It is 7", calls=(call,), before=(HumanMessage("Hi"), AIMessage("Hello")))
    plain = Demonstration(text="3+4= 7", calls=(call,))
    assert from_requests(history, plain) == (history, plain)


def test_a_result_in_a_turn_of_its_own_is_said_again() -> None:
    text = "Q: How much is left?\nA: It is 7-3=4 apples."
    calls = (DemonstratedCall(start=text.index("4"), tool="subtract", result="4"),)
    loaded = LoadedDemonstrations((Demonstration(text=text, calls=calls),), ())
    _, answered = called_from("request", loaded, "turn").demonstrations
    assert answered.text == "4 apples."


def after_results(*rests: str, count: int = 50) -> list[Demonstration]:
    said = (HumanMessage("?"), AIMessage("", tool_calls=[{"name": "add", "args": {}, "id": "1"}]))
    before = (*said, ToolMessage("4", tool_call_id="1"))
    return [Demonstration(text=rests[n % len(rests)], calls=(), before=before) for n in range(count)]


def test_what_never_follows_a_result_ends_the_answer() -> None:
    ends = endings(after_results(" apples.", " (red) apples, all in all."))
    assert {"\n", ". ", " =", "7"} <= set(ends)
    assert not {"(", ", ", "."} & set(ends)
    assert not {"7", "\n", "="} & set(endings(after_results(" apples.\nSo 4+3= 7.")))
    assert endings(after_results(" apples.", count=9)) == ()


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
    assert inside.toolkens.provenance.ends_answer == ()
    assert {"\n", " ="} <= set(at_once.toolkens.provenance.ends_answer)
    assert {call.so_far for call in at_once.toolkens.examples.calls} == {""}
