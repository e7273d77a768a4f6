"""Fit the rows of slots: of all spans of a request, the value's is to be the likeliest.

    p(span i to j | request) ∝ exp(begins_i + inside_i + … + inside_j + ends_j),   p(no value) ∝ exp(c)

The three scores are linear in the words' features. A ridge pulls the rows to those that all parameters have in common
(`SharedRows`), since most know a handful of values only, and the end of a value looks much the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from langchain_toolken.training.solve.lbfgs import CurvaturePairs, minimise

# λ of the ridges, by feature and divided by the number of texts: standardised features have a mean square of 1, so that
# more of them would overfit more. SmolLM2 (1,152 features), layer 16, values found of 201 that are held out: without
# shared rows 178, half of them 182, all of them 172. The own ridge may be half or twice, the shared one thrice as much.
_RIDGE = 0.017
_SHARED_RIDGE = 0.087
_SHARE = 0.5

_LONGEST = 40  # words of a span
_MOST_SHARED = 400  # requests that the shared rows are fitted to
_PARTS = 3  # begins, inside, ends
_STEPS = 60
_PAIRS = 10
_TOLERANCE = 1e-2  # of the gradient's norm at the start


@dataclass(frozen=True, eq=False)
class SpannedText:
    """A request, and where in it a parameter's value is.

    Attributes:
        features: (n, d), the words' features, standardised, the last of them a constant.
        values: The first and last words of the value's spans; () where the call lacks the parameter.
    """

    features: Tensor
    values: tuple[tuple[int, int], ...]


@dataclass(frozen=True, eq=False)
class SharedRows:
    """What all parameters' rows have in common, fitted to the values of other tools.

    Attributes:
        halves: Two (3, d): those that the tools of each half are not part of.
        first_half: The tools of the first half.
    """

    halves: tuple[Tensor, Tensor]
    first_half: frozenset[str]

    @classmethod
    def of(cls, texts: Sequence[tuple[str, SpannedText]]) -> SharedRows | None:
        """Fit them to the texts of tools, each with its tool's name; None where one half has no value."""
        names = sorted({tool for tool, _ in texts})
        first_half = frozenset(names[::2])
        halves = []
        for chosen in (False, True):
            of_half = [text for tool, text in texts if (tool in first_half) is chosen and text.values]
            if not of_half:
                return None
            step = -(-len(of_half) // _MOST_SHARED)
            halves.append(_fitted(of_half[::step], _SHARED_RIDGE, torch.zeros(_PARTS, of_half[0].features.shape[1])))
        return cls((halves[0], halves[1]), first_half)

    def of_tool(self, tool: str) -> Tensor:
        """Return (3, d): the rows that no value of this tool was part of."""
        return self.halves[0 if tool in self.first_half else 1]


def fit_rows(texts: Sequence[SpannedText], shared: Tensor | None = None) -> Tensor:
    """Fit a parameter's rows, (3, d). A span that is likelier than none has a score above 0.

    Args:
        texts: Requests, at least one with a value.
        shared: (3, d), what its rows are pulled to a part of; None for 0.
    """
    at = torch.zeros(_PARTS, texts[0].features.shape[1]) if shared is None else _SHARE * shared
    return _fitted(texts, _RIDGE, at)


def _fitted(texts: Sequence[SpannedText], ridge: float, at: Tensor) -> Tensor:
    spans = _Spans.of(texts)
    size, share, ridge = at.numel(), 1 / len(texts), ridge * at.shape[1]
    # The score of no value is free, and folded into the constants; where every call has the parameter it is 0.
    free = 1.0 if any(not text.values for text in texts) else 0.0

    def gradient(point: Tensor) -> Tensor:
        off, none = point[0, :size].view_as(at), point[0, size]
        of_rows, of_none = spans.gradient(at + off, none)
        return torch.cat([(share * of_rows + 2 * ridge * share * off).flatten(), share * free * of_none])[None]

    start = torch.zeros(1, size + 1)
    goal = _TOLERANCE * float(gradient(start).norm())
    point = minimise(gradient, start, goal, CurvaturePairs(_PAIRS), max_steps=_STEPS).at[0]
    rows = at + point[:size].view_as(at)
    rows[0, -1] -= point[size]
    return rows


@dataclass(frozen=True, eq=False)
class _Spans:
    """All spans of some texts, whose words are numbered one after the other."""

    features: Tensor
    first: Tensor
    last: Tensor
    text: Tensor
    goal: Tensor
    texts: int

    @classmethod
    def of(cls, texts: Sequence[SpannedText]) -> _Spans:
        rows: list[tuple[int, int, int, float]] = []
        begin = 0
        for number, text in enumerate(texts):
            words = len(text.features)
            values = set(text.values)
            rows += (
                (begin + i, begin + j, number, 1 / len(values) if (i, j) in values else 0.0)
                for i in range(words)
                for j in range(i, min(words, i + _LONGEST))
            )
            begin += words
        first, last, text_of, goal = zip(*rows, strict=True)
        features = torch.cat([text.features for text in texts])
        return cls(
            features, torch.tensor(first), torch.tensor(last), torch.tensor(text_of), torch.tensor(goal), len(texts)
        )

    def gradient(self, rows: Tensor, none: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient of the summed loss for the rows (3, d), and for the score of no value (1,)."""
        begins, inside, ends = (self.features @ rows.T).T
        before = torch.cat([torch.zeros(1), inside.cumsum(0)])
        scores = begins[self.first] + ends[self.last] + before[self.last + 1] - before[self.first]
        top = none.repeat(self.texts).scatter_reduce(0, self.text, scores, "amax")
        likely = (scores - top[self.text]).exp()
        total = (none - top).exp().index_add(0, self.text, likely)
        off = likely / total[self.text] - self.goal
        empty = 1 - torch.zeros(self.texts).index_add(0, self.text, self.goal)
        of_none = ((none - top).exp() / total - empty).sum()[None]
        changes = torch.zeros(len(self.features) + 1)
        changes.index_add_(0, self.first, off).index_add_(0, self.last + 1, -off)
        words = torch.zeros(len(self.features))
        parts = (words.index_add(0, self.first, off), changes.cumsum(0)[:-1], words.index_add(0, self.last, off))
        return torch.stack(parts) @ self.features, of_none
