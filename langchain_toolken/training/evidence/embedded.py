"""What embeddings say of the tools and of the requests for them: computed once, for all folds of a fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from langchain_toolken.toolkens.embeddings import EmbeddingMatch, NamedEmbeddings, embedded_text
from langchain_toolken.tools.spec import ToolSpec

# Of a few tools' cosines the spread is chance; that of all-MiniLM-L6-v2's among 199 tools is 0.1.
_FEW_TOOLS = 10
_TYPICAL_SPREAD = 0.1
_LEAST_SPREAD = 0.02


@dataclass(frozen=True, eq=False)
class Embedded:
    """Unit vectors of n requests and K tools.

    Attributes:
        embeddings: What made them.
        tools: (K, e), of the tools' descriptions.
        requests: (n, e).
    """

    embeddings: NamedEmbeddings
    tools: Tensor
    requests: Tensor

    @classmethod
    def of(cls, embeddings: NamedEmbeddings, specs: Sequence[ToolSpec], texts: Sequence[str]) -> Embedded:
        """Embed the descriptions of the tools and the requests, each text once.

        Raises:
            ToolkenSetError: The embeddings fail.
        """
        described = [embedded_text(spec) for spec in specs]
        places = {text: place for place, text in enumerate(dict.fromkeys((*described, *texts)))}
        vectors = embeddings.vectors(list(places))
        tools, requests = (vectors[[places[text] for text in some]] for some in (described, texts))
        return cls(embeddings, tools, requests)

    def subset(self, kept: Tensor) -> Embedded:
        """Keep some requests, given by (n,) bool."""
        return replace(self, requests=self.requests[kept])

    def others(self, texts: Sequence[str]) -> Embedded:
        """Embed other requests.

        Raises:
            ToolkenSetError: The embeddings fail.
        """
        return replace(self, requests=self.embeddings.vectors(list(texts)))

    def match(self, tool: Tensor) -> EmbeddingMatch:
        """Return the match with tools of which these requests (n,) are known, with weight 1."""
        sums = self.tools.index_add(0, tool, self.requests)
        return EmbeddingMatch(1.0, self.embeddings.name, sums, self.embeddings.model)

    @property
    def spread(self) -> float:
        """How far the cosines of one description with the others are apart: what a difference in them is worth."""
        cosines = self.tools @ self.tools.T
        if len(cosines) < _FEW_TOOLS:
            return _TYPICAL_SPREAD
        others = ~torch.eye(len(cosines), dtype=torch.bool)
        centred = cosines - (cosines * others).sum(dim=1, keepdim=True) / (len(cosines) - 1)
        return max(float(centred[others].std(correction=0)), _LEAST_SPREAD)
