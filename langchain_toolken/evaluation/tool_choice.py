"""Which tool a method chooses where one should be called: how the papers grade KAMEL and SimpleToolQuestions.

A question's text ends where its tool should be called. A method scores every tool there, and the tool with the highest
score is its choice (top-1). Words don't compete: the papers grade which tool is called, not whether one is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.evaluation.datasets import ToolQuestion
from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.content import bos_ids, encode_with_ends
from langchain_toolken.prompts.requests import Request, question_of, tokens_between
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec

_BATCH = 64


@dataclass(frozen=True, eq=False)
class DueStates:
    """What the LM makes of N questions, float32 on the CPU.

    Attributes:
        last: (N, d), the hidden state at each question's end.
        requests: (N, d), the mean hidden state of what is asked; None where it is not known.
        texts: What is asked, N texts; empty where it is not known.
    """

    last: Tensor
    requests: Tensor | None = None
    texts: tuple[str, ...] = ()


@torch.inference_mode()
def states_where_due(
    lm: LanguageModel, questions: Sequence[ToolQuestion], progress: Progress | None = None
) -> DueStates:
    """Run the LM over each question, in completion style.

    What is asked is the question where it is known, as in a chat. Else it is as in training: the part after "Q:", or
    all of another text.
    """
    laid_out = [_lay_out(lm, question.text, question.asked) for question in questions]
    ids = [each for each, _ in laid_out]
    states, means = torch.empty(len(ids), lm.hidden_size), torch.empty(len(ids), lm.hidden_size)
    order = sorted(range(len(ids)), key=lambda i: -len(ids[i]))
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        length = max(len(ids[i]) for i in batch)
        input_ids = torch.tensor([ids[i] + [0] * (length - len(ids[i])) for i in batch], device=lm.device)
        mask = torch.tensor([[1] * len(ids[i]) + [0] * (length - len(ids[i])) for i in batch], device=lm.device)
        hidden = lm.hidden_states(input_ids, attention_mask=mask)
        for row, i in enumerate(batch):
            states[i] = hidden[row, len(ids[i]) - 1].float().cpu()
            means[i] = hidden[row, slice(*laid_out[i][1].span)].float().mean(dim=0).cpu()
        if progress is not None:
            progress(min(start + _BATCH, len(order)), len(order), "questions")
    return DueStates(states, means, tuple(request.text for _, request in laid_out))


def _lay_out(lm: LanguageModel, text: str, question: str) -> tuple[list[int], Request]:
    bos = bos_ids(lm.tokenizer)
    pieces = encode_with_ends(lm.tokenizer, text, continued=False, offsets=True)
    ids, asked = [*bos, *(index for index, _ in pieces)], question_of(text)
    if question and question != text and question in text:
        asked = text.index(question), text.index(question) + len(question)
    if asked is None:
        return ids, Request(text, (0, len(ids)))
    return ids, Request(
        text[slice(*asked)], tokens_between([*(None for _ in bos), *(end for _, end in pieces)], *asked)
    )


def due_tools(questions: Sequence[ToolQuestion], tools: Sequence[ToolSpec]) -> Tensor:
    """Return the index in `tools` of each question's tool, (N,) int64.

    Raises:
        KeyError: If a question's tool is not among `tools`.
    """
    index = {spec.name: k for k, spec in enumerate(tools)}
    return torch.tensor([index[question.tool] for question in questions])


def toolken_scores(toolkens: ToolkenSet, states: DueStates) -> Tensor:
    """Compute the set's scores of its tools, (N, K): with its evidence, or else the toolkens' logits with their biases.

    Where nothing is known of the requests, evidence has no part in it.
    """
    logits = toolken_logits(states.last, toolkens.matrix, toolkens.biases)
    if toolkens.evidence is None or states.requests is None:
        return logits
    return toolkens.evidence.scores(logits, states.requests, states.texts)


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
