"""Which tool: rows for the request's mean state, matches of its text, and how much each of them counts.

Every source is judged on calls that it was not fitted on, and the weights are those with the largest likelihood of
these calls (`stacking`). So a source that says nothing on this data gets no weight, and *when* to call is not touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from langchain_toolken.toolkens.embeddings import EmbeddingMatch
from langchain_toolken.toolkens.evidence import Evidence
from langchain_toolken.toolkens.lexical import (
    LexicalMatch,
    TextEvidence,
    demonstrations_document,
    description_document,
)
from langchain_toolken.toolkens.untrained_rows import ASSUMED, ASSUMED_SPREAD, REQUEST, request_rows
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.evidence.embedded import Embedded
from langchain_toolken.training.evidence.reliable import Reliable
from langchain_toolken.training.evidence.stacking import MANY, stack
from langchain_toolken.training.evidence.words import fit_words
from langchain_toolken.training.selection import LEAST_JUDGED

TOOLKENS, DESCRIPTION = "toolkens", "description"
# The fold that is held out where only one is.
FIRST_FOLD = 0
# With embeddings the others count less: what they say is no longer all that is known.
_ASSUMED_NEARNESS, _BESIDE_EMBEDDINGS = 1.2, 0.5
# What is assumed counts as much as this many held-out calls, where these are few.
_ASSUMED_CALLS = 30
# Weights of a handful of sources need no more calls.
_MOST_JUDGED = 1500
# Ridges of the request rows' covariance that are tried, relative to a coordinate's variance.
_RIDGES = (0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True, eq=False)
class Calls:
    """n calls of the demonstrations.

    Attributes:
        tool: (n,) int64, the tool called.
        request: (n, d), the mean states of their requests; None if they are not known.
        texts: The requests themselves.
        demonstration: (n,) int64, the demonstration that each is in.
        fold: (n,) int64, where each is held out.
        logits: (n, K), the toolkens' logits there from rows that were fitted without its fold; NaN rows where none are
            known. None without any.
        keep_texts: Whether a set may keep the requests' words.
        described: (K, d), the mean states of the tools' descriptions, each put as a request; None if not known.
        plain: (p, d), the mean states of requests that need no tool; None without any.
        embedded: What embeddings say of the requests and tools; None without any.
    """

    tool: Tensor
    request: Tensor | None
    texts: tuple[str, ...]
    demonstration: Tensor
    fold: Tensor
    logits: Tensor | None
    keep_texts: bool = True
    described: Tensor | None = None
    plain: Tensor | None = None
    embedded: Embedded | None = None

    def __len__(self) -> int:
        return len(self.tool)

    @property
    def judgeable(self) -> Tensor:
        """(n,) bool: the calls with held-out logits whose tool is called in another fold too."""
        if self.logits is None:
            return torch.zeros(len(self), dtype=torch.bool)
        there = torch.zeros(int(self.tool.max()) + 1, int(self.fold.max()) + 1, dtype=torch.bool)
        there[self.tool, self.fold] = True
        return ~self.logits[:, 0].isnan() & (there.sum(dim=1)[self.tool] > 1)

    def subset(self, kept: Tensor) -> Calls:
        """Keep some calls, given by (n,) bool."""
        return replace(
            self,
            tool=self.tool[kept],
            request=None if self.request is None else self.request[kept],
            texts=tuple(text for text, keep in zip(self.texts, kept.tolist(), strict=True) if keep),
            demonstration=self.demonstration[kept],
            fold=self.fold[kept],
            logits=None if self.logits is None else self.logits[kept],
            embedded=None if self.embedded is None else self.embedded.subset(kept),
        )


@dataclass(frozen=True, eq=False)
class WhichChoice:
    """The sources' weights, and what they were decided on.

    Attributes:
        evidence: What the set gets, without a gate.
        weights: Each source's weight, by name: "toolkens" (τ), "request", "description", "demonstrations",
            "classifier", "embeddings".
        assumed: Whether too little could be held out, so that the weights are `ASSUMED`.
        judged: How many calls they were chosen on.
        top1: Share of these whose tool the toolkens alone put first, and all sources together.
        reliable: What the probability of the first tool means, by the toolkens alone and by all sources; None if
            assumed.
    """

    evidence: Evidence
    weights: dict[str, float]
    assumed: bool
    judged: int
    top1: tuple[float, float]
    reliable: Reliable | None = None

    @property
    def helps(self) -> bool:
        """Whether any source but the toolkens counts."""
        return any(weight > 0 for name, weight in self.weights.items() if name != TOOLKENS)


def choose_which(
    calls: Calls,
    specs: Sequence[ToolSpec],
    spread: float,
    seed: int = 0,
    asked: Calls | None = None,
) -> WhichChoice:
    """Fit all sources to the calls and weigh them.

    Args:
        calls: The calls.
        specs: The K tools.
        spread: How far the toolkens' logits are apart where the set is asked (`spread_of`): few calls leave the weights
            near the assumed ones, and the toolkens' is relative to it.
        seed: Draws the calls that are judged if there are very many.
        asked: Calls of the first fold as the set will be asked for them (`asked_alone`). Together they count as much as
            the others. The descriptions then count as much as is assumed without a measurement, or more: held-out
            questions are worded like the demonstrations, and what will be asked may not be.
    """
    judged = _judged(calls, seed)
    if int(judged.sum()) < LEAST_JUDGED:
        return assumed_which(calls, specs, spread)
    ridge = _best_ridge(calls, judged, len(specs))
    parts: list[Calls] = []
    held_out: dict[str, list[Tensor]] = {}
    for fold in calls.fold[judged].unique().tolist():
        sources = _sources(calls.subset(calls.fold != fold), specs, ridge)
        some = [calls.subset(judged & (calls.fold == fold)), *([asked] if asked and fold == FIRST_FOLD else [])]
        for part in some:
            assert part.logits is not None
            held_out.setdefault(TOOLKENS, []).append(part.logits)
            for name, source in sources.items():
                held_out.setdefault(name, []).append(_score(source, part))
        parts += some
    # A source that some folds lack can't be judged.
    scores = {name: torch.cat(found) for name, found in held_out.items() if len(found) == len(parts)}
    tool, number = (torch.cat([getattr(part, name) for part in parts]) for name in ("tool", "demonstration"))
    alone = torch.cat([torch.full((len(part),), part is asked) for part in parts])
    weight = torch.where(alone, 0.5 / alone.sum().clamp_min(1), 0.5 / (~alone).sum())
    least = {TOOLKENS: 0.0} if asked is None else {TOOLKENS: 0.0, DESCRIPTION: ASSUMED[DESCRIPTION]}
    weights = stack(scores, tool, number, least, weight / weight.mean()).weights
    sources, count = _sources(calls, specs, ridge), int(judged.sum())
    if count < MANY:
        share = count / (count + _ASSUMED_CALLS)
        weights = {
            name: share * weights.get(name, 0.0) + (1 - share) * assumed
            for name, assumed in _assumed(calls, sources, spread).items()
        }
    logits = _sum(scores, weights)
    before, after = (
        (one.softmax(dim=1).amax(dim=1), one.argmax(dim=1) == tool[~alone])
        for one in (scores[TOOLKENS][~alone], logits[~alone])
    )
    return WhichChoice(
        evidence=_evidence(sources, weights),
        weights=weights,
        assumed=False,
        judged=count,
        top1=(float(before[1].float().mean()), float(after[1].float().mean())),
        reliable=Reliable.of(before, after),
    )


def assumed_which(calls: Calls, specs: Sequence[ToolSpec], spread: float = 0.0) -> WhichChoice:
    """Fit all sources to the calls, and give them the weights of `ASSUMED`; without a spread, the toolkens none."""
    sources = _sources(calls, specs, None)
    weights = _assumed(calls, sources, spread)
    return WhichChoice(_evidence(sources, weights), weights, True, 0, (0.0, 0.0))


def _assumed(calls: Calls, sources: Iterable[str], spread: float) -> dict[str, float]:
    weights = {name: ASSUMED.get(name, 0.0) for name in sources}
    weights[TOOLKENS] = ASSUMED_SPREAD / spread if spread > 1e-6 else 0.0
    if calls.embedded is not None:
        weights = {name: _BESIDE_EMBEDDINGS * weight for name, weight in weights.items()}
        weights[EmbeddingMatch.kind] = _ASSUMED_NEARNESS / calls.embedded.spread
    return weights


def _judged(calls: Calls, seed: int) -> Tensor:
    """(n,) bool: `judgeable` calls, by chance if they are very many."""
    judged = calls.judgeable
    if int(judged.sum()) > _MOST_JUDGED:
        places = judged.nonzero()[:, 0]
        generator = torch.Generator().manual_seed(seed)
        judged[places[torch.randperm(len(places), generator=generator)[_MOST_JUDGED:]]] = False
    return judged


def _best_ridge(calls: Calls, judged: Tensor, tools: int) -> float | None:
    if calls.request is None:
        return None
    losses = []
    for ridge in _RIDGES:
        loss = 0.0
        for fold in calls.fold[judged].unique().tolist():
            inside, rest = judged & (calls.fold == fold), calls.fold != fold
            rows = request_rows(calls.request[rest], calls.tool[rest], tools, ridge, calls.described, calls.plain)
            scores = calls.request[inside] @ rows.T
            loss += float(
                stack({REQUEST: scores}, calls.tool[inside], calls.demonstration[inside], {REQUEST: 0.0}).loss.sum()
            )
        losses.append(loss)
    return _RIDGES[losses.index(min(losses))]


Source = Tensor | TextEvidence


def _sources(calls: Calls, specs: Sequence[ToolSpec], ridge: float | None) -> dict[str, Source]:
    """Fit every source but the toolkens to these calls."""
    described = tuple(map(description_document, specs))
    found: dict[str, Source] = {DESCRIPTION: LexicalMatch("description", 1.0, described, parts=True)}
    if calls.request is not None and (len(calls) or calls.described is not None):
        rows = request_rows(calls.request, calls.tool, len(specs), ridge or 1.0, calls.described, calls.plain)
        found[REQUEST] = rows
    if calls.embedded is not None:
        found[EmbeddingMatch.kind] = calls.embedded.match(calls.tool)
    if not calls.keep_texts:
        return found
    requests: list[dict[str, None]] = [{} for _ in specs]
    for tool, text in zip(calls.tool.tolist(), calls.texts, strict=True):
        requests[tool][text] = None
    shown = tuple(demonstrations_document(spec, list(texts)) for spec, texts in zip(specs, requests, strict=True))
    found["demonstrations"] = LexicalMatch("demonstrations", 1.0, shown)
    words = fit_words(calls.texts, calls.tool, len(specs))
    if words is not None:
        found["classifier"] = words
    return found


def _score(source: Source, calls: Calls) -> Tensor:
    if isinstance(source, Tensor):
        assert calls.request is not None
        return calls.request @ source.T
    if isinstance(source, EmbeddingMatch):
        assert calls.embedded is not None
        return source.cosines(calls.embedded.requests)
    known: dict[str, Tensor] = {}
    for text in calls.texts:
        if text not in known:
            known[text] = source.scores(text)
    return torch.stack([known[text] for text in calls.texts])


def _sum(scores: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
    return torch.stack([weights.get(name, 0.0) * one for name, one in scores.items()]).sum(dim=0)


def _evidence(sources: dict[str, Source], weights: dict[str, float]) -> Evidence:
    rows = sources.get(REQUEST)
    kept = [
        replace(source, weight=weights[name])
        for name, source in sources.items()
        if not isinstance(source, Tensor) and weights.get(name, 0.0) > 0
    ]
    used = isinstance(rows, Tensor) and weights.get(REQUEST, 0.0) > 0
    return Evidence(
        scale=weights[TOOLKENS],
        request_rows=rows * weights[REQUEST] if used and isinstance(rows, Tensor) else None,
        lexical=tuple(kept),
    )
