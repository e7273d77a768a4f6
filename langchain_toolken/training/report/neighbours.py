"""What is close to a toolken: words and other tools by cosine, and both on a map of two dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.report.records import Neighbour, WordOnMap

_NEAREST = 8  # words and tools shown for each tool
_ON_MAP = 3  # of each toolken's nearest words
# Similarities in memory at once (256 MB in float32): K × V can be 47,000 × 150,000.
_SIMILARITIES = 1 << 26


@dataclass(frozen=True)
class ToolkenMap:
    """The map.

    Attributes:
        places: x and y of each toolken.
        words: The words near them.
        share: Share of the variance of the toolkens' directions that the two axes hold.
    """

    places: list[tuple[float, float]]
    words: list[WordOnMap]
    share: float


@torch.inference_mode()
def nearest_words(toolkens: ToolkenSet, lm: LanguageModel, count: int = _NEAREST) -> list[list[tuple[int, float]]]:
    """Find the words whose head rows have the largest cosine with each toolken.

    Special tokens, spaces and parts of characters are left out, so fewer than `count` may remain.

    Returns:
        For each tool its words' token ids and cosines, nearest first.
    """
    rows = normalize(lm.head.weight[: len(lm.tokenizer)].float().cpu(), dim=1)
    special = frozenset(lm.tokenizer.all_special_ids)
    found: list[list[tuple[int, float]]] = []
    for part in normalize(toolkens.matrix, dim=1).split(max(1, _SIMILARITIES // len(rows))):
        top = (part @ rows.T).topk(min(8 * count, len(rows)), dim=1)
        for ids, cosines in zip(top.indices.tolist(), top.values.tolist(), strict=True):
            words = [
                (i, cosine)
                for i, cosine in zip(ids, cosines, strict=True)
                if i not in special and (text := word_text(lm, i)) and "\ufffd" not in text
            ]
            found.append(words[:count])
    return found


def nearest_tools(toolkens: ToolkenSet, count: int = _NEAREST) -> list[list[Neighbour]]:
    """Find the tools whose toolkens have the largest cosine with each toolken, nearest first."""
    if len(toolkens) < 2:
        return [[] for _ in toolkens.names]
    rows = normalize(toolkens.matrix, dim=1)
    found: list[list[Neighbour]] = []
    for start in range(0, len(rows), size := max(1, _SIMILARITIES // len(rows))):
        similarity = rows[start : start + size] @ rows.T
        similarity[torch.arange(len(similarity)), torch.arange(start, start + len(similarity))] = -2.0
        top = similarity.topk(min(count, len(rows) - 1), dim=1)
        found += [
            [Neighbour(name=toolkens.names[i], similarity=s) for i, s in zip(ids, cosines, strict=True)]
            for ids, cosines in zip(top.indices.tolist(), top.values.tolist(), strict=True)
        ]
    return found


def toolken_map(toolkens: ToolkenSet, lm: LanguageModel, near: Sequence[Sequence[tuple[int, float]]]) -> ToolkenMap:
    """Place the toolkens and their nearest words in a plane.

    A principal component analysis of the toolkens alone, their rows normalised because neighbours are found by cosine;
    the words are projected into the same plane.

    Args:
        toolkens: The set.
        lm: Its LM.
        near: What `nearest_words` found.
    """
    ids = sorted({i for words in near for i, _ in words[:_ON_MAP]})
    weight = lm.head.weight[torch.tensor(ids, dtype=torch.long, device=lm.head.weight.device)].detach().float().cpu()
    rows, words = normalize(toolkens.matrix, dim=1), normalize(weight, dim=1)
    centre = rows.mean(dim=0)
    centred = rows - centre
    _, spread, directions = torch.linalg.svd(centred, full_matrices=False)
    plane = torch.zeros(toolkens.hidden_size, 2)
    plane[:, : min(2, len(directions))] = directions[:2].T
    # The sign of a direction is arbitrary; fixed, so that the same set always gives the same map.
    largest = plane.abs().argmax(dim=0)
    plane = plane * torch.where(plane[largest, torch.arange(2)] < 0, -1.0, 1.0)
    total = float(spread.square().sum())

    def placed(vectors: Tensor) -> list[tuple[float, float]]:
        return [(x, y) for x, y in (vectors @ plane).tolist()]

    return ToolkenMap(
        places=placed(centred),
        words=[
            WordOnMap(word=word_text(lm, i), x=x, y=y) for i, (x, y) in zip(ids, placed(words - centre), strict=True)
        ],
        share=float(spread[:2].square().sum()) / total if total > 0 else 0.0,
    )


def word_text(lm: LanguageModel, token: int) -> str:
    """Decode one token, without the spaces around it."""
    return str(lm.tokenizer.decode([token])).strip()
