"""The match of a request's words with the tools: what counts as a word, and what the scores are."""

from __future__ import annotations

import logging
import math

import pytest
import torch

from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.lexical import (
    LexicalMatch,
    WordClassifier,
    demonstrations_document,
    description_document,
    terms_of,
    words_of,
)
from langchain_toolken.tools.spec import ToolSpec

WEATHER = ToolSpec(
    name="getWeather",
    description="Tell the weather.",
    json_schema={"type": "object", "properties": {"cityName": {"type": "string"}, "day": {}}},
)
LAMP = ToolSpec(name="lamp", description="Turn a lamp on.", json_schema={})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("What's 3+4?", ["what", "s", "3", "4"]),
        ("snake_case", ["snake", "case"]),
        ("Straße ＡＢＣ café", ["strasse", "abc", "café"]),
        ("北京天气 in 2026", ["北", "京", "天", "气", "in", "2026"]),
        ("…!?", []),
        ("", []),
    ],
)
def test_words_have_no_case_and_no_punctuation(text: str, words: list[str]) -> None:
    assert words_of(text) == words


def test_a_tools_documents_say_its_name_description_arguments_and_requests() -> None:
    assert description_document(WEATHER) == "get weather Tell the weather. city name day"
    assert demonstrations_document(WEATHER, ["Is it wet?"]) == f"{description_document(WEATHER)}\nIs it wet?"
    assert demonstrations_document(LAMP, []) == description_document(LAMP)


def bm25(documents: list[list[str]], query: list[str], k1: float = 1.5, b: float = 0.75) -> list[float]:
    """Lucene's BM25 as its formula says."""
    mean = sum(map(len, documents)) / len(documents)
    scores = []
    for document in documents:
        score = 0.0
        for word in query:
            holding = sum(word in other for other in documents)
            idf = math.log(1 + (len(documents) - holding + 0.5) / (holding + 0.5))
            count = document.count(word)
            score += idf * count / (count + k1 * (1 - b + b * len(document) / mean))
        scores.append(score)
    return scores


def test_scores_are_bm25_of_the_known_words() -> None:
    documents = ["turn the lamp on", "tell the weather the city", "", "on and on and on"]
    match = LexicalMatch("description", 1.0, tuple(documents))
    expected = bm25([words_of(each) for each in documents], words_of("The lamp, the lamp on!"))
    assert match.scores("The lamp, the lamp on! unheard").tolist() == pytest.approx(expected, rel=1e-5)
    assert match.scores("unheard").tolist() == match.scores("").tolist() == [0.0] * 4


def test_parts_of_words_are_five_letters_with_the_ends_marked() -> None:
    assert terms_of("a Booking") == ["|a", "_a_", "|booking", "_book", "booki", "ookin", "oking", "king_"]
    assert terms_of("北") == ["|北", "_北_"]
    assert terms_of("?!") == []


def test_with_parts_a_request_matches_a_word_in_another_form() -> None:
    documents = ("books a table", "plays music")
    words, parts = (LexicalMatch("description", 1.0, documents, parts=each) for each in (False, True))
    assert words.scores("booking").tolist() == [0.0, 0.0]
    booking = parts.scores("booking").tolist()
    assert booking[0] > booking[1] == 0.0
    expected = bm25([terms_of(each) for each in documents], terms_of("book table"))
    assert parts.scores("book table").tolist() == pytest.approx(expected, rel=1e-5)
    kept = (parts.select([0, 1]), parts.join(parts.untrained([LAMP]), 1.0), parts.untrained([LAMP]))
    assert [each.parts for each in kept] == [True] * 3


def test_documents_without_words_and_no_documents_score_nothing() -> None:
    assert LexicalMatch("description", 1.0, ("", "?!")).scores("lamp").tolist() == [0.0, 0.0]
    assert LexicalMatch("description", 1.0, ()).scores("lamp").tolist() == []


def test_the_index_writes_nothing_to_the_applications_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.NOTSET):
        LexicalMatch("description", 1.0, ("lamp on", "weather")).scores("lamp")
    assert not caplog.records


def test_a_new_description_replaces_the_old_one_and_keeps_the_requests() -> None:
    match = LexicalMatch("demonstrations", 1.0, (demonstrations_document(LAMP, ["Light please"]), "of another version"))
    changed = ToolSpec(name="lamp", description="Switch a light.", json_schema={})
    described = match.describe([LAMP, WEATHER], [changed, WEATHER])
    assert described.documents == ("lamp Switch a light.\nLight please", "of another version")


def classifier() -> WordClassifier:
    return WordClassifier(
        weight=2.0,
        vocabulary=("lamp", "on", "wet"),
        idf=torch.tensor([2.0, 1.0, 3.0]),
        rows=torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 4.0]]),
        biases=torch.tensor([0.25, -0.25]),
    )


def test_the_classifier_scores_as_tfidf_and_a_linear_layer() -> None:
    lamp, on = (1 + math.log(2)) * 2.0, 1.0
    length = math.hypot(lamp, on)
    expected = [(lamp * 1.0 + on * 0.5) / length + 0.25, on * 0.5 / length - 0.25]
    assert classifier().scores("Lamp on, LAMP maybe").tolist() == pytest.approx(expected)
    assert classifier().scores("maybe").tolist() == [0.25, -0.25]


def test_classifiers_are_selected_added_to_and_joined_tool_by_tool() -> None:
    one = classifier()
    assert one.select([1]).scores("wet lamp").tolist() == [one.scores("wet lamp")[1]]
    more = one.join(one.untrained([LAMP]), 1.0)
    assert more.scores("wet").tolist() == [*one.scores("wet").tolist(), 0.0]
    other = WordClassifier(1.0, ("rain", "wet"), torch.tensor([1.0, 5.0]), torch.tensor([[1.0], [2.0]]), torch.zeros(1))
    both = one.join(other, 1.5)
    assert (both.weight, both.vocabulary) == (1.5, ("lamp", "on", "wet", "rain"))
    assert both.scores("wet").tolist() == [*one.scores("wet").tolist(), 2.0]
    assert both.scores("lamp")[:2].tolist() == one.scores("lamp").tolist()


def test_what_does_not_agree_is_refused() -> None:
    with pytest.raises(ToolkenSetError, match="weight of the description is nan"):
        LexicalMatch("description", float("nan"), ())
    with pytest.raises(ToolkenSetError, match="names a word twice"):
        WordClassifier(1.0, ("a", "a"), torch.ones(2), torch.ones(2, 1), torch.ones(1))
    with pytest.raises(ToolkenSetError, match=r"2 words, idf \(3,\)"):
        WordClassifier(1.0, ("a", "b"), torch.ones(3), torch.ones(2, 1), torch.ones(1))
    with pytest.raises(ToolkenSetError, match="rows have a value that is not finite"):
        WordClassifier(1.0, ("a",), torch.ones(1), torch.full((1, 1), math.inf), torch.ones(1))
