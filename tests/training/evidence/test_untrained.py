"""Sets of which nothing but names and descriptions is known: which tool, and when none."""

from __future__ import annotations

import pytest
import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import Style
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.evidence.untrained import untrained, untrained_priors
from langchain_toolken.training.options import FitOptions

WORDS = ("weather", "table", "song", "mail", "flight", "recipe", "taxi", "loan", "film", "map")
SPECS = [
    ToolSpec(name=word, description=f"Finds a {word}.", json_schema={"type": "object", "properties": {}})
    for word in WORDS
]


def test_a_gate_is_learned_from_descriptions_and_plain_requests(tiny_llama: LanguageModel) -> None:
    options = FitOptions()
    prior = torch.randn(len(SPECS), tiny_llama.hidden_size)
    made = untrained(tiny_llama, SPECS, {"raw": prior + 1, "best": prior}, "chat", options)
    assert made.when is not None
    assert made.evidence is not None
    assert made.evidence.gate is made.when.gate is not None
    assert made.evidence.scale > 0
    assert made.prior == "best, levelled"
    assert list(map(str, untrained_priors(options, "chat"))) == ["head/name/average", "head/both/weighted"]
    assert not torch.equal(made.rows, prior)
    torch.testing.assert_close(made.rows.norm(dim=1).mean(), prior.norm(dim=1).mean())
    assert int(made.evidence.lexical_scores("find me a taxi", len(SPECS)).argmax()) == WORDS.index("taxi")


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_without_a_gate_the_prior_says_when_and_the_words_say_which(tiny_llama: LanguageModel, style: Style) -> None:
    options = FitOptions(gate=style == "completion")
    prior = torch.randn(len(SPECS), tiny_llama.hidden_size)
    made = untrained(tiny_llama, SPECS, {"raw": prior}, style, options)
    assert made.when is None
    assert made.evidence is not None
    assert made.evidence.gate is None
    assert made.evidence.request_rows is not None
    assert torch.equal(made.rows, prior)
    assert list(map(str, untrained_priors(options, style))) == ["head/name/average"]
    assert int(made.evidence.lexical_scores("find me a taxi", len(SPECS)).argmax()) == WORDS.index("taxi")


def test_the_papers_prior_alone_is_left_as_it_is(tiny_llama: LanguageModel) -> None:
    prior = torch.randn(len(SPECS), tiny_llama.hidden_size)
    made = untrained(tiny_llama, SPECS, {"raw": prior}, "chat", FitOptions(gate=False, evidence=False))
    assert made.evidence is None
    assert torch.equal(made.rows, prior)
