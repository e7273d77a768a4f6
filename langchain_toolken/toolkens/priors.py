"""Prior toolkens: a row per tool made from the LM's own embeddings of what the tool is called or does.

From TokenLearning (arXiv 2506.14248, §3): the prior initialises the toolken and the training pulls towards it, and
average pooling beats max pooling, more so with many tools. The paper pools the embeddings of the name's or
description's tokens; since a toolken is a row of the *output* head, the head's rows are the default here (`head`).
`input` takes the input embeddings (the same rows where the two are tied). `hidden` is what the authors' released code
does instead: it averages the last hidden states, L2-normalises them and divides by sqrt(5120), a constant of
LLaMA-13B's size; here that length is the mean length of the LM's head rows, so that it suits any LM.

The paper leaves open what to do about names that mean nothing (its question 3). Here such a name is noticed by how it
is written (`says_nothing`), and the description stands in for it.
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

# `a` of the weights a / (a + share of tools with this token). With it the untrained head rows of name and description
# put 0.216 of the tools first (mini-lm, mean of KAMEL-30, -60, -100 and -234); with 0.1 0.206, with BM25's idf 0.207.
_SHARED_TOKENS = 0.01
# What things are called before anyone knows what they are, and words that only say that a tool is a tool.
_PLACEHOLDER = re.compile(
    "an?|api|ba[rz]|custom|endpoint|fn|foo|func|functions?|handler|helpers?|item|method|misc|my|op|operation|procedure"
    "|property|qux|relation|sample|something|stuff|te?mp|the|thing|tools?|unknown|unnamed|untitled|utils?"
)


@dataclass(frozen=True)
class PriorConfig:
    """How prior toolkens are made.

    source: which vectors are pooled: the output head's rows (the default: a toolken is one more such row), the input
        embeddings, or the last hidden states over the text.
    text: the tool's name as words (the default: short, and what a sentence would say), its description, or both. A name
        that says nothing (`says_nothing`) is replaced by the description, and left out of "both".
    pooling: average (the paper's better one), the element-wise maximum over the text's tokens, or an average that plays
        down the tokens that many of the tools share ("get", "the"): a token that a share p of the tools have weighs
        1 / (0.01 + p), after Arora et al. 2017 (SIF). It suits `head`: with mini-lm, priors of name and description,
        nothing trained and KAMEL-30 to -234, it puts 0.36, 0.21, 0.16, 0.14 of the tools first where the average
        manages 0.27, 0.21, 0.14, 0.11. It does not suit `hidden` (0.30, 0.09, 0.06, 0.04 for 0.32, 0.21, 0.16, 0.14).
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
        """The reverse of `str`; parts may be left out, and stand in any order ("description", "hidden/both").

        Raises ValueError for a part that is no setting, or two for the same one.
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
    """A tool's name as words in lower case: snake_case, camelCase, kebab-case and paths are taken apart.

    "getHTTPStatus" -> "get http status", "listUserIDs" -> "list user ids", "people/place_of_birth" -> "people place of
    birth", and so in any script that has capitals. A name without a letter or digit comes back as it is.
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
    """Whether a name is a code or a placeholder, so that a prior made of it would be noise: P1408, func_42, tool_b, f.

    It is one if all of its words are numbers, single letters, placeholders ("function", "foo"), or codes: a placeholder
    or at most two letters mixed with digits ("p1408", "func42", "a3f9"), or six and more hexadecimal digits. Going by
    spelling it can't tell that "zxqv" or "bluebird" is a code name: for those take the descriptions, as
    cross-validation (prior="auto") does where they serve better.
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
    """Prior toolkens (K, d), float32 on the CPU, for `specs` in their order.

    Their lengths are the head's: `head` and `input` rows are scaled by one number for all of them, so that their mean
    length is that of the head's rows as they enter the logits (Cohere's and Granite's factor included). Pooled rows are
    shorter, the more tokens they are made of, and so pull less: with 1, 4 and 12 demonstrations a tool of KAMEL-60
    (mini-lm, the name's head rows, best λ) top-1 is 0.160, 0.262, 0.322 as they are and 0.188, 0.272, 0.336 scaled.
    One number, because rows that each get that length rank worse among many tools (untrained, KAMEL-234: 0.104 for
    0.124; SimpleToolQuestions: 0.026 for 0.029). `hidden` rows are of another origin, and each gets that length, as in
    the authors' code. A tool without a description falls back to its name.

    among: all tools of a set of which `specs` are some, new ones say: shares and lengths are then counted over these.
    None: over `specs`. progress: of `hidden`, whose texts go through the LM; called with (done, total, what).

    Raises ValueError for a text of which the tokenizer makes no token.
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
    table = lm.head.weight if config.source == "head" else lm.model.get_input_embeddings().weight
    assert isinstance(table, Tensor)

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
    """Each token's weight in a weighted average, by the share of texts that it occurs in; None for other poolings."""
    if pooling != "weighted":
        return None
    counts = Counter(token for text in texts for token in set(text))
    return {token: _SHARED_TOKENS / (_SHARED_TOKENS + count / len(texts)) for token, count in counts.items()}


def _pool(vectors: Tensor, ids: list[int], pooling: Pooling, weights: dict[int, float] | None) -> Tensor:
    """One vector (d,) of those of a text's tokens (n, d)."""
    if pooling == "max":
        return vectors.amax(dim=0)
    if weights is None:
        return vectors.mean(dim=0)
    # A token that none of the counted texts has is as rare as can be.
    shares = torch.tensor([weights.get(token, 1.0) for token in ids[: len(vectors)]])
    return shares @ vectors / shares.sum()


def _head_length(lm: LanguageModel) -> float:
    return lm.head.transform.scale * _mean_length(lm, lm.head.weight)


def _mean_length(lm: LanguageModel, rows: Tensor) -> float:
    """Mean length of the rows that stand for a token; rows of padding beyond the tokenizer's vocabulary don't count."""
    return float(torch.linalg.vector_norm(rows[: len(lm.tokenizer)].float(), dim=1).mean())


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
