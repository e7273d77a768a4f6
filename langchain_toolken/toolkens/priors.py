"""Prior toolkens: a row per tool, made from the LM's own embeddings of the tool's name or description.

From TokenLearning (arXiv 2506.14248, §3): the prior initialises the toolken, and training pulls towards it. Average
pooling beats max pooling there, more so with many tools. The paper pools the embeddings of the tokens of the name or
description. A toolken is a row of the *output* head, so the head's rows are the default here (`head`); `input` takes
the input embeddings (the same rows if the two are tied). `hidden` follows the authors' released code instead: it
averages the last hidden states, L2-normalises them and divides by sqrt(5120), a constant of LLaMA-13B's size. Here the
mean length of the LM's head rows replaces that constant, which suits any LM.

The paper leaves open what to do with names that mean nothing (its question 3). Here such names are recognised by their
spelling (`says_nothing`), and the description is used instead.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.states import text_states
from langchain_toolken.progress import Progress
from langchain_toolken.tools.spec import ToolSpec

PriorSource = Literal["head", "input", "hidden"]
PriorText = Literal["name", "description", "both"]
Pooling = Literal["average", "max", "weighted"]

# `a` of the weights a / (a + share of tools with this token): better than 0.1, and than the idf of BM25.
_SHARED_TOKENS = 0.01
# Names for things that have none yet, and words that only say that a tool is a tool.
_PLACEHOLDER = re.compile(
    "an?|api|ba[rz]|custom|endpoint|fn|foo|func|functions?|handler|helpers?|item|method|misc|my|op|operation|procedure"
    "|property|qux|relation|sample|something|stuff|te?mp|the|thing|tools?|unknown|unnamed|untitled|utils?"
)


@dataclass(frozen=True)
class PriorConfig:
    """How prior toolkens are made.

    Attributes:
        source: Which vectors are pooled: the output head's rows (the default, because a toolken is one more such row),
            the input embeddings, or the last hidden states over the text.
        text: The tool's name as words (the default: short, and what a sentence would say), its description, or both. A
            name that says nothing (`says_nothing`) is replaced by the description, and left out of "both".
        pooling: "average" (the paper's choice), "max" (element-wise over the text's tokens), or "weighted": an average
            that plays down tokens shared by many of the tools ("get", "the"). A token that a share p of the tools have
            weighs 1 / (0.01 + p), after Arora et al. 2017 (SIF). It improves on the average for `head` and is worse
            for `hidden`.
    """

    source: PriorSource = "head"
    text: PriorText = "name"
    pooling: Pooling = "average"

    def __post_init__(self) -> None:
        for field, allowed in _SETTINGS.items():
            value = getattr(self, field)
            if value not in allowed:
                raise ValueError(f"prior {field} is {value!r}; it must be one of {', '.join(allowed)}")

    def __str__(self) -> str:
        return f"{self.source}/{self.text}/{self.pooling}"

    @classmethod
    def parse(cls, text: str) -> PriorConfig:
        """Parse what `str` writes. Parts may be left out and come in any order ("description", "hidden/both").

        Raises:
            ValueError: A part is not a setting, or two are for the same one.
        """
        found: dict[str, Any] = {}
        for part in text.split("/"):
            field = next((field for field, allowed in _SETTINGS.items() if part in allowed), None)
            if field is None:
                known = "; ".join(f"{field}: {', '.join(allowed)}" for field, allowed in _SETTINGS.items())
                raise ValueError(f"prior {text!r}: {part!r} is no setting of a prior ({known})")
            if field in found:
                raise ValueError(f"prior {text!r} names two of its {field}: {found[field]} and {part}; leave out one")
            found[field] = part
        return cls(**found)


_SETTINGS: dict[str, tuple[str, ...]] = {
    "source": get_args(PriorSource),
    "text": get_args(PriorText),
    "pooling": get_args(Pooling),
}


def name_words(name: str) -> str:
    """Split a tool's name (snake_case, camelCase, kebab-case, a path) into words in lower case.

    "getHTTPStatus" becomes "get http status", "listUserIDs" "list user ids", and "people/place_of_birth" "people place
    of birth". This holds for every script with capitals. A name without a letter or digit is returned unchanged.
    """
    words = []
    for part in re.sub(r"[\W_]+", " ", name).split():
        begun = 0
        for at in range(1, len(part)):
            if _word_begins(part, at):
                words.append(part[begun:at])
                begun = at
        words.append(part[begun:])
    return " ".join(words).lower() or name


def _word_begins(part: str, at: int) -> bool:
    if not part[at].isupper():
        return False
    if not part[at - 1].isupper():
        return True
    # The last capital of a run begins a word (HTTPStatus), unless what follows is its plural (IDs, URLsOf).
    rest = part[at + 1 :]
    return rest[:1].islower() and not (rest[0] == "s" and not rest[1:2].islower())


def says_nothing(name: str) -> bool:
    """Tell whether a name is a code or a placeholder (P1408, func_42, tool_b, f), of which a prior would be noise.

    It is if every word is a number, a single letter, a placeholder ("function", "foo"), or a code. A code is a
    placeholder or at most two letters mixed with digits ("p1408", "func42", "a3f9"), or six or more hexadecimal digits.
    Spelling cannot show that "zxqv" or "bluebird" is a code name; for those, use descriptions. `prior="auto"` does so
    if cross-validation finds them better.
    """
    return all(_is_code(word) for word in name_words(name).split())


def _is_code(word: str) -> bool:
    if _PLACEHOLDER.fullmatch(word):
        return True
    if not word.isascii():  # one ideograph may be a whole word
        return not any(c.isalpha() for c in word)
    runs = re.findall("[a-z]+", word)
    if len(word) == 1 or not runs:
        return True
    if runs == [word]:
        return False
    hexadecimal = re.fullmatch("[0-9a-f]{6,}", word) is not None and sum(c.isdigit() for c in word) > 1
    return hexadecimal or all(len(run) <= 2 or _PLACEHOLDER.fullmatch(run) for run in runs)


@torch.inference_mode()
def prior_rows(
    lm: LanguageModel,
    specs: Sequence[ToolSpec],
    config: PriorConfig,
    among: Sequence[ToolSpec] | None = None,
    progress: Progress | None = None,
) -> Tensor:
    """Make prior toolkens (K, d), float32 on the CPU, for `specs` in order.

    They are as long as the head's rows are in the logits (Cohere's and Granite's factor included). `head` and `input`
    rows are scaled by one number, so that their mean length is that of the head's rows: a row pooled from more tokens
    is shorter, and an unscaled one would pull too little. One number, because rows scaled one by one rank worse among
    many tools. `hidden` rows have another origin, and each gets that length, as in the authors' code. A tool without a
    description uses its name.

    Args:
        lm: The LM.
        specs: The K tools.
        config: How to make the rows.
        among: All tools of the set that `specs` belong to, over which token shares and lengths are computed. None for
            `specs` alone.
        progress: Called while the texts of `hidden` go through the LM.

    Raises:
        ValueError: The tokenizer makes no token of a text. The message names the tool.
    """
    if not specs:
        return torch.empty(0, lm.hidden_size)
    ids = [text_ids(lm, spec, _text(spec, config.text)) for spec in specs]
    everyone = ids if among is None else [text_ids(lm, spec, _text(spec, config.text)) for spec in among]
    weights = _token_weights(everyone, config.pooling)
    length = _head_length(lm)
    if config.source == "hidden":
        states = text_states(lm, ids, progress)
        rows = torch.stack([_pool(vectors, i, config.pooling, weights) for vectors, i in zip(states, ids, strict=True)])
        return length * torch.nn.functional.normalize(rows, dim=1)
    table = lm.head.weight if config.source == "head" else lm.input_embeddings

    def pooled(texts: Sequence[list[int]]) -> Tensor:
        return torch.stack([_pool(table[i].float().cpu(), i, config.pooling, weights) for i in texts])

    rows = pooled(ids)
    typical = torch.linalg.vector_norm(rows if among is None else pooled(everyone), dim=1).mean()
    return rows.mul(length / typical.clamp(min=1e-12))


def _text(spec: ToolSpec, text: PriorText) -> str:
    name, description = name_words(spec.name), " ".join(spec.description.split())
    if not description:
        return name
    if text == "description" or says_nothing(spec.name):
        return description
    return name if text == "name" else f"{name}: {description}"


def _token_weights(texts: Sequence[list[int]], pooling: Pooling) -> dict[int, float] | None:
    """Return each token's weight in a weighted average, by the share of texts it occurs in; None for other poolings."""
    if pooling != "weighted":
        return None
    counts = Counter(token for text in texts for token in set(text))
    return {token: _SHARED_TOKENS / (_SHARED_TOKENS + count / len(texts)) for token, count in counts.items()}


def _pool(vectors: Tensor, ids: list[int], pooling: Pooling, weights: dict[int, float] | None) -> Tensor:
    """Pool the vectors (n, d) of a text's tokens into one (d,)."""
    if pooling == "max":
        return vectors.amax(dim=0)
    if weights is None:
        return vectors.mean(dim=0)
    # A token in none of the counted texts is as rare as possible.
    shares = torch.tensor([weights.get(token, 1.0) for token in ids[: len(vectors)]])
    return shares @ vectors / shares.sum()


def _head_length(lm: LanguageModel) -> float:
    return lm.head.transform.scale * _mean_length(lm, lm.head.weight)


def _mean_length(lm: LanguageModel, rows: Tensor) -> float:
    """Return the mean length of the rows of real tokens, without padding rows beyond the tokenizer's vocabulary."""
    return float(torch.linalg.vector_norm(rows[: len(lm.tokenizer)].float(), dim=1).mean())


def text_ids(lm: LanguageModel, spec: ToolSpec, text: str) -> list[int]:
    """Tokenize a text about a tool as it would occur within a sentence, that is after a space.

    Raises:
        ValueError: The tokenizer makes no token of it. The message names the tool.
    """
    tokenizer = lm.tokenizer
    # SentencePiece tokenizers such as Llama 2's add the word boundary themselves; others need the space.
    leads = tokenizer.tokenize(text)[:1]
    own_space = bool(leads) and leads[0].startswith("▁")
    ids: list[int] = tokenizer(text if own_space else f" {text}", add_special_tokens=False)["input_ids"]
    if not ids:
        raise ValueError(
            f"tool '{spec.name}': the tokenizer makes no token of {text!r}, so it has no prior; rename the tool"
        )
    return ids
