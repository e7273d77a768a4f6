"""`Evidence`: what a toolken set knows besides its rows of when to call, and of which tool.

Two questions are kept apart:

    when :  p(call)      = σ(g·h + g'·m + c), a gate; without one, the toolkens against the words
    which:  p(k | call) ∝ exp(τ (h·w_k + b_k) + m·u_k + Σ_s α_s ρ_s,k)

h is the hidden state at the position, m the mean hidden state over the request's tokens, and ρ_s a match of the
request's text with each tool: of its words, or of its embedding. The second question only moves shares of p(call)
between the tools.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import torch
from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from langchain_toolken.prompts.requests import Request
from langchain_toolken.toolkens.embeddings import EmbeddingMatch
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.lexical import LexicalMatch, TextEvidence, WordClassifier
from langchain_toolken.tools.spec import ToolSpec

_PREFIX = "evidence."
"""What the names of all tensors of saved evidence begin with."""


@dataclass(frozen=True, eq=False)
class Gate:
    """Tells whether a tool is called at all: log odds = state·h + request·m + constant.

    Attributes:
        state: (d,), weights of the hidden state at the position.
        request: (d,), weights of the request's mean hidden state; zeros where it is not used.
        constant: What is added.
        threshold: The operating point: a call is made where the log odds are above it. The probability of a call is
            that of the log odds alone, since the threshold says what a call is worth and not how likely it is.
        after_result: The same once something has been said in answer to the request, such as a tool's result: the
            request still asks for that tool. None where that is not known: the toolkens are then compared with the
            words, as without a gate.
        points: Other operating points: pairs of the share of held-out requests without a call that get one, and the
            threshold for that share, from the smallest share to the largest.

    Raises:
        ToolkenSetError: Shapes do not agree, or a value is not finite.
    """

    state: Tensor
    request: Tensor
    constant: float
    threshold: float = 0.0
    after_result: float | None = None
    points: tuple[tuple[float, float], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", tuple((float(share), float(at)) for share, at in self.points))
        for name in ("state", "request"):
            object.__setattr__(self, name, _checked(getattr(self, name), f"the gate's {name}", 1))
        if self.state.shape != self.request.shape or not len(self.state):
            raise ToolkenSetError(
                f"the gate's state {tuple(self.state.shape)} and request {tuple(self.request.shape)} must both be (d,)"
            )
        for name in ("constant", "threshold", "after_result"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ToolkenSetError(f"the gate's {name} is {value}; it must be finite")
        shares = [share for share, _ in self.points]
        if shares != sorted(shares) or not all(map(math.isfinite, itertools.chain.from_iterable(self.points))):
            raise ToolkenSetError(f"the gate's points {self.points} must be finite, and the shares in order")

    def threshold_at(self, share: float) -> float | None:
        """Return the threshold at which at most `share` of the requests without a call got one.

        It is that of the next smaller share that is known, or of the smallest. None if none is known.
        """
        if not self.points:
            return None
        known = [threshold for each, threshold in self.points if each <= share]
        return known[-1] if known else self.points[0][1]

    def threshold_for(self, request: Request) -> float | None:
        """Return the operating point for what is written in answer to a request; None where the gate does not know."""
        return self.after_result if request.answered else self.threshold

    def log_odds(self, states: Tensor, requests: Tensor) -> Tensor:
        """Compute the log odds of a call (n,) for hidden states (n, d) and the requests' mean states (n, d)."""
        return states.float() @ self.state + requests.float() @ self.request + self.constant


@dataclass(frozen=True, eq=False)
class Evidence:
    """When to call and which tool, for the K tools of a set.

    Attributes:
        gate: Answers when; None for the toolkens against the words.
        scale: τ, the factor of the toolkens' logits in the choice among the tools.
        request_rows: (K, d), u: rows for the request's mean hidden state; None for none.
        lexical: Matches of the request's text with the tools, at most one of each kind.

    Raises:
        ToolkenSetError: Shapes do not agree, a value is not finite, or two matches are of one kind.
    """

    gate: Gate | None = None
    scale: float = 1.0
    request_rows: Tensor | None = None
    lexical: tuple[TextEvidence, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "lexical", tuple(self.lexical))
        if not math.isfinite(self.scale):
            raise ToolkenSetError(f"the evidence's scale is {self.scale}; it must be finite")
        if self.request_rows is not None:
            object.__setattr__(self, "request_rows", _checked(self.request_rows, "request_rows", 2))
        kinds = [match.kind for match in self.lexical]
        if len(set(kinds)) != len(kinds):
            raise ToolkenSetError(f"the evidence has two word matches of one kind ({', '.join(kinds)})")

    def check(self, tools: int, hidden_size: int) -> None:
        """Check that this is evidence for a set of that many tools and that hidden size.

        Raises:
            ToolkenSetError: It is not.
        """
        if self.request_rows is not None and tuple(self.request_rows.shape) != (tools, hidden_size):
            raise ToolkenSetError(
                f"request_rows has shape {tuple(self.request_rows.shape)}; the set needs ({tools}, {hidden_size})"
            )
        if self.gate is not None and len(self.gate.state) != hidden_size:
            raise ToolkenSetError(f"the gate has {len(self.gate.state)} weights, the hidden size is {hidden_size}")
        for match in self.lexical:
            if len(match) != tools:
                raise ToolkenSetError(f"the {match.kind} match is for {len(match)} tools, the set has {tools}")

    @property
    def fingerprint(self) -> str:
        """A text that is equal for equal evidence, and only for that."""
        text, tensors = self.saved()
        digest = hashlib.sha256(text.encode())
        for name, tensor in tensors.items():
            digest.update(name.encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def lexical_scores(self, request: str, tools: int) -> Tensor:
        """Return what the text of a request adds to each tool's score: (tools,) float32."""
        scores = torch.zeros(tools)
        for match in self.lexical:
            scores += match.weight * match.scores(request)
        return scores

    def scores(self, logits: Tensor, requests: Tensor, texts: Sequence[str]) -> Tensor:
        """Compute the scores whose softmax is p(k | call), (N, K).

        Args:
            logits: The toolkens' logits (N, K), with their biases.
            requests: (N, d), the requests' mean hidden states.
            texts: The N requests.
        """
        scores = self.scale * logits + torch.stack([self.lexical_scores(text, logits.shape[1]) for text in texts])
        return scores if self.request_rows is None else scores + requests.float() @ self.request_rows.T

    def select(self, rows: Sequence[int]) -> Evidence:
        """Keep what belongs to these tools. The gate stays."""
        kept = torch.tensor(rows, dtype=torch.long)
        return replace(
            self,
            request_rows=None if self.request_rows is None else self.request_rows[kept],
            lexical=tuple(match.select(rows) for match in self.lexical),
        )

    def add(self, specs: Sequence[ToolSpec]) -> Evidence:
        """Add tools that were not trained: their rows are zero, and their words those of their descriptions."""
        rows = self.request_rows
        return replace(
            self,
            request_rows=None if rows is None else torch.cat([rows, torch.zeros(len(specs), rows.shape[1])]),
            lexical=tuple(match.join(match.untrained(specs), match.weight) for match in self.lexical),
        )

    def describe(self, old: Sequence[ToolSpec], new: Sequence[ToolSpec]) -> Evidence:
        """Take over changed descriptions, tool by tool."""
        return replace(self, lexical=tuple(match.describe(old, new) for match in self.lexical))

    def show(self, requests: Sequence[Sequence[str]]) -> Evidence:
        """Add requests that the tools were demonstrated with, those of each tool."""
        return replace(self, lexical=tuple(match.show(requests) for match in self.lexical))

    def saved(self) -> tuple[str, dict[str, Tensor]]:
        """Return the evidence as JSON, and the tensors that belong to it by name."""
        tensors: dict[str, Tensor] = {}
        if self.gate is not None:
            tensors |= {"gate.state": self.gate.state, "gate.request": self.gate.request}
        if self.request_rows is not None:
            tensors["request_rows"] = self.request_rows
        matches: list[_SavedMatch | _SavedClassifier | _SavedEmbeddings] = []
        for match in self.lexical:
            if isinstance(match, LexicalMatch):
                texts = list(match.documents)
                matches.append(_SavedMatch(kind=match.kind, weight=match.weight, documents=texts, parts=match.parts))
            elif isinstance(match, EmbeddingMatch):
                matches.append(_SavedEmbeddings(kind="embeddings", weight=match.weight, name=match.name))
                tensors["embeddings.sums"] = match.sums
            else:
                matches.append(
                    _SavedClassifier(kind="classifier", weight=match.weight, vocabulary=list(match.vocabulary))
                )
                tensors |= {f"classifier.{name}": getattr(match, name) for name in ("idf", "rows", "biases")}
        gate = None
        if self.gate is not None:
            fields = {name: getattr(self.gate, name) for name in _SavedGate.model_fields}
            gate = _SavedGate(**fields)
        content = _Saved(gate=gate, scale=self.scale, lexical=matches)
        text = json.dumps(content.model_dump(), ensure_ascii=False, indent=1, allow_nan=False)
        return text, {_PREFIX + name: tensor for name, tensor in tensors.items()}

    @classmethod
    def of_saved(cls, text: str | bytes, tensors: Mapping[str, Tensor], embeddings: Embeddings | None = None) -> Self:
        """Build the evidence that `saved` returned. Tensors that belong to other things are ignored.

        `embeddings`: those that the set was fitted with, if they can't be loaded by their name.

        Raises:
            ToolkenSetError: The text is not JSON of that form, or a tensor is missing, unknown, or of the wrong shape.
        """
        try:
            content = _Saved.model_validate_json(text)
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise ToolkenSetError(f"{field + ': ' if field else ''}{first['msg']}") from error
        left = {name.removeprefix(_PREFIX): t for name, t in tensors.items() if name.startswith(_PREFIX)}

        def take(name: str) -> Tensor:
            if name not in left:
                raise ToolkenSetError(f"its tensor {_PREFIX + name!r} is missing")
            return left.pop(name)

        gate = None
        if content.gate is not None:
            gate = Gate(take("gate.state"), take("gate.request"), **content.gate.model_dump())
        lexical: list[TextEvidence] = []
        for match in content.lexical:
            if isinstance(match, _SavedMatch):
                lexical.append(LexicalMatch(match.kind, match.weight, tuple(match.documents), match.parts))
            elif isinstance(match, _SavedEmbeddings):
                lexical.append(EmbeddingMatch(match.weight, match.name, take("embeddings.sums"), embeddings))
            else:
                arrays = {name: take(f"classifier.{name}") for name in ("idf", "rows", "biases")}
                lexical.append(WordClassifier(weight=match.weight, vocabulary=tuple(match.vocabulary), **arrays))
        rows = left.pop("request_rows", None)
        if left:
            raise ToolkenSetError(f"nothing is known of its tensor {_PREFIX + next(iter(left))!r}")
        return cls(gate=gate, scale=content.scale, request_rows=rows, lexical=tuple(lexical))


def is_evidence(tensor_name: str) -> bool:
    """Tell whether a saved tensor belongs to the evidence."""
    return tensor_name.startswith(_PREFIX)


def merged(
    ours: Evidence | None, our_specs: Sequence[ToolSpec], theirs: Evidence | None, their_specs: Sequence[ToolSpec]
) -> Evidence | None:
    """Put the evidence of two sets together, in the order of the tools.

    The gate stays only if both sets have the same one: a gate does not know the requests of tools that it was not
    fitted with. Weights that differ are averaged by the number of tools. A set without one kind of evidence gets zero
    rows, and its descriptions as its texts.

    Returns:
        None if neither set has evidence.
    """
    if ours is None and theirs is None:
        return None
    first, second = ours or Evidence(), theirs or Evidence()
    share = len(our_specs) / max(1, len(our_specs) + len(their_specs))
    rows: Tensor | None = None
    size = next((e.request_rows.shape[1] for e in (first, second) if e.request_rows is not None), None)
    if size is not None:
        parts = [
            torch.zeros(len(specs), size) if e.request_rows is None else e.request_rows
            for e, specs in ((first, our_specs), (second, their_specs))
        ]
        rows = torch.cat(parts)
    return Evidence(
        gate=first.gate if _same_gate(first.gate, second.gate) else None,
        scale=share * first.scale + (1 - share) * second.scale,
        request_rows=rows,
        lexical=_joined_matches(first, our_specs, second, their_specs, share),
    )


def _joined_matches(
    ours: Evidence, our_specs: Sequence[ToolSpec], theirs: Evidence, their_specs: Sequence[ToolSpec], share: float
) -> tuple[TextEvidence, ...]:
    our_kinds = {match.kind: match for match in ours.lexical}
    their_kinds = {match.kind: match for match in theirs.lexical}
    joined: list[TextEvidence] = []
    for kind in {**our_kinds, **their_kinds}:
        mine, other = our_kinds.get(kind), their_kinds.get(kind)
        if mine is None:
            mine = their_kinds[kind].untrained(our_specs)
        elif other is None:
            other = mine.untrained(their_specs)
        assert other is not None
        joined.append(mine.join(other, share * mine.weight + (1 - share) * other.weight))
    return tuple(joined)


def _same_gate(one: Gate | None, other: Gate | None) -> bool:
    if one is None or other is None:
        return one is other
    return (
        torch.equal(one.state, other.state)
        and torch.equal(one.request, other.request)
        and all(getattr(one, name) == getattr(other, name) for name in _SavedGate.model_fields)
    )


def _checked(tensor: Tensor, name: str, dimensions: int) -> Tensor:
    tensor = tensor.detach().to(device="cpu", dtype=torch.float32).contiguous()
    if tensor.ndim != dimensions:
        raise ToolkenSetError(f"{name} has shape {tuple(tensor.shape)}; it must have {dimensions} dimensions")
    if not bool(torch.isfinite(tensor).all()):
        raise ToolkenSetError(f"{name} has a value that is not finite")
    return tensor


class _SavedGate(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    constant: float
    threshold: float
    after_result: float | None = None
    points: tuple[tuple[float, float], ...] = ()


class _SavedMatch(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: Literal["description", "demonstrations"]
    weight: float
    documents: list[str]
    parts: bool = False  # as in sets that were saved before parts of words counted


class _SavedClassifier(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: Literal["classifier"]
    weight: float
    vocabulary: list[str]


class _SavedEmbeddings(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: Literal["embeddings"]
    weight: float
    name: str


class _Saved(BaseModel):
    """What evidence.json says; the tensors are in the set's own file."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    gate: _SavedGate | None
    scale: float
    lexical: list[Annotated[_SavedMatch | _SavedClassifier | _SavedEmbeddings, Field(discriminator="kind")]]
