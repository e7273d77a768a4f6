"""Toolkens that are sure inside of texts, and know nothing where a question ends, count less."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.evidence.asked_alone import asked_alone, question_alone
from langchain_toolken.training.evidence.which import Calls, choose_which
from langchain_toolken.training.fit import fit

SPECS = [
    ToolSpec(name=name, description=text, json_schema={"type": "object", "properties": {}})
    for name, text in (("owner", "Who owns a firm."), ("author", "Who wrote a book."))
]
TOOLS = len(SPECS)


def called(text: str, result: str, tool: str = "owner") -> Demonstration:
    return Demonstration(text=text, calls=(DemonstratedCall(start=text.index(result), tool=tool),))


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("Who owns Nike? The owner of Nike is Mark.", "Who owns Nike?"),
        ("I wonder. Is it? Who owns Nike? It is Mark. Is it not?", "I wonder. Is it? Who owns Nike?"),
        ("谁拥有耐克？ 是 Mark", "谁拥有耐克？"),
        ("Nike is owned by Mark. Who else?", None),
        ("? Mark", None),
        ("Q: Who owns Nike?\nA: Mark", None),
    ],
)
def test_a_question_is_what_is_before_the_call_up_to_its_mark(text: str, question: str | None) -> None:
    assert question_alone(called(text, "Mark")) == question


def texts(count: int) -> list[Demonstration]:
    found = []
    for i in range(count):
        found.append(called(f"Who owns firm {i}? The owner of firm {i} is Mark.", "Mark"))
        found.append(called(f"Who wrote book {i}? The author of book {i} is Anna.", "Anna", "author"))
    return found


def test_held_out_calls_are_asked_with_their_questions_alone(tiny_llama: LanguageModel) -> None:
    result = fit(tiny_llama, SPECS, texts(24), style="completion", prior=PriorConfig(), docstring_examples=False)
    number = torch.arange(48)
    calls = Calls(
        tool=number % TOOLS,
        request=torch.zeros(48, tiny_llama.hidden_size),
        texts=("as it was",) * 48,
        demonstration=number,
        fold=number // TOOLS % 2,
        logits=torch.zeros(48, TOOLS),
    )
    rows = torch.zeros(TOOLS, tiny_llama.hidden_size)
    asked = asked_alone(tiny_llama, texts(24), calls, result.toolkens, rows, "completion")
    assert asked is not None
    assert asked.fold.tolist() == [0] * 24
    assert asked.texts[:3] == ("Who owns firm 0?", "Who wrote book 0?", "Who owns firm 2?")
    assert asked.logits is not None
    assert torch.allclose(asked.logits, result.toolkens.biases.expand(24, TOOLS)), "by the given rows"
    assert asked.request is not None
    assert (asked.request.norm(dim=1) > 0).all()
    laid_out = [called(f"Q: Who owns {i}?\nA: Mark", "Mark") for i in range(48)]
    assert asked_alone(tiny_llama, laid_out, calls, result.toolkens, rows, "completion") is None


def test_toolkens_that_know_nothing_of_questions_alone_count_less() -> None:
    generator = torch.Generator().manual_seed(0)
    tool = torch.arange(400) % TOOLS
    sure = 6.0 * torch.nn.functional.one_hot(tool, TOOLS) + torch.randn(400, TOOLS, generator=generator)
    means = torch.randn(TOOLS, 8, generator=generator)
    given = Calls(
        tool=tool,
        request=means[tool] + torch.randn(400, 8, generator=generator),
        texts=("no words",) * 400,
        demonstration=torch.arange(400),
        fold=torch.arange(400) // TOOLS % 5,
        logits=sure,
    )
    alone = given.subset(given.fold == 0)
    alone = replace(alone, logits=6.0 * torch.randn(len(alone), TOOLS, generator=generator))
    before, after = (choose_which(given, SPECS, 1.0, asked=asked) for asked in (None, alone))
    assert before.judged == after.judged == 400
    assert after.weights["toolkens"] < 0.5 * before.weights["toolkens"]
    assert after.weights["request"] > before.weights["request"]
    assert before.weights["description"] < 0.29 < after.weights["description"], "others may word it as it does"
