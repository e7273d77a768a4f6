"""Choose where the calls of texts are learned: inside the answer, or right after the question.

A text "Q: … A: The number left is 5572 mod 3241=2331" can teach both (`demonstrations.request_calls`). From inside the
answer, as in the papers, an LM calls only if it words its answer as the texts do: that is tried on held-out questions,
by letting it answer some. Only where too few of them come to the right tool are toolkens fitted from the requests, and
kept if more held-out questions get the right tool and the right arguments then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import sqrt
from random import Random
from typing import Literal

import torch
from langchain_core.messages import HumanMessage

from langchain_toolken.decoding.engine import DecodingRequest, Sampling
from langchain_toolken.decoding.local.engine import local_engine
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.requests import question_of, request_of
from langchain_toolken.prompts.turns import turns_of
from langchain_toolken.training.arguments import BATCH
from langchain_toolken.training.calibration import choose_bias
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.demonstrations.load import LoadedDemonstrations
from langchain_toolken.training.demonstrations.prompt_style import reinjection_of, style_of
from langchain_toolken.training.demonstrations.request_calls import LEAST, CallsFrom, PlaceChoice, called_from
from langchain_toolken.training.evidence.choose import calls_at_once, request_text
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.fitted_set import toolken_set
from langchain_toolken.training.options import FitOptions
from langchain_toolken.training.result import FitResult
from langchain_toolken.training.solve.solver import solve_device
from langchain_toolken.training.steps import (
    Chosen,
    Prepared,
    choose,
    finish,
    run_lm_pass,
    solve_chosen,
    with_described,
)

QUESTIONS = 24
"""Held-out questions that the LM answers."""

GOOD = 0.8
"""Share of these questions whose first call is of the right tool, from which on calls stay inside the answer."""

_LONGEST_ANSWER = 64  # tokens up to the first call; answers of the papers' texts come to it within 40
_LONGEST_QUESTION = 512  # tokens; longer ones would take most of the time


def fit_prepared(given: Prepared, options: FitOptions, place: CallsFrom | Literal["auto"]) -> FitResult:
    """Choose λ and prior, solve, and finish; with "auto", in the better of the two places."""
    as_read, given = given, with_described(given, options)
    features = given.gathered.features
    assert features is not None
    chosen = choose(features, given.priors, options, solve_device(given.lm))
    texts = [i for i, one in enumerate(given.gathered.demonstrations) if _is_question(one)]
    if place != "auto" or not texts or calls_at_once(given.gathered.demonstrations):
        return _finished(given, features, chosen, options)
    if len(texts) < LEAST or given.crew.count > 1:
        return replace(_finished(given, features, chosen, options), place=PlaceChoice("answer"))
    tools = _tools_from_answers(given, features, chosen, options, _sample(texts, options.seed))
    made = PlaceChoice("answer", len(tools), sum(tools) / len(tools))
    if made.answer is not None and made.answer < GOOD:
        other = fit_prepared(*_from_requests(as_read, options), place="request")
        made = _better(made, _share_from_requests(other))
        if made.chosen == "request":
            return replace(other, place=made)
    return replace(_finished(given, features, chosen, options), place=made)


def _finished(given: Prepared, features: Features, chosen: Chosen, options: FitOptions) -> FitResult:
    solved = solve_chosen(features, chosen, options, solve_device(given.lm))
    return finish(given, chosen, solved, options)


def _better(tried: PlaceChoice, request: float) -> PlaceChoice:
    """Choose requests if they are better by more than one standard error: texts are first taken as they are written."""
    answer, count = tried.answer or 0.0, tried.questions
    error = sqrt(max(answer * (1 - answer), 0.25 / count) / count)
    return replace(tried, chosen="request" if request > answer + error else "answer", request=request)


def _is_question(demonstration: Demonstration) -> bool:
    asked = bool(demonstration.calls) and not demonstration.before and question_of(demonstration.text) is not None
    return asked and len(request_text(demonstration)) <= _LONGEST_QUESTION


def _sample(texts: Sequence[int], seed: int) -> list[int]:
    return sorted(Random(f"questions {seed}").sample(texts, min(QUESTIONS, len(texts) // 4)))


def _tools_from_answers(
    given: Prepared, features: Features, chosen: Chosen, options: FitOptions, sample: Sequence[int]
) -> list[bool]:
    """Let the LM answer the questions, with rows that were not fitted to them, and tell where it calls the right tool.

    Args:
        given: What is fitted on.
        features: Its features.
        chosen: Prior and λ.
        options: The fit's options.
        sample: The questions' demonstrations.
    """
    rest = ~torch.isin(features.demonstration, torch.tensor(sample))
    rows = solve_chosen(features.subset(rest), replace(chosen, selection=None), options, solve_device(given.lm)).matrix
    toolkens = toolken_set(
        given.lm,
        given.specs,
        rows,
        chosen.rows,
        bias=options.fitted_bias,
        style=given.style,
        reinjection=given.reinjection,
        prior=chosen.prior,
    )
    known = chosen.selection
    if options.bias == "auto" and known is not None and known.logits is not None and known.held_out is not None:
        bias = choose_bias(known.held_out, known.logits, known.folds, options.max_false_call_rate)
        toolkens = replace(toolkens, bias=toolkens.bias + bias.bias, tool_biases=bias.tool_biases)
    engine = local_engine(given.lm, max_batch_size=BATCH)
    layout = PromptFormat(given.style, "inline")
    found = []
    for start in range(0, len(sample), BATCH):
        if options.progress is not None:
            options.progress(start, len(sample), "answer held-out questions")
        some = [given.gathered.demonstrations[i] for i in sample[start : start + BATCH]]
        asked = [[HumanMessage(request_text(one))] for one in some]
        prompts = [render(engine.tokenizer, messages, layout) for messages in asked]
        decoding = DecodingRequest(
            Sampling(max_tokens=_LONGEST_ANSWER),
            toolkens=toolkens,
            stop=layout.stop,
            requests=tuple(request_of(engine.tokenizer, turns_of(said, "inline"), layout) for said in asked),
        )
        for one, reasoning in zip(some, engine.reason(prompts, decoding), strict=True):
            found.append(reasoning.trigger is not None and reasoning.trigger.tool == one.calls[0].tool)
    if options.progress is not None:
        options.progress(len(sample), len(sample), "answer held-out questions")
    return found


def _from_requests(given: Prepared, options: FitOptions) -> tuple[Prepared, FitOptions]:
    """Run the LM over the same demonstrations with their calls moved to the requests."""
    folder = None if options.features_dir is None else f"{options.features_dir}-requests"
    options = replace(options, calls_from="request", reinjection=options.reinjection or "inline", features_dir=folder)
    loaded = LoadedDemonstrations(given.gathered.demonstrations, given.gathered.dropped)
    loaded = called_from("request", loaded, options.reinjection)
    style = options.style or style_of(loaded.demonstrations, given.lm)
    gathered = run_lm_pass(given.lm, loaded, [spec.name for spec in given.specs], style, options, given.crew)
    reinjection = reinjection_of(loaded.demonstrations, style, options.reinjection)
    return replace(given, style=style, reinjection=reinjection, gathered=gathered), options


def _share_from_requests(result: FitResult) -> float:
    """Share of the held-out calls that are made, of the right tool and with the right arguments; 0 if not known."""
    if result.when is None or result.which is None or result.which.assumed:
        return 0.0
    when = result.when.without if result.when.gate is None else result.when.with_gate
    settings = result.toolkens.examples.settings
    arguments = None if settings is None else settings.accuracy
    return when.recall * result.which.top1[1] * (1.0 if arguments is None else arguments)
