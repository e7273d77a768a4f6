"""The choice of a tool where one should be called does not depend on the rest of the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from langchain_toolken.evaluation.datasets import ToolQuestion
from langchain_toolken.evaluation.tool_choice import (
    DueStates,
    due_tools,
    embedding_scores,
    states_where_due,
    toolken_scores,
    top1,
)
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.content import bos_ids, encode_content
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.requests import Request, request_of
from langchain_toolken.prompts.turns import Turn
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.evidence import make_evidence
from tests.support.evidence_oracle import expected
from tests.support.head_oracle import all_logits

QUESTIONS = [
    ToolQuestion("Where was Ada born?", "birthplace"),
    ToolQuestion("Question: Who wrote that rather long book about nothing?\nAnswer: The answer is", "writer"),
    ToolQuestion("What?", "writer"),
]


def test_states_are_those_of_each_text_alone_at_its_end(tiny_llama: LanguageModel) -> None:
    states = states_where_due(tiny_llama, QUESTIONS).last
    for question, state in zip(QUESTIONS, states, strict=True):
        ids = [*bos_ids(tiny_llama.tokenizer), *encode_content(tiny_llama.tokenizer, question.text)]
        alone = tiny_llama.hidden_states(torch.tensor([ids]))[0, -1]
        assert torch.allclose(state, alone, atol=1e-5)


def test_the_choice_is_what_the_toolken_head_finds_likeliest(
    tiny_llama: LanguageModel, random_toolkens: Callable[..., ToolkenSet]
) -> None:
    toolkens = random_toolkens(tiny_llama, ["birthplace", "writer", "none"], bias=0.5)
    scores = toolken_scores(toolkens, states_where_due(tiny_llama, QUESTIONS))
    states = states_where_due(tiny_llama, QUESTIONS).last
    logits = all_logits(tiny_llama.head, states, toolkens.matrix, toolkens.biases)[:, tiny_llama.vocab_size :]
    assert torch.allclose(scores, logits, atol=1e-5)
    due = due_tools(QUESTIONS, toolkens.specs)
    assert due.tolist() == [0, 1, 1]
    assert top1(scores, scores.argmax(dim=1)) == 1
    assert top1(scores, (scores.argmax(dim=1) + 1) % 3) == 0


def test_evidence_counts_for_the_choice_as_in_decoding(
    tiny_llama: LanguageModel, random_toolkens: Callable[..., ToolkenSet]
) -> None:
    toolkens = random_toolkens(tiny_llama, ["birthplace", "writer", "none"], scale=0.2)
    toolkens = replace(toolkens, evidence=make_evidence(toolkens))
    questions = [*QUESTIONS, ToolQuestion("Q: Who is the writer?\nA: It was", "writer")]
    states = states_where_due(tiny_llama, questions)
    assert states.texts == (*(question.text for question in QUESTIONS), "Who is the writer?")
    shares = toolken_scores(toolkens, states).softmax(dim=1)
    for number, question in enumerate(questions):
        ids = [*bos_ids(tiny_llama.tokenizer), *encode_content(tiny_llama.tokenizer, question.text)]
        whole = Request(question.text, (0, len(ids)))
        asked = [Turn("user", "Who is the writer?")]
        request = whole if number < 3 else request_of(tiny_llama.tokenizer, asked, PromptFormat("completion"))
        said = expected(tiny_llama, ids, toolkens, request)
        assert shares[number].tolist() == pytest.approx(said.shares.tolist(), rel=2e-3)
    plain = toolken_scores(replace(toolkens, evidence=None), states)
    assert torch.equal(toolken_scores(toolkens, DueStates(states.last)), plain)


def test_what_is_asked_is_the_question_wherever_a_prompt_has_it(tiny_llama: LanguageModel) -> None:
    text = "Question: Who is the writer?\nAnswer: The answer is"
    known, unknown = (
        states_where_due(tiny_llama, [ToolQuestion(text, "writer", asked)]) for asked in ("Who is the writer?", "")
    )
    assert known.texts == ("Who is the writer?",)
    assert unknown.texts == (text,)
    assert torch.equal(known.last, unknown.last)
    assert known.requests is not None
    assert unknown.requests is not None
    assert not torch.allclose(known.requests, unknown.requests)


def test_a_question_is_nearest_to_the_tool_that_is_described_by_it(
    tiny_llama: LanguageModel, random_toolkens: Callable[..., ToolkenSet]
) -> None:
    (spec,) = random_toolkens(tiny_llama, ["a"]).specs
    tools = [spec.model_copy(update={"name": q.tool + str(i), "description": q.text}) for i, q in enumerate(QUESTIONS)]
    scores = embedding_scores(tiny_llama, tools, QUESTIONS)
    assert scores.argmax(dim=1).tolist() == [0, 1, 2]
    assert scores.diagonal().tolist() == pytest.approx([1.0] * 3, abs=1e-5)
