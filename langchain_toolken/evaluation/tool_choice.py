"""Which tool a method chooses where one should be called: how the papers grade KAMEL and SimpleToolQuestions.

A question's text ends where its tool should be called. A method scores every tool there, and the tool with the highest
score is its choice (top-1). Words don't compete: the papers grade which tool is called, not whether one is.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from langchain_toolken.evaluation.datasets import ToolQuestion
from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.content import bos_ids, encode_content
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec

_BATCH = 64


@torch.inference_mode()
def states_where_due(lm: LanguageModel, questions: Sequence[ToolQuestion], progress: Progress | None = None) -> Tensor:
    """Compute the LM's hidden state at the end of each question, in completion style: (N, d) float32 on the CPU."""
    ids = [[*bos_ids(lm.tokenizer), *encode_content(lm.tokenizer, question.text)] for question in questions]
    states = torch.empty(len(ids), lm.hidden_size)
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        length = max(len(ids[i]) for i in batch)
        input_ids = torch.tensor([ids[i] + [0] * (length - len(ids[i])) for i in batch], device=lm.device)
        mask = torch.tensor([[1] * len(ids[i]) + [0] * (length - len(ids[i])) for i in batch], device=lm.device)
        hidden = lm.hidden_states(input_ids, attention_mask=mask)
        for row, i in enumerate(batch):
            states[i] = hidden[row, len(ids[i]) - 1].float().cpu()
        if progress is not None:
            progress(min(start + _BATCH, len(order)), len(order), "questions")
    return states


def due_tools(questions: Sequence[ToolQuestion], tools: Sequence[ToolSpec]) -> Tensor:
    """Return the index in `tools` of each question's tool, (N,) int64.

    Raises:
        KeyError: If a question's tool is not among `tools`.
    """
    index = {spec.name: k for k, spec in enumerate(tools)}
    return torch.tensor([index[question.tool] for question in questions])


def toolken_scores(toolkens: ToolkenSet, states: Tensor) -> Tensor:
    """Compute toolken logits with their biases, (N, K)."""
    return toolken_logits(states, toolkens.matrix, toolkens.biases)


def embedding_scores(lm: LanguageModel, tools: Sequence[ToolSpec], questions: Sequence[ToolQuestion]) -> Tensor:
    """Compute the cosine of the LM's mean hidden states over each question and each tool's description, (N, K)."""
    config = PriorConfig(source="hidden", text="description", pooling="average")
    # Questions are passed as descriptions, so that both are pooled alike.
    asked = [
        ToolSpec(name=f"q{i}", description=q.text, json_schema=tools[0].json_schema) for i, q in enumerate(questions)
    ]
    rows = [torch.nn.functional.normalize(prior_rows(lm, specs, config), dim=1) for specs in (asked, tools)]
    return rows[0] @ rows[1].T


def top1(scores: Tensor, due: Tensor) -> float:
    """Return the share of questions whose tool has the highest score. `scores` is (N, K), `due` is (N,)."""
    return float((scores.argmax(dim=1) == due).double().mean())
