"""The choice of a tool where one should be called does not depend on the rest of the batch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from langchain_toolken.evaluation.datasets import ToolQuestion
from langchain_toolken.evaluation.tool_choice import (
    due_tools,
    embedding_scores,
    states_where_due,
    toolken_scores,
    top1,
)
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.content import bos_ids, encode_content
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.head_oracle import all_logits

QUESTIONS = [
    ToolQuestion("Where was Ada born?", "birthplace"),
    ToolQuestion("Question: Who wrote that rather long book about nothing?\nAnswer: The answer is", "writer"),
    ToolQuestion("What?", "writer"),
]


def test_states_are_those_of_each_text_alone_at_its_end(tiny_llama: LanguageModel) -> None:
    states = states_where_due(tiny_llama, QUESTIONS)
    for question, state in zip(QUESTIONS, states, strict=True):
        ids = [*bos_ids(tiny_llama.tokenizer), *encode_content(tiny_llama.tokenizer, question.text)]
        alone = tiny_llama.hidden_states(torch.tensor([ids]))[0, -1]
        assert torch.allclose(state, alone, atol=1e-5)


def test_the_choice_is_what_the_toolken_head_finds_likeliest(
    tiny_llama: LanguageModel, random_toolkens: Callable[..., ToolkenSet]
) -> None:
    toolkens = random_toolkens(tiny_llama, ["birthplace", "writer", "none"], bias=0.5)
    scores = toolken_scores(toolkens, states_where_due(tiny_llama, QUESTIONS))
    states = states_where_due(tiny_llama, QUESTIONS)
    expected = all_logits(tiny_llama.head, states, toolkens.matrix, toolkens.biases)[:, tiny_llama.vocab_size :]
    assert torch.allclose(scores, expected, atol=1e-5)
    due = due_tools(QUESTIONS, toolkens.specs)
    assert due.tolist() == [0, 1, 1]
    assert top1(scores, scores.argmax(dim=1)) == 1
    assert top1(scores, (scores.argmax(dim=1) + 1) % 3) == 0


def test_a_question_is_nearest_to_the_tool_that_is_described_by_it(
    tiny_llama: LanguageModel, random_toolkens: Callable[..., ToolkenSet]
) -> None:
    (spec,) = random_toolkens(tiny_llama, ["a"]).specs
    tools = [spec.model_copy(update={"name": q.tool + str(i), "description": q.text}) for i, q in enumerate(QUESTIONS)]
    scores = embedding_scores(tiny_llama, tools, QUESTIONS)
    assert scores.argmax(dim=1).tolist() == [0, 1, 2]
    assert scores.diagonal().tolist() == pytest.approx([1.0] * 3, abs=1e-5)
