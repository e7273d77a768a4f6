"""How near a request's embedding is to each tool: one more match of the request, from any LangChain `Embeddings`.

A set keeps a vector for each tool and the name of the embeddings. They are loaded when a request is first compared;
without them a set chooses by what else it knows, and says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Any, ClassVar, Literal

import torch
from langchain_core.embeddings import Embeddings
from torch import Tensor
from torch.nn.functional import normalize

from langchain_toolken.toolkens.errors import ToolkenSetError, ToolkenSetWarning
from langchain_toolken.toolkens.priors import name_words
from langchain_toolken.tools.spec import ToolSpec

# A conversation compares its last request again after each result.
_REQUESTS_KEPT = 256


@dataclass(frozen=True)
class NamedEmbeddings:
    """Embeddings, and the name that they are found by again.

    Attributes:
        name: "provider:model" as `langchain.embeddings.init_embeddings` takes it; or what the object is, which says
            what to give to `ToolkenSet.load`.
        model: The embeddings.
    """

    name: str
    model: Embeddings

    @classmethod
    def of(cls, embeddings: str | Embeddings) -> NamedEmbeddings:
        """Load embeddings by name, or take the object and describe it.

        Raises:
            ToolkenSetError: They can't be loaded. The message names the next step.
        """
        if isinstance(embeddings, str):
            return cls(embeddings, load_embeddings(embeddings))
        kind = type(embeddings)
        model = next((str(found) for name in ("model_name", "model") if (found := getattr(embeddings, name, None))), "")
        return cls(f"{kind.__module__}.{kind.__qualname__}" + (f" ({model[:200]})" if model else ""), embeddings)

    def vectors(self, texts: Sequence[str]) -> Tensor:
        """Embed texts about tools, (n, e), each scaled to length 1.

        Raises:
            ToolkenSetError: The embeddings fail.
        """
        if not texts:
            return torch.empty(0, 0)
        try:
            found = torch.tensor(self.model.embed_documents(list(texts)), dtype=torch.float32)
        except Exception as error:
            raise _failed(self.name, error) from error
        if found.ndim != 2 or len(found) != len(texts) or not bool(torch.isfinite(found).all()):
            raise ToolkenSetError(
                f"the embeddings {self.name!r} gave {tuple(found.shape)} numbers for {len(texts)} texts, or some that "
                "are not finite: use others"
            )
        return normalize(found, dim=1)


@lru_cache(maxsize=8)
def load_embeddings(name: str) -> Embeddings:
    """Load embeddings by the name that LangChain has for them, once a process.

    Raises:
        ToolkenSetError: They can't be loaded. The message names the next step.
    """
    from langchain.embeddings import init_embeddings

    try:
        loaded = init_embeddings(name)
    except Exception as error:
        raise ToolkenSetError(
            f"the embeddings {name!r} can't be loaded ({' '.join(str(error).split())}): give 'provider:model' as "
            "langchain.embeddings.init_embeddings takes it, and install that provider's package"
        ) from error
    assert isinstance(loaded, Embeddings)
    return loaded


def embedded_text(spec: ToolSpec) -> str:
    """Return what of a tool is embedded: the words of its name, and its description."""
    return f"{name_words(spec.name)}: {spec.description}" if spec.description else name_words(spec.name)


@dataclass(frozen=True, eq=False)
class EmbeddingMatch:
    """The cosine of a request's embedding with each tool's: of its description and demonstrated requests together.

    Attributes:
        weight: What a cosine of 1 adds to a tool's score.
        name: The embeddings' name (`NamedEmbeddings.name`).
        sums: (K, e): for each tool the sum of the unit vectors of its description and of its requests.
        model: The embeddings; None loads them by name when they are first needed.

    Raises:
        ToolkenSetError: The weight or a sum is not finite, or the sums are no matrix.
    """

    weight: float
    name: str
    sums: Tensor
    model: Embeddings | None = field(default=None, repr=False)

    kind: ClassVar[Literal["embeddings"]] = "embeddings"

    def __post_init__(self) -> None:
        sums = self.sums.detach().to(device="cpu", dtype=torch.float32).contiguous()
        if sums.ndim != 2 or not bool(torch.isfinite(torch.cat([sums.flatten(), torch.tensor([self.weight])])).all()):
            raise ToolkenSetError(
                f"the embeddings' sums {tuple(sums.shape)} must be (K, e), and they and the weight finite"
            )
        object.__setattr__(self, "sums", sums)

    def __len__(self) -> int:
        return len(self.sums)

    def __getstate__(self) -> dict[str, Any]:
        # Clients and locks don't go to other processes; embeddings are loaded there by name.
        return {"weight": self.weight, "name": self.name, "sums": self.sums, "model": None}

    @cached_property
    def _embeddings(self) -> NamedEmbeddings | None:
        """The embeddings; None, with a warning, where they can't be loaded."""
        if self.model is not None:
            return NamedEmbeddings(self.name, self.model)
        try:
            return NamedEmbeddings(self.name, load_embeddings(self.name))
        except ToolkenSetError as error:
            warnings.warn(
                f"{error}. Tools are chosen without them; they can also be given to "
                "ToolkenSet.load(folder, embeddings=…)",
                ToolkenSetWarning,
                stacklevel=2,
            )
            return None

    @cached_property
    def _rows(self) -> Tensor:
        return normalize(self.sums, dim=1)

    @cached_property
    def _kept(self) -> Any:
        return lru_cache(maxsize=_REQUESTS_KEPT)(self._cosines)

    def scores(self, request: str) -> Tensor:
        """Return each tool's cosine with a request, without the weight: (K,) float32; zeros without the embeddings.

        Raises:
            ToolkenSetError: The embeddings fail, or give vectors of another length than the tools have.
        """
        found: Tensor = self._kept(request)
        return found.clone()

    def _cosines(self, request: str) -> Tensor:
        if self._embeddings is None:
            return torch.zeros(len(self))
        try:
            asked = torch.tensor(self._embeddings.model.embed_query(request), dtype=torch.float32)
        except Exception as error:
            raise _failed(self.name, error) from error
        if asked.shape != self.sums.shape[1:]:
            raise ToolkenSetError(
                f"the embeddings {self.name!r} give {tuple(asked.shape)} numbers for a request and the set was fitted "
                f"with {self.sums.shape[1]}: give ToolkenSet.load(folder, embeddings=…) those of the fit, or fit anew"
            )
        return self.cosines(normalize(asked[None], dim=1))[0]

    def cosines(self, requests: Tensor) -> Tensor:
        """Return the cosines (n, K) of n unit vectors with the tools; a tool without a vector has the others' mean."""
        found = requests @ self._rows.T
        known = self.sums.any(dim=1)
        if bool(known.all()) or not bool(known.any()):
            return found
        return torch.where(known, found, found[:, known].mean(dim=1, keepdim=True))

    def select(self, rows: Sequence[int]) -> EmbeddingMatch:
        """Keep the vectors of these tools."""
        return replace(self, sums=self.sums[torch.tensor(rows, dtype=torch.long)])

    def untrained(self, specs: Sequence[ToolSpec]) -> EmbeddingMatch:
        """Return this match for other tools, of which only the descriptions are known."""
        return replace(self, sums=self._vectors([embedded_text(spec) for spec in specs]))

    def describe(self, old: Sequence[ToolSpec], new: Sequence[ToolSpec]) -> EmbeddingMatch:
        """Put the descriptions of `new` in place of those of `old`, tool by tool."""
        texts = [(embedded_text(before), embedded_text(after)) for before, after in zip(old, new, strict=True)]
        changed = [row for row, (before, after) in enumerate(texts) if before != after]
        if not changed:
            return self
        sums, at = self.sums.clone(), torch.tensor(changed)
        vectors = self._vectors([texts[row][place] for place in (1, 0) for row in changed])
        sums[at] += vectors[: len(changed)] - vectors[len(changed) :]
        return replace(self, sums=sums)

    def show(self, requests: Sequence[Sequence[str]]) -> EmbeddingMatch:
        """Add requests that the tools were demonstrated with."""
        rows = [row for row, texts in enumerate(requests) for _ in texts]
        if not rows:
            return self
        vectors = self._vectors([text for texts in requests for text in texts])
        return replace(self, sums=self.sums.index_add(0, torch.tensor(rows), vectors))

    def join(self, other: object, weight: float) -> EmbeddingMatch:
        """Put two matches side by side, if both are of the same embeddings; else the other tools have no vectors."""
        assert isinstance(other, EmbeddingMatch)
        same = other.name == self.name and other.sums.shape[1] == self.sums.shape[1]
        theirs = other.sums if same else torch.zeros(len(other), self.sums.shape[1])
        return replace(self, weight=weight, sums=torch.cat([self.sums, theirs]))

    def _vectors(self, texts: Sequence[str]) -> Tensor:
        """Return unit vectors (n, e); zeros without the embeddings."""
        if self._embeddings is None or not texts:
            return torch.zeros(len(texts), self.sums.shape[1])
        found = self._embeddings.vectors(texts)
        if found.shape[1] != self.sums.shape[1]:
            raise ToolkenSetError(
                f"the embeddings {self.name!r} give {found.shape[1]} numbers for a text and the set was fitted with "
                f"{self.sums.shape[1]}: give ToolkenSet.load(folder, embeddings=…) those of the fit, or fit anew"
            )
        return found


def _failed(name: str, error: Exception) -> ToolkenSetError:
    return ToolkenSetError(
        f"the embeddings {name!r} failed ({type(error).__name__}: {error}): see to them, and try again"
    )
