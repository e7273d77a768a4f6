"""A map from tool descriptions to toolkens, learned on a set's trained tools, for tools added later.

TokenLearning's prior (arXiv 2506.14248) points to where a tool's *name* would be said. A toolken must fire where the
tool is *needed*, and the trained toolkens show what such places look like. Each tool gets a direction

    p = unit(last state of "description?" - its mean) + unit(mean state of the same text - its mean)

without its component along the mean state at the trained tools' calls, which would make some tools likelier everywhere.
The question mark turns the description into a request; the last state of a request resembles that of a text in which
the tool is due. Toolkens are a ridge regression on these directions that shrinks towards a multiple of the identity
instead of towards 0:

    w = mean(w) + s (p - mean(p)) + A (p - mean(p)),
    A = argmin sum_k ||w_k - mean(w) - (s + A)(p_k - mean(p))||^2 + r ||A||^2

s = 0 is the plain ridge map; r = infinity uses the direction alone. s and r are chosen by leaving tools out. A fifth of
the trained tools at a time are treated as new: their rows are what the regression predicts without them (leave-one-out
in closed form). They have to win their own mean call state against all other tools, and the others have to keep theirs.
The criterion is the mean negative log-probability over both groups, so that new tools neither drown in the trained ones
nor drown them. The priors are one more candidate, so a map that is no better is not used.

The map finds far more unseen tools than priors or plain ridge maps do, even from five trained tools. It has to be
learned on trained tools only. A has full rank, because a lower one is no better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.states import text_states
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows, text_ids
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec

# Fewer leave nothing to hold out.
LEAST_TRAINED = 5
# More do not improve the map, and the choice costs (tools)^2 x (candidates).
MOST_TRAINED = 2000
_FOLDS = 5
# Candidates for s, in units of (mean distance of the trained toolkens from their mean) / (mean length of p), and for r.
_SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_RIDGES = (1.0, 10.0, 100.0, 1000.0, float("inf"))


@dataclass(frozen=True)
class MapChoice:
    """The map that was chosen, and how well it did on left-out tools.

    Attributes:
        scale: s; None if the priors did better.
        ridge: r; None if the priors did better.
        loss: Mean negative log-probability of a tool at its mean call state; left-out tools and the others each count
            for half.
        prior_loss: The same with priors in the left-out rows.
        left_out: Share of the left-out tools that win their mean call state.
        trained: How many tools the map was learned on.
    """

    scale: float | None
    ridge: float | None
    loss: float
    prior_loss: float
    left_out: float
    trained: int

    def __str__(self) -> str:
        if self.scale is None:
            return "prior (the map was no better)"
        return f"mapped from {self.trained} tools (scale {self.scale:g}, ridge {self.ridge:g})"


@dataclass(frozen=True, eq=False)
class ToolkenMap:
    """A learned map, w = p slope + intercept. Using it costs one LM pass over the new tools' descriptions.

    Attributes:
        choice: How the map was chosen.
        known: Rows of the set's tools that it was learned on, n of them.
        states: (2, n, d), the last and mean states of their descriptions.
        middles: (2, d), what is subtracted from a description's last and mean state.
        centre: (d,), the mean state at the trained tools' calls.
        slope: (d, d) float32; None if the priors did better.
        intercept: (d,) float32; None if the priors did better.
    """

    choice: MapChoice
    known: list[int]
    states: Tensor
    middles: Tensor
    centre: Tensor
    slope: Tensor | None
    intercept: Tensor | None

    def rows(self, states: Tensor) -> Tensor | None:
        """Return toolkens (n, d) float32 for untrained tools; None if priors do better.

        Args:
            states: (2, n, d), what `description_states` gives for them.
        """
        if self.slope is None or self.intercept is None:
            return None
        return _directions(states, self.middles, self.centre) @ self.slope + self.intercept


def learn_map(lm: LanguageModel, toolkens: ToolkenSet, prior: PriorConfig) -> ToolkenMap | None:
    """Learn the map from a set's trained tools, at the cost of one LM pass over their descriptions.

    Args:
        lm: The LM that the set was fitted for.
        toolkens: The set. Trained tools are those that its demonstrations called (`ToolkenSet.call_states`); if there
            are more than `MOST_TRAINED`, that many of them, evenly spaced, are used.
        prior: The prior that the map is compared with, made among all tools of the set as in a fit.

    Returns:
        The map, or None if fewer than `LEAST_TRAINED` tools were trained.
    """
    trained = toolkens.trained
    if len(trained) < LEAST_TRAINED or toolkens.call_states is None:
        return None
    trained = some_of(trained)
    known = [toolkens.specs[i] for i in trained]
    calls = toolkens.call_states[trained]
    states, centre = description_states(lm, known), calls.mean(dim=0)
    middles = states.mean(dim=1)
    directions = _directions(states, middles, centre)
    priors = prior_rows(lm, known, prior, among=toolkens.specs)
    choice, slope, intercept = _choose(
        toolkens.matrix[trained], directions, calls, priors, toolkens.biases[trained], toolkens.bias
    )
    return ToolkenMap(choice, trained, states, middles, centre, slope, intercept)


def some_of(tools: list[int]) -> list[int]:
    """Return at most `MOST_TRAINED` of the tools, evenly spaced."""
    if len(tools) <= MOST_TRAINED:
        return tools
    return [tools[i * len(tools) // MOST_TRAINED] for i in range(MOST_TRAINED)]


def description_states(lm: LanguageModel, specs: Sequence[ToolSpec]) -> Tensor:
    """Return last and mean hidden states (2, n, d) of the descriptions, put as requests."""
    if not specs:
        return torch.empty(2, 0, lm.hidden_size)
    ids = [text_ids(lm, spec, request_of(spec)) for spec in specs]
    states = text_states(lm, ids)
    return torch.stack([torch.stack([found[-1], found.mean(dim=0)]) for found in states], dim=1)


def _directions(states: Tensor, middles: Tensor, centre: Tensor) -> Tensor:
    """Return p (n, d) for last and mean states (2, n, d)."""
    found = normalize(states - middles[:, None], dim=2).sum(dim=0)
    return found - (found @ centre)[:, None] * centre / centre.square().sum()


def request_of(spec: ToolSpec) -> str:
    """Put the description (or the name, if there is none) on one line that ends with a question mark."""
    return " ".join((spec.description or spec.name).split()).rstrip(".!?") + "?"


def _choose(
    rows: Tensor, directions: Tensor, calls: Tensor, priors: Tensor, biases: Tensor, new_bias: float
) -> tuple[MapChoice, Tensor | None, Tensor | None]:
    """Choose s and r by leaving tools out.

    Args:
        rows: (K, d), the trained toolkens.
        directions: (K, d), p.
        calls: (K, d), mean call states.
        priors: (K, d), prior rows.
        biases: (K,), the trained tools' biases.
        new_bias: The bias that new tools get instead.

    Returns:
        The choice, and the map's slope (d, d) and intercept (d,); None for both if the priors did better.
    """
    count = len(rows)
    fold = torch.randperm(count, generator=torch.Generator().manual_seed(0)) % _FOLDS
    trained_logits = toolken_logits(calls, rows, biases)

    def judge(left_out: Tensor) -> tuple[float, float]:
        logits, loss, right = toolken_logits(calls, left_out, new_bias), 0.0, 0.0
        for number in range(_FOLDS):
            taken = fold == number
            mixed = torch.where(taken[None, :], logits, trained_logits)
            own = mixed.diagonal()
            surprise = mixed.logsumexp(dim=1) - own
            loss += float(surprise[taken].sum() + surprise[~taken].sum() / (_FOLDS - 1)) / (2 * count)
            right += float((own >= mixed.amax(dim=1))[taken].sum()) / count
        return loss, right

    prior_loss, prior_right = judge(priors)
    best: tuple[Tensor, Tensor] | None = None
    choice = MapChoice(None, None, prior_loss, prior_loss, prior_right, count)
    unit = float((rows - rows.mean(dim=0)).norm(dim=1).mean() / directions.norm(dim=1).mean().clamp(min=1e-12))
    middle = directions.mean(dim=0)
    centred = (directions - middle).double()
    power, basis = torch.linalg.eigh(centred @ centred.T)
    for scale in _SCALES:
        rest = rows.double() - unit * scale * directions.double()
        mean = rest.mean(dim=0)
        turned = basis.T @ (rest - mean)
        for ridge in _RIDGES:
            kept = power.clamp(min=0) / (power.clamp(min=0) + ridge)
            leverage = basis.square() @ kept + 1 / count
            wrong = (rest - mean - basis @ (kept[:, None] * turned)) / (1 - leverage).clamp(min=1e-6)[:, None]
            loss, right = judge(rows - wrong.float())
            if loss < choice.loss:
                weights = basis @ (turned / (power.clamp(min=0) + ridge)[:, None])
                best = weights, mean
                choice = MapChoice(scale, ridge, loss, prior_loss, right, count)
    if best is None or choice.scale is None:
        return choice, None, None
    weights, mean = best
    learned = centred.T @ weights
    slope = learned + unit * choice.scale * torch.eye(len(learned), dtype=learned.dtype)
    return choice, slope.float(), (mean - middle.double() @ learned).float()
