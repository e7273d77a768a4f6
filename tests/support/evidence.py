"""Evidence that tests make up."""

from __future__ import annotations

import torch

from langchain_toolken.toolkens.evidence import Evidence, Gate
from langchain_toolken.toolkens.lexical import (
    LexicalMatch,
    WordClassifier,
    demonstrations_document,
    description_document,
    words_of,
)
from langchain_toolken.toolkens.set import ToolkenSet


def make_evidence(
    toolkens: ToolkenSet, *, gate: bool = True, threshold: float = 0.25, constant: float = 0.0, seed: int = 5
) -> Evidence:
    """Evidence of every kind, at random, for the tools of a set."""
    generator = torch.Generator().manual_seed(seed)
    tools, size = toolkens.matrix.shape
    words = sorted({word for spec in toolkens.specs for word in words_of(description_document(spec))})
    return Evidence(
        gate=Gate(
            torch.randn(size, generator=generator) / size**0.5,
            torch.randn(size, generator=generator) / size**0.5,
            constant=constant,
            threshold=threshold,
            after_result=threshold,
        )
        if gate
        else None,
        scale=0.5,
        request_rows=torch.randn(tools, size, generator=generator) / size**0.5,
        lexical=(
            LexicalMatch("description", 0.7, tuple(map(description_document, toolkens.specs)), parts=True),
            LexicalMatch(
                "demonstrations",
                0.4,
                tuple(demonstrations_document(spec, [f"please {spec.name} it"]) for spec in toolkens.specs),
            ),
            WordClassifier(
                weight=0.3,
                vocabulary=tuple(words),
                idf=torch.rand(len(words), generator=generator) + 1,
                rows=torch.randn(len(words), tools, generator=generator),
                biases=torch.randn(tools, generator=generator),
            ),
        ),
    )


def same_evidence(one: Evidence | None, other: Evidence | None) -> bool:
    if one is None or other is None:
        return one is other
    return one.fingerprint == other.fingerprint
