"""Embeddings count as far as they tell the tool on held-out calls, and are asked for each text once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.embeddings import EmbeddingMatch, NamedEmbeddings
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.evidence.embedded import Embedded
from langchain_toolken.training.evidence.which import Calls, choose_which
from langchain_toolken.training.fit import fit
from langchain_toolken.training.fit_warnings import ToolkenFitWarning
from langchain_toolken.training.options import FitOptions
from tests.support.keyword_embeddings import TOPICS, KeywordEmbeddings

SPECS = [
    ToolSpec(name=words[0], description=f"Does {words[0]}.", json_schema={"type": "object", "properties": {}})
    for words in TOPICS
]


def calls(each: int) -> Calls:
    """Requests that name their tool by another word than it does, and logits that are noise."""
    generator = torch.Generator().manual_seed(0)
    tool = torch.arange(len(SPECS)).repeat(each)
    texts = tuple(f"{TOPICS[k][1]} please, {number}" for number, k in enumerate(tool.tolist()))
    return Calls(
        tool=tool,
        request=None,
        texts=texts,
        demonstration=torch.arange(len(tool)),
        fold=torch.arange(len(tool)) // len(SPECS) % 5,
        logits=torch.randn(len(tool), len(SPECS), generator=generator),
        keep_texts=False,
    )


def test_embeddings_that_tell_the_tool_get_a_weight_and_others_none() -> None:
    given = calls(80)
    model = KeywordEmbeddings()
    embedded = Embedded.of(NamedEmbeddings("words", model), SPECS, given.texts)
    assert len(model.asked) == len(set(model.asked)) == len(SPECS) + len(set(given.texts))
    choice = choose_which(replace(given, embedded=embedded), SPECS, 1.0)
    assert choice.weights["embeddings"] > 0
    assert choice.top1[1] == 1.0
    (match,) = choice.evidence.lexical
    assert isinstance(match, EmbeddingMatch)
    noise = torch.nn.functional.normalize(torch.randn(len(given), 5, generator=torch.Generator().manual_seed(1)), dim=1)
    choice = choose_which(replace(given, embedded=replace(embedded, requests=noise)), SPECS, 1.0)
    assert choice.weights["embeddings"] == 0
    assert choice.evidence.lexical == ()


def test_where_nothing_can_be_judged_what_is_assumed_does_not_depend_on_how_far_cosines_are_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    apart = torch.nn.functional.normalize(torch.randn(20, 5, generator=generator), dim=1)
    near = torch.nn.functional.normalize(apart + 5.0, dim=1)
    model = NamedEmbeddings("words", KeywordEmbeddings())
    spreads = [Embedded(model, tools, apart[:0]).spread for tools in (apart, near)]
    assert spreads[0] > 4 * spreads[1]
    given = calls(1)
    few = Embedded.of(model, SPECS, given.texts)
    choice = choose_which(replace(given, embedded=few), SPECS, 1.0)
    assert choice.assumed
    assert choice.weights["embeddings"] == pytest.approx(12.0)


def test_a_fit_without_demonstrations_chooses_by_embeddings_too(tiny_llama: LanguageModel) -> None:
    with pytest.warns(ToolkenFitWarning, match="no demonstrations were given"):
        made = fit(tiny_llama, SPECS, style="chat", embeddings=KeywordEmbeddings()).toolkens
    assert made.evidence is not None
    scores = made.evidence.lexical_scores("a nice tune", len(SPECS))
    assert made.names[int(scores.argmax())] == "song"


def test_embeddings_without_evidence_are_refused() -> None:
    with pytest.raises(ValueError, match="embeddings are part of the evidence"):
        FitOptions(embeddings=NamedEmbeddings("words", KeywordEmbeddings()), evidence=False)
