"""Prior toolkens: a row per tool made from the LM's own embeddings of what the tool is called or does.

From TokenLearning (arXiv 2506.14248, §3): the prior initialises the toolken and the training pulls towards it, and
average pooling beats max pooling, more so with many tools. The paper pools the embeddings of the name's or
description's tokens; since a toolken is a row of the *output* head, the head's rows are the default here (`head`).
`input` takes the input embeddings (the same rows where the two are tied). `hidden` is what the authors' released code
does instead: it averages the last hidden states, L2-normalises them and divides by sqrt(5120), a constant of
LLaMA-13B's size; here that length is the mean length of the LM's head rows, so that it suits any LM.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from langchain_toolken.decoding.lm import LanguageModel
from langchain_toolken.tools import ToolSpec

PriorSource = Literal["head", "input", "hidden"]
PriorText = Literal["name", "description", "both"]
Pooling = Literal["average", "max"]

_BATCH = 16


@dataclass(frozen=True)
class PriorConfig:
    """How prior toolkens are made.

    source: which vectors are pooled: the output head's rows (the default: a toolken is one more such row), the input
        embeddings, or the last hidden states over the text.
    text: the tool's name as words (the default: short, and what a sentence would say), its description, or both.
    pooling: average (the paper's better one) or the element-wise maximum over the text's tokens.
    """

    source: PriorSource = "head"
    text: PriorText = "name"
    pooling: Pooling = "average"

    def __post_init__(self) -> None:
        for field, value, allowed in (
            ("source", self.source, get_args(PriorSource)),
            ("text", self.text, get_args(PriorText)),
            ("pooling", self.pooling, get_args(Pooling)),
        ):
            if value not in allowed:
                raise ValueError(f"prior {field} is {value!r}; it must be one of {', '.join(allowed)}")

    def __str__(self) -> str:
        return f"{self.source}/{self.text}/{self.pooling}"


def name_words(name: str) -> str:
    """A tool's name as words in lower case: snake_case, camelCase, kebab-case and paths are taken apart.

    "getHTTPStatus" -> "get http status", "people/place_of_birth" -> "people place of birth". A name without a letter or
    digit comes back as it is.
    """
    spaced = re.sub(r"[\W_]+", " ", name)
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", spaced)
    return " ".join(spaced.lower().split()) or name


@torch.inference_mode()
def prior_rows(lm: LanguageModel, specs: Sequence[ToolSpec], config: PriorConfig) -> Tensor:
    """Prior toolkens (K, d), float32 on the CPU, for `specs` in their order.

    Rows stand on the scale of the LM's word logits: `head` rows take the factor that the model applies to its logits
    (Cohere, Granite), `input` rows are scaled by one number, the ratio of the head's to the input embeddings' mean
    length (1 where they are tied), and each `hidden` row gets the head's mean length. A tool without a description
    falls back to its name.

    Raises ValueError for a text of which the tokenizer makes no token.
    """
    if not specs:
        return torch.empty(0, lm.hidden_size)
    texts = [_text(spec, config.text) for spec in specs]
    ids = [text_ids(lm, spec, text) for spec, text in zip(specs, texts, strict=True)]
    if config.source == "hidden":
        rows = torch.stack([_pool(states, config.pooling) for states in text_states(lm, ids)])
        return _head_length(lm) * torch.nn.functional.normalize(rows, dim=1)
    if config.source == "head":
        weight, scale = lm.head.weight, lm.head.transform.scale
    else:
        embeddings = lm.model.get_input_embeddings().weight
        assert isinstance(embeddings, Tensor)
        weight, scale = embeddings, _head_length(lm) / _mean_length(lm, embeddings)
    return scale * torch.stack([_pool(weight[i].float().cpu(), config.pooling) for i in ids])


def _text(spec: ToolSpec, text: PriorText) -> str:
    name, description = name_words(spec.name), " ".join(spec.description.split())
    if text == "name" or not description:
        return name
    return description if text == "description" else f"{name}: {description}"


def text_ids(lm: LanguageModel, spec: ToolSpec, text: str) -> list[int]:
    """Tokens of a text about a tool as it would stand within a sentence, that is after a space; at least one.

    Raises ValueError, naming the tool, where the tokenizer makes none.
    """
    tokenizer = lm.tokenizer
    # SentencePiece tokenizers such as Llama 2's put the word boundary in front by themselves; others need the space.
    leads = tokenizer.tokenize(text)[:1]
    own_space = bool(leads) and leads[0].startswith("▁")
    ids: list[int] = tokenizer(text if own_space else f" {text}", add_special_tokens=False)["input_ids"]
    if not ids:
        raise ValueError(
            f"tool '{spec.name}': the tokenizer makes no token of {text!r}, so it has no prior; rename the tool"
        )
    return ids


def _pool(vectors: Tensor, pooling: Pooling) -> Tensor:
    return vectors.mean(dim=0) if pooling == "average" else vectors.amax(dim=0)


@torch.inference_mode()
def text_states(lm: LanguageModel, ids: Sequence[list[int]]) -> list[Tensor]:
    """Hidden states (n, d) over each text's tokens, float32 on the CPU.

    The bos goes in front if the LM has one, and is not pooled: its state is the same for all tools, and often huge.
    """
    bos = [] if lm.tokenizer.bos_token_id is None else [lm.tokenizer.bos_token_id]
    texts = [[*bos, *i][: lm.context_length] for i in ids]
    states: list[Tensor] = [torch.empty(0)] * len(texts)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), _BATCH):
        batch = order[start : start + _BATCH]
        length = max(len(texts[i]) for i in batch)
        input_ids = torch.tensor([texts[i] + [0] * (length - len(texts[i])) for i in batch], device=lm.device)
        mask = torch.tensor([[1] * len(texts[i]) + [0] * (length - len(texts[i])) for i in batch], device=lm.device)
        hidden = lm.hidden_states(input_ids, attention_mask=mask)
        for row, i in enumerate(batch):
            states[i] = hidden[row, len(bos) : len(texts[i])].float().cpu()
    return states


def _head_length(lm: LanguageModel) -> float:
    return lm.head.transform.scale * _mean_length(lm, lm.head.weight)


def _mean_length(lm: LanguageModel, rows: Tensor) -> float:
    """Mean length of the rows that stand for a token; rows of padding beyond the tokenizer's vocabulary don't count."""
    return float(torch.linalg.vector_norm(rows[: len(lm.tokenizer)].float(), dim=1).mean())
