"""Where calls of texts are learned: inside the answer where the LM comes to them, else from the request."""

from __future__ import annotations

from typing import Any

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.training.fit import fit
from langchain_toolken.training.result import FitResult
from tests.support.tools import spec

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


def test_calls_stay_inside_answers_where_the_lm_comes_to_them(tiny_llama: LanguageModel) -> None:
    result = fitted(tiny_llama, texts(" "))
    assert result.place is not None
    assert (result.place.chosen, result.place.request) == ("answer", None)
    assert result.place.questions == 12
    assert result.place.answer is not None
    assert result.place.answer > 0.8
    assert result.style == "completion"


def test_calls_come_from_requests_where_the_lm_words_its_answers_otherwise(tiny_llama: LanguageModel) -> None:
    result = fitted(tiny_llama, [*texts(" As everybody in this town knows, it is "), *plain()])
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


def test_with_few_texts_nothing_is_tried(tiny_llama: LanguageModel) -> None:
    result = fitted(tiny_llama, texts(" ", 16))
    assert result.place is not None
    assert (result.place.chosen, result.place.questions) == ("answer", 0)


def test_without_texts_there_is_nothing_to_choose(tiny_llama: LanguageModel) -> None:
    rows = [
        {"text": f"{word} {n:02}", "calls": [{"start": len(word) + 1, "tool": tool}]}
        for n in range(10)
        for word, tool in (("sun", "noon"), ("moon", "midnight"))
    ]
    assert fitted(tiny_llama, rows).place is None


def test_a_place_that_the_caller_names_is_not_chosen(tiny_llama: LanguageModel) -> None:
    assert fitted(tiny_llama, texts(" "), calls_from="answer").place is None
