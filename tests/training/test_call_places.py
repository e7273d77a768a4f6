"""Where calls of texts are learned: inside the answer where the LM comes to them, else from the request."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.training import call_places
from langchain_toolken.training.fit import fit
from langchain_toolken.training.result import FitResult
from tests.support.tools import spec

WORDY = " As everybody in this town knows, it is "
TOOLS = [spec("noon"), spec("midnight")]


def texts(answer: str, count: int = 48) -> list[dict[str, Any]]:
    rows = []
    for n in range(count):
        tool, word = ("noon", "sun sun sun") if n % 2 else ("midnight", "moon moon moon")
        before = f"Q: {word} of day {n}?\nA:{answer}"
        rows.append(
            {"text": f"{before}12.", "calls": [{"start": len(before), "tool": tool, "args": {}, "result": "12"}]}
        )
    return rows


def fitted(lm: LanguageModel, rows: list[dict[str, Any]], **options: Any) -> FitResult:
    return fit(lm, TOOLS, rows, lam=1e-3, negatives="none", **options)


def test_calls_stay_inside_answers_where_the_lm_comes_to_them(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call_places, "GOOD", 0.0)
    result = fitted(tiny_llama, texts(WORDY))
    assert result.place is not None
    assert (result.place.chosen, result.place.questions, result.place.request) == ("answer", 12, None)
    assert result.style == "completion"


def test_calls_come_from_requests_where_the_lm_words_its_answers_otherwise(tiny_llama: LanguageModel) -> None:
    result = fitted(tiny_llama, [*texts(WORDY), *plain()])
    assert result.place is not None
    assert result.place.chosen == "request"
    assert result.place.answer is not None
    assert result.place.request is not None
    assert result.place.answer < 0.5 < result.place.request
    assert result.style == "chat"
    assert result.toolkens.provenance.reinjection == "inline"
    assert result.report().calls_from == str(result.place)


def plain() -> list[dict[str, Any]]:
    return [{"text": f"Q: who are you, {n}?\nA: nobody", "calls": []} for n in range(12)]


@pytest.mark.parametrize(("good", "chosen", "style"), [(0.8, "request", "chat"), (0.0, "answer", "completion")])
def test_with_few_texts_the_lm_answers_the_very_questions_that_it_was_fitted_on(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, good: float, chosen: str, style: str
) -> None:
    monkeypatch.setattr(call_places, "GOOD", good)
    result = fitted(tiny_llama, texts(WORDY, 16))
    assert result.place is not None
    assert (result.place.chosen, result.place.questions, result.place.request) == (chosen, 16, None)
    assert result.style == style


def test_without_calls_inside_of_answers_there_is_nothing_to_choose(tiny_llama: LanguageModel) -> None:
    assert fitted(tiny_llama, texts(" ")).place is None
    rows = [
        {"text": f"{word} {n:02}", "calls": [{"start": len(word) + 1, "tool": tool}]}
        for n in range(10)
        for word, tool in (("sun", "noon"), ("moon", "midnight"))
    ]
    assert fitted(tiny_llama, rows).place is None


@pytest.mark.parametrize(
    ("request_share", "chosen"), [(0.3, ("answer", 8)), (0.7, ("request", 0)), (0.9, ("request", 0))]
)
def test_worked_answers_are_taken_where_they_do_better_than_the_lm_alone_and_than_calls_from_requests(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch, request_share: float, chosen: tuple[str, int]
) -> None:
    tried: list[int] = []

    def right(fitted: Any, options: Any, sample: Any, *, held_out: bool = True) -> tuple[bool, ...]:
        tried.append(fitted.shown)
        return tuple(n < {0: 2, 4: 6, 8: 9}[fitted.shown] for n in range(12))

    monkeypatch.setattr(call_places, "_right_tools", right)
    monkeypatch.setattr(call_places, "_share_from_requests", lambda result: request_share)
    result = fitted(tiny_llama, texts(WORDY))
    assert tried == ([0] if request_share >= call_places.GOOD else [0, 4, 8])
    assert result.place is not None
    assert (result.place.chosen, result.place.shown) == chosen
    worked = result.toolkens.examples.worked
    assert (0 if worked is None else worked.shown) == chosen[1]
    if worked is not None:
        assert len(worked.answers) == 48
        assert worked.nearest("moon?")[-1].tools == ("midnight",)
        assert str(result.place).startswith("answer, after 8 worked answers (right tool from inside the answer: 0.17")


def test_no_worked_answers_are_kept_of_demonstrations_that_are_not(tiny_llama: LanguageModel) -> None:
    result = fitted(tiny_llama, texts(WORDY), worked_answers=4, calls_from="answer", keep_demonstrations=False)
    assert result.toolkens.examples.worked is None


def test_a_number_of_worked_answers_that_the_caller_names_is_taken_untried(tiny_llama: LanguageModel) -> None:
    result = fitted(tiny_llama, texts(WORDY, 16), worked_answers=2)
    assert result.place is None
    assert result.toolkens.examples.worked is not None
    assert result.toolkens.examples.worked.shown == 2


def test_a_place_that_the_caller_names_is_not_chosen(tiny_llama: LanguageModel) -> None:
    assert fitted(tiny_llama, texts(WORDY), calls_from="answer", worked_answers=0).place is None
