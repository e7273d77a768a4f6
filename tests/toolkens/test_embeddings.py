"""A match by embeddings is saved with its set, found again by name or given, and said to be missing where it is."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from langchain_core.embeddings import Embeddings

from langchain_toolken.toolkens.embeddings import (
    EmbeddingMatch,
    NamedEmbeddings,
    embedded_text,
    load_embeddings,
)
from langchain_toolken.toolkens.errors import ToolkenSetError, ToolkenSetWarning
from langchain_toolken.toolkens.evidence import Evidence
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.keyword_embeddings import KeywordEmbeddings
from tests.support.toolken_sets import make, spec

NAMES = ["weather", "table", "song"]


@pytest.fixture(autouse=True)
def _forget_what_is_loaded() -> None:
    load_embeddings.cache_clear()


def match_of(names: list[str], model: Embeddings, name: str = "here:words") -> EmbeddingMatch:
    found = NamedEmbeddings(name, model)
    return EmbeddingMatch(2.0, name, found.vectors([embedded_text(spec(one)) for one in names]), model)


def informed(match: EmbeddingMatch) -> ToolkenSet:
    return replace(make(NAMES), evidence=Evidence(scale=0.0, lexical=(match,)))


def chosen(toolkens: ToolkenSet, request: str) -> str:
    assert toolkens.evidence is not None
    return toolkens.names[int(toolkens.evidence.lexical_scores(request, len(toolkens)).argmax())]


def test_a_request_is_nearest_to_the_tool_that_its_embedding_is_like() -> None:
    toolkens = informed(match_of(NAMES, KeywordEmbeddings()))
    asked = ("is it rainy?", "a seat for two", "play some music")
    assert [chosen(toolkens, text) for text in asked] == NAMES


def test_a_saved_set_finds_its_embeddings_by_name_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    informed(match_of(NAMES, KeywordEmbeddings())).save(tmp_path / "set")
    loads: list[str] = []

    def init(name: str) -> Embeddings:
        loads.append(name)
        return KeywordEmbeddings()

    monkeypatch.setattr("langchain.embeddings.init_embeddings", init)
    loaded = ToolkenSet.load(tmp_path / "set")
    assert not loads, "a set that is only looked at loads nothing"
    assert chosen(loaded, "a seat for two") == "table"
    assert chosen(loaded.select(["song", "table"]), "some music") == "song"
    assert loads == ["here:words"]


def test_embeddings_that_are_an_object_are_given_to_load(tmp_path: Path) -> None:
    named = NamedEmbeddings.of(KeywordEmbeddings())
    assert named.name.endswith("keyword_embeddings.KeywordEmbeddings")
    informed(match_of(NAMES, named.model, named.name)).save(tmp_path / "set")
    assert chosen(ToolkenSet.load(tmp_path / "set", KeywordEmbeddings()), "a seat for two") == "table"


def test_without_its_embeddings_a_set_says_so_once_and_chooses_by_the_rest(tmp_path: Path) -> None:
    informed(match_of(NAMES, KeywordEmbeddings(), "nowhere:words")).save(tmp_path / "set")
    loaded = ToolkenSet.load(tmp_path / "set")
    assert loaded.evidence is not None
    with pytest.warns(ToolkenSetWarning, match="'nowhere:words' can't be loaded.*chosen without them") as told:
        scores = [loaded.evidence.lexical_scores(text, 3).tolist() for text in ("one", "two")]
    assert scores == [[0.0] * 3] * 2
    assert len(told) == 1
    grown = loaded.add([spec("mail")], torch.zeros(1, 4))
    assert grown.evidence is not None
    with pytest.warns(ToolkenSetWarning, match="chosen without them"):
        assert grown.evidence.lexical_scores("a letter", 4).tolist() == [0.0] * 4


def test_embeddings_that_a_fit_is_to_use_and_that_are_not_there_are_an_error() -> None:
    with pytest.raises(ToolkenSetError, match=r"'nowhere:words' can't be loaded.*install that provider's package"):
        NamedEmbeddings.of("nowhere:words")


def test_other_embeddings_than_those_of_the_fit_are_an_error(tmp_path: Path) -> None:
    informed(match_of(NAMES, KeywordEmbeddings())).save(tmp_path / "set")
    shorter = KeywordEmbeddings(topics=(("weather",),))
    with pytest.raises(ToolkenSetError, match=r"2,.*fitted with 5.*those of the fit, or fit anew"):
        chosen(ToolkenSet.load(tmp_path / "set", shorter), "weather")


def test_embeddings_that_fail_are_named() -> None:
    class Down(KeywordEmbeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise ConnectionError("no route")

    match = replace(match_of(NAMES, KeywordEmbeddings()), model=Down())
    with pytest.raises(ToolkenSetError, match="'here:words' failed .ConnectionError: no route."):
        match.scores("weather")
    with pytest.raises(ToolkenSetError, match="failed"):
        NamedEmbeddings("here:words", Down()).vectors(["weather"])


def test_tools_are_added_described_shown_selected_and_joined() -> None:
    match = match_of(NAMES, KeywordEmbeddings())
    grown = match.join(match.untrained([spec("mail")]), match.weight)
    assert int(grown.scores("a letter").argmax()) == 3
    assert int(grown.select([3, 0]).scores("a letter").argmax()) == 0
    shown = match.show([[], ["a letter", "letter"], []])
    assert int(shown.scores("a letter").argmax()) == 1
    old = [spec(name) for name in NAMES]
    new = [*old[:2], old[2].model_copy(update={"description": "Writes a letter by mail."})]
    assert int(match.describe(old, new).scores("a letter").argmax()) == 2
    assert match.describe(old, old) is match


def test_a_tool_without_a_vector_counts_as_the_mean_of_the_others() -> None:
    match = match_of(NAMES, KeywordEmbeddings())
    other = replace(match_of(["mail"], KeywordEmbeddings(), "another:one"))
    scores = match.join(other, 1.0).scores("a letter and music")
    assert scores[3] == pytest.approx(float(scores[:3].mean()))


def test_a_request_is_embedded_once_however_often_it_is_compared() -> None:
    model = KeywordEmbeddings()
    match = match_of(NAMES, model)
    before = len(model.asked)
    for _ in range(3):
        match.scores("is it rainy?").zero_()
    assert len(model.asked) == before + 1
    assert float(match.scores("is it rainy?").max()) > 0


def test_another_process_gets_the_name_and_not_the_object() -> None:
    class Unpicklable(KeywordEmbeddings):
        def __reduce__(self) -> str:
            raise TypeError("a client with a lock")

    copied = pickle.loads(pickle.dumps(match_of(NAMES, Unpicklable())))  # noqa: S301 - our own bytes
    assert (copied.name, copied.model) == ("here:words", None)
    assert torch.equal(copied.sums, match_of(NAMES, KeywordEmbeddings()).sums)
