"""Toolkens for tools that nobody trained: a map from what the LM makes of a tool's description to its toolken.

TokenLearning's prior (arXiv 2506.14248) points where a tool's *name* would be said. A toolken must fire where the tool
is *needed*, and the trained toolkens know how such places look. So each tool gets a direction,

    p = unit(last state of "description?" - its mean) + unit(mean state of the same text - its mean),

less its part along the mean state at the trained tools' calls, which would make some tools likelier everywhere. The
question mark makes a request of the description, whose last state resembles a place where the tool is due. Toolkens
are then a ridge regression on the directions, pulled to a multiple of the identity instead of to 0:

    w = mean(w) + s (p - mean(p)) + A (p - mean(p)),
    A = argmin sum_k ||w_k - mean(w) - (s + A)(p_k - mean(p))||^2 + r ||A||^2

(s = 0 is the plain ridge map, r = infinity the direction alone.) s and r are chosen by leaving tools out: a fifth of
the trained tools at a time are taken for new, with the rows that the regression without them predicts (leave-one-out in
closed form), and have to win their own mean call state against all other tools, while those keep theirs. The measure is
the mean negative log-probability over both kinds, which finds the scale at which new tools are neither drowned by the
trained ones nor drown them. The priors stand as one more candidate, so that a map that is no better is not used.

Measured on SimpleToolQuestions with an LM of 11M parameters: the right one of 837 unseen tools is first for 0.33 of the
questions, learned on 999 trained tools (0.30 to 0.32 on 100, 0.28 on 5), against 0.017 with priors. A plain ridge map
found 0.07 from the name's head rows, 0.09 from the description's, and 0.17 from the description's mean states. It must
be learned on trained tools alone: rows that no demonstration called took it down to 0.03 to 0.05. A of a lower rank
(reduced-rank regression) is no better: 0.31, 0.34 and 0.36 with rank 8, 32 and 128 where full rank gives 0.36 (s = 2,
r = 10), and all within 0.01 of each other on 100 trained tools; so A has full rank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.states import text_states
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows, text_ids
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec

# With fewer there is nothing to leave out. Five are enough: 0.28 on SimpleToolQuestions, where priors have 0.017.
LEAST_TRAINED = 5
# More are not needed to learn the map, and cost (tools)^2 x (candidates).
MOST_TRAINED = 2000
_FOLDS = 5
# s, in units that make the directions as long as the trained toolkens' distance from their mean, and r.
_SCALES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
_RIDGES = (1.0, 10.0, 100.0, 1000.0, float("inf"))


@dataclass(frozen=True)
class MapChoice:
    """What was chosen.

    scale, ridge: None where the priors served left-out tools better. loss: mean negative log-probability of the tool at
    its mean call state, over left-out tools and the others, a half each; prior_loss: with priors for left-out rows.
    left_out: share of the left-out tools that win there. trained: how many tools the map was learned on.
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
    """What the trained tools of a set give for further ones, which then cost a pass over their own descriptions only.

    w = p slope + intercept, with slope (d, d) and intercept (d,) float32; None where the priors served left-out tools
    better. middles: what is taken from a description's last and mean states (2, d). centre: the mean state at the
    trained tools' calls (d,).
    """

    choice: MapChoice
    middles: Tensor
    centre: Tensor
    slope: Tensor | None
    intercept: Tensor | None

    def rows(self, lm: LanguageModel, specs: Sequence[ToolSpec]) -> Tensor | None:
        """Toolkens (len(specs), d) float32 for tools that nobody trained; None where priors serve them better."""
        if self.slope is None or self.intercept is None:
            return None
        if not specs:
            return torch.empty(0, lm.hidden_size)
        return _directions(_description_states(lm, specs), self.middles, self.centre) @ self.slope + self.intercept


def learn_map(lm: LanguageModel, toolkens: ToolkenSet, prior: PriorConfig) -> ToolkenMap | None:
    """The map that the trained tools of a set give, or None with too few of them to learn from.

    Learned on the tools of `toolkens` that were called in its demonstrations (`ToolkenSet.call_states`); on an evenly
    spaced `MOST_TRAINED` of them if they are more. Costs one pass of the LM over each description. prior: what stands
    as the candidate without a map, made among all tools of the set, as a fit makes it.
    """
    trained = toolkens.trained
    if len(trained) < LEAST_TRAINED or toolkens.call_states is None:
        return None
    if len(trained) > MOST_TRAINED:
        trained = [trained[i * len(trained) // MOST_TRAINED] for i in range(MOST_TRAINED)]
    known = [toolkens.specs[i] for i in trained]
    calls = toolkens.call_states[trained]
    states, centre = _description_states(lm, known), calls.mean(dim=0)
    middles = states.mean(dim=1)
    directions = _directions(states, middles, centre)
    priors = prior_rows(lm, known, prior, among=toolkens.specs)
    choice, slope, intercept = _choose(
        toolkens.matrix[trained], directions, calls, priors, toolkens.biases[trained], toolkens.bias
    )
    return ToolkenMap(choice, middles, centre, slope, intercept)


def _description_states(lm: LanguageModel, specs: Sequence[ToolSpec]) -> Tensor:
    """Last and mean hidden states (2, n, d) of the descriptions as requests."""
    ids = [text_ids(lm, spec, request_of(spec)) for spec in specs]
    states = text_states(lm, ids)
    return torch.stack([torch.stack([found[-1], found.mean(dim=0)]) for found in states], dim=1)


def _directions(states: Tensor, middles: Tensor, centre: Tensor) -> Tensor:
    """p (n, d) of descriptions with last and mean states (2, n, d)."""
    found = normalize(states - middles[:, None], dim=2).sum(dim=0)
    return found - (found @ centre)[:, None] * centre / centre.square().sum()


def request_of(spec: ToolSpec) -> str:
    """The description (or the name, where there is none) on one line, ending in a question mark."""
    return " ".join((spec.description or spec.name).split()).rstrip(".!?") + "?"


def _choose(
    rows: Tensor, directions: Tensor, calls: Tensor, priors: Tensor, biases: Tensor, new_bias: float
) -> tuple[MapChoice, Tensor | None, Tensor | None]:
    """The choice, and the map's slope (d, d) and intercept (d,), or None for the prior. Of the trained tools: rows,
    directions, calls, priors (K, d); biases (K,). new_bias: what new tools get instead."""
    count = len(rows)
    fold = torch.randperm(count, generator=torch.Generator().manual_seed(0)) % _FOLDS
    trained_logits = calls @ rows.T + biases

    def judge(left_out: Tensor) -> tuple[float, float]:
        logits, loss, right = calls @ left_out.T + new_bias, 0.0, 0.0
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
