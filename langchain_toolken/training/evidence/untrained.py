"""Toolkens and evidence for tools of which nothing but names and descriptions is known.

Levelled rows, and descriptions put as requests (`toolkens.untrained_rows`): what their states and words have in common
with a request's says which tool, and how they differ from plain requests says when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import Style
from langchain_toolken.toolkens.described import Described
from langchain_toolken.toolkens.embeddings import NamedEmbeddings
from langchain_toolken.toolkens.evidence import Evidence
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.toolkens.untrained_rows import described_rows, spread_of
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.evidence.answered import answered_calls, answered_features
from langchain_toolken.training.evidence.described import described_states
from langchain_toolken.training.evidence.embedded import Embedded
from langchain_toolken.training.evidence.gate import (
    ASKED_SHARE,
    GateChoice,
    choose_gate,
    described_calls,
    made_positions,
    plain_positions,
)
from langchain_toolken.training.evidence.which import Calls, assumed_which
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.negatives import negative_features
from langchain_toolken.training.options import AUTO_PRIORS, FitOptions


@dataclass(frozen=True, eq=False)
class Asked:
    """What is known of requests without a demonstration.

    Attributes:
        described: The tools' descriptions put as requests.
        plain: Requests that need no tool; None without any.
        answered: Requests whose call has its result (`evidence.answered`); None where none were made.
    """

    described: Described
    plain: Features | None = None
    answered: Features | None = None


@dataclass(frozen=True, eq=False)
class Untrained:
    """What a set without demonstrations is made of.

    Attributes:
        prior: What the rows are made of, for the provenance.
        rows: (K, d): levelled ones if a gate says when; else the prior itself, which compares with words.
        evidence: When and which; None if it was not asked for.
        when: How the gate was chosen; None without one.
    """

    prior: str
    rows: Tensor
    evidence: Evidence | None
    when: GateChoice | None = None


def asked_of(
    lm: LanguageModel,
    specs: Sequence[ToolSpec],
    style: Style,
    options: FitOptions,
    *,
    gate: bool,
    answered: Sequence[Demonstration] = (),
    longer: bool = False,
) -> Asked:
    """Run the LM over the descriptions and, for a gate, over the plain requests; both are kept with the features.

    `answered`: requests whose call has its result, which a gate is tried on too. `longer`: see `plain_requests`.
    """
    folder, progress = options.features_dir, options.progress
    described = described_states(lm, specs, style, folder=folder, progress=progress)
    if not gate:
        return Asked(described)
    plain = negative_features(lm, options.negatives, style, longer=longer, folder=folder, progress=progress)
    return Asked(described, plain, answered_features(lm, answered, style, options))


def untrained_priors(options: FitOptions, style: Style) -> tuple[PriorConfig, ...]:
    """Return the kinds of prior for `untrained`: where words compete with it, and the best one levelled."""
    raw = options.priors[0]
    return (raw, AUTO_PRIORS[1]) if options.prior == "auto" and _gated(options, style) else (raw,)


def _gated(options: FitOptions, style: Style) -> bool:
    # In completion style calls come inside of answers, of which nothing is known.
    return options.evidence and options.gate and options.bias == "auto" and style == "chat"


def untrained(
    lm: LanguageModel, specs: Sequence[ToolSpec], priors: Mapping[str, Tensor], style: Style, options: FitOptions
) -> Untrained:
    """Make rows and evidence from priors (K, d) and the descriptions, as far as the options ask for it.

    A gate is for chat style: there a call comes straight after its request, as the descriptions put as requests show
    it.

    Args:
        lm: The LM.
        specs: The K tools.
        priors: Those of `untrained_priors`, by name.
        style: How requests are laid out.
        options: The fit's options.
    """
    name, prior = next(iter(priors.items()))
    if not options.evidence:
        return Untrained(name, prior, None)
    gated = _gated(options, style)
    answered = answered_calls((), specs, style, options) if gated else ()
    asked = asked_of(lm, specs, style, options, gate=gated, answered=answered)
    described, plain, when = asked.described, asked.plain, None
    if plain is not None and len(specs) > 1:
        when = choose_gate(
            described_calls(described, 0).join(plain_positions(plain, len(specs))),
            options.max_false_call_rate,
            options.seed,
            made_positions(asked.answered),
            # Descriptions put as requests are further from plain requests than a user's requests are.
            package_share=ASKED_SHARE,
        )
    gate = None if when is None else when.gate
    said = described.means(len(specs))
    calls = Calls(
        tool=said.tool,
        request=said.requests,
        texts=tuple(spec.description or spec.name for spec in specs),
        demonstration=said.tool,
        fold=torch.zeros_like(said.tool),
        logits=None,
        keep_texts=False,
        plain=None if plain is None else plain.requests,
        embedded=None if options.embeddings is None else _embedded(options.embeddings, specs),
    )
    if gate is None:
        return Untrained(name, prior, assumed_which(calls, specs).evidence)
    name, prior = list(priors.items())[-1]
    rows = rows_of(prior, asked)
    evidence = assumed_which(calls, specs, spread_of(said.states @ rows.T, said.tool)).evidence
    return Untrained(f"{name}, levelled", rows, replace(evidence, gate=gate), when)


def _embedded(embeddings: NamedEmbeddings, specs: Sequence[ToolSpec]) -> Embedded:
    # The descriptions alone: put as requests they would count twice.
    found = Embedded.of(embeddings, specs, ())
    return replace(found, requests=torch.zeros_like(found.tools))


def rows_of(prior: Tensor, asked: Asked) -> Tensor:
    """Make rows of a prior (K, d) and the descriptions' last states."""
    plain = asked.plain
    first = None if plain is None else plain.hidden[_beginnings(plain)]
    return described_rows(prior, asked.described.means(len(prior)).states, first)


def _beginnings(features: Features) -> Tensor:
    """Return where each answer begins: the first position of each demonstration."""
    number = features.demonstration
    starts: Tensor = torch.cat([torch.ones(1, dtype=torch.bool), number[1:] != number[:-1]])
    places: Tensor = starts.nonzero()[:, 0]
    return places
