"""From features and a fitted set to its evidence: when to call (`gate`) and which tool (`which`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import Style
from langchain_toolken.prompts.requests import question_of
from langchain_toolken.prompts.turns import turns_of
from langchain_toolken.toolkens.embeddings import NamedEmbeddings
from langchain_toolken.toolkens.evidence import Evidence
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.toolkens.untrained_rows import level_unseen, spread_of
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.cross_validation import assign_folds, position_logits
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.evidence.answered import answered_calls, is_answered
from langchain_toolken.training.evidence.asked_alone import asked_alone
from langchain_toolken.training.evidence.embedded import Embedded
from langchain_toolken.training.evidence.gate import (
    ANSWERED,
    OWN,
    GateChoice,
    GatePositions,
    choose_gate,
    described_calls,
    made_positions,
    plain_positions,
)
from langchain_toolken.training.evidence.untrained import Asked, asked_of
from langchain_toolken.training.evidence.which import Calls, WhichChoice, choose_which
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.options import FitOptions
from langchain_toolken.training.selection import FOLDS, Selection

# Positions that a gate is fitted on; of more, whole demonstrations are left out by chance.
_MOST_POSITIONS = 40_000
# With fewer calls, descriptions put as requests are added to those that a gate is fitted on.
_FEW_CALLS = 20
# Calls whose logits say how far apart the toolkens are.
_LOOKED_AT = 1000


@dataclass(frozen=True, eq=False)
class EvidenceChoice:
    """What was learned besides the rows.

    Attributes:
        evidence: For the set; None if nothing helps.
        when: How the gate was chosen; None if it was not tried.
        which: How the sources were weighed; None if they were not.
        bias: What to add to the set's bias, so that the toolkens alone keep to the share of plain requests with a call.
        level: (K,), what to add to the biases of tools that no demonstration calls (`level_unseen`); None for nothing.
    """

    evidence: Evidence | None = None
    when: GateChoice | None = None
    which: WhichChoice | None = None
    bias: float = 0.0
    level: Tensor | None = None


def request_text(demonstration: Demonstration) -> str:
    """Return the words that a demonstration's calls are made for.

    The last user's message; a text's question; or, of a text without one, what is before its first call.
    """
    if demonstration.before:
        turns = turns_of(demonstration.before, "turn")
        asked = [turn.text for turn in turns if turn.role == "user" and turn.text.strip()]
        return asked[-1] if asked else "\n".join(turn.text for turn in turns)
    question = question_of(demonstration.text)
    if question is not None:
        return demonstration.text[slice(*question)]
    return demonstration.text[: min((call.start for call in demonstration.calls), default=len(demonstration.text))]


def calls_at_once(demonstrations: Sequence[Demonstration]) -> bool:
    """Tell whether most calls come straight after a request.

    Then whether to call is a question about the request, which a gate answers, and plain requests show the other side.
    Where calls come inside of answers, the words of these answers show it. Calls after a result tell neither.
    """
    straight = calling = 0
    for demonstration in demonstrations:
        if demonstration.calls and not is_answered(demonstration):
            question = question_of(demonstration.text)
            answer = 0 if question is None else question[1] + len("\nA:")
            asked = bool(demonstration.before) or question is not None
            straight += asked and not demonstration.text[answer : demonstration.calls[0].start].strip()
            calling += 1
    return 2 * straight > calling


def ask(
    lm: LanguageModel,
    specs: Sequence[ToolSpec],
    style: Style,
    demonstrations: Sequence[Demonstration],
    options: FitOptions,
) -> Asked | None:
    """Return what descriptions say, and plain requests where calls come straight after requests."""
    gate = options.gate and options.bias == "auto" and calls_at_once(demonstrations)
    if not (gate or options.evidence):
        return None
    answered = answered_calls(demonstrations, specs, style, options) if gate else ()
    return asked_of(lm, specs, style, options, gate=gate, answered=answered, longer=True)


def learn_evidence(
    lm: LanguageModel,
    toolkens: ToolkenSet,
    features: Features | None,
    demonstrations: Sequence[Demonstration],
    asked: Asked | None,
    selection: Selection | None,
    options: FitOptions,
) -> EvidenceChoice:
    """Learn when to call and which tool besides the rows, as far as the options ask for it and it helps.

    A bias that the caller gave says when, so there is no gate then. The arguments are those of `choose_evidence`;
    without `asked` the LM is asked now.
    """
    gate = options.gate and options.bias == "auto"
    if features is None or not (gate or options.evidence):
        return EvidenceChoice()
    asked = asked or ask(lm, toolkens.specs, toolkens.provenance.style, demonstrations, options)
    return choose_evidence(
        lm,
        toolkens,
        features,
        demonstrations,
        asked,
        selection,
        fitted_bias=options.fitted_bias,
        gate=gate,
        which=options.evidence,
        max_false_calls=options.max_false_call_rate,
        keep_texts=options.keep_demonstrations,
        embeddings=options.embeddings,
        seed=options.seed,
    )


def choose_evidence(
    lm: LanguageModel,
    toolkens: ToolkenSet,
    features: Features,
    demonstrations: Sequence[Demonstration],
    asked: Asked | None,
    selection: Selection | None,
    *,
    fitted_bias: float,
    gate: bool = True,
    which: bool = True,
    max_false_calls: float | None = None,
    keep_texts: bool = True,
    embeddings: NamedEmbeddings | None = None,
    seed: int = 0,
) -> EvidenceChoice:
    """Learn when to call and which tool, as far as it helps on held-out demonstrations.

    Args:
        lm: The LM.
        toolkens: The set, with its biases chosen.
        features: What it was fitted on.
        demonstrations: The demonstrations of the features.
        asked: What descriptions and plain requests say.
        selection: Held-out logits; None without a cross-validation.
        fitted_bias: The bias that the selection's logits contain.
        gate: Whether to try a gate.
        which: Whether to weigh further sources for the choice among tools.
        max_false_calls: The largest share of plain requests that may get a call; see `choose_gate`.
        keep_texts: Whether the evidence may hold the requests' words.
        embeddings: What requests and tools are compared by too; None for nothing.
        seed: See `choose_gate`.
    """
    logits = _held_out(features, selection, toolkens.biases - fitted_bias)
    at_once = calls_at_once(demonstrations)
    chosen = None
    at = (features.target >= 0).nonzero()[:_LOOKED_AT, 0]
    final = position_logits(features.subset(at), toolkens.matrix, toolkens.biases)
    if which and features.tool_positions and len(toolkens) > 1:
        calls = _calls(features, demonstrations, logits, seed)
        calls = replace(
            calls,
            keep_texts=keep_texts,
            embedded=None if embeddings is None else Embedded.of(embeddings, toolkens.specs, calls.texts),
            described=None if asked is None else asked.described.means(len(toolkens)).requests,
            plain=None if asked is None or asked.plain is None else asked.plain.requests,
        )
        alone = None
        if not at_once and selection is not None and selection.start is not None:
            style = toolkens.provenance.style
            alone = asked_alone(lm, demonstrations, calls, toolkens, selection.start, style, seed)
        spread = spread_of(final, features.target[at])
        if not at_once and asked is not None:  # toolkens are asked at the end of a request, where no call was seen
            said = asked.described.means(len(toolkens))
            spread = spread_of(toolken_logits(said.states, toolkens.matrix, toolkens.biases), said.tool)
        chosen = choose_which(calls, toolkens.specs, spread, seed, alone)
    when = None
    if gate and features.requests is not None and at_once:
        positions = _positions(features, demonstrations, logits, toolkens, asked, seed)
        when = choose_gate(positions, max_false_calls, seed, made_positions(None if asked is None else asked.answered))
    row = None if when is None else when.gate
    evidence = None
    if chosen is not None and chosen.helps:
        evidence = replace(chosen.evidence, gate=row)
    elif row is not None:
        evidence = Evidence(gate=row)
    # Without a gate, higher toolkens would call for more plain requests.
    called = torch.bincount(features.target[features.target >= 0], minlength=len(toolkens)) > 0
    level = None if row is None else level_unseen(final, features.target[at], called)
    return EvidenceChoice(evidence, when, chosen, 0.0 if when is None else when.bias, level)


def _held_out(features: Features, selection: Selection | None, biases: Tensor) -> Tensor | None:
    """(N, K) held-out logits with the set's biases, NaN where none are known; None without any."""
    if selection is None or selection.logits is None or selection.positions is None:
        return None
    found = torch.full((len(features), selection.logits.shape[1]), float("nan"))
    found[selection.positions] = selection.logits + biases
    return found


def _calls(features: Features, demonstrations: Sequence[Demonstration], logits: Tensor | None, seed: int) -> Calls:
    at = (features.target >= 0).nonzero()[:, 0]
    number = features.demonstration[at]
    texts = {i: request_text(demonstrations[i]) for i in number.unique().tolist()}
    return Calls(
        tool=features.target[at],
        request=None if features.requests is None else features.requests[number],
        texts=tuple(texts[i] for i in number.tolist()),
        demonstration=number,
        fold=assign_folds(features, FOLDS, seed)[at],
        logits=None if logits is None else logits[at],
    )


def _positions(
    features: Features,
    demonstrations: Sequence[Demonstration],
    logits: Tensor | None,
    toolkens: ToolkenSet,
    asked: Asked | None,
    seed: int,
) -> GatePositions:
    assert features.requests is not None
    count = len(features.requests)
    kept = torch.arange(len(features))
    if len(features) > _MOST_POSITIONS:
        share = torch.rand(count, generator=torch.Generator().manual_seed(seed)) < _MOST_POSITIONS / len(features)
        kept = kept[share[features.demonstration]]
    number = features.demonstration[kept]
    answered = torch.tensor([is_answered(one) for one in demonstrations])
    lead = torch.full((len(kept),), float("nan"))
    if logits is not None:
        lead = logits[kept].amax(dim=1) - features.word_max[kept]
    own = GatePositions(
        states=features.hidden[kept],
        requests=features.requests[number],
        call=features.target[kept] >= 0,
        request=number,
        group=torch.where(answered, ANSWERED, OWN)[number],
        today=lead,
    )
    if asked is None:
        return own
    if int(own.call.sum()) < _FEW_CALLS:
        own = own.join(described_calls(asked.described, count))
        count += len(toolkens)
    negatives = asked.plain
    if negatives is None or negatives.requests is None:
        return own
    best = position_logits(negatives, toolkens.matrix, toolkens.biases).amax(dim=1)
    return own.join(replace(plain_positions(negatives, count), today=best - negatives.word_max))
