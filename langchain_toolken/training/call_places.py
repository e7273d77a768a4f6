"""Choose where the calls of texts are learned: inside the answer, or right after the question.

A text "Q: … A: The number left is 5572 mod 3241=2331" can teach both (`demonstrations.request_calls`). From inside the
answer, as in the papers, an LM calls only if it words its answer as the texts do: that is tried on held-out questions,
by letting it answer some. Only where too few of them come to the right call are the toolkens fitted a second time,
from the requests, and kept if more held-out questions then get it.
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
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.demonstrations.load import LoadedDemonstrations
from langchain_toolken.training.demonstrations.prompt_style import reinjection_of, style_of
from langchain_toolken.training.demonstrations.request_calls import LEAST, CallsFrom, PlaceChoice, called_from
from langchain_toolken.training.evidence.choose import request_text
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
"""Share of these questions with the right first call, from which on calls stay inside the answer."""

_LONGEST_ANSWER = 64  # tokens up to the first call; answers of the papers' texts come to it within 40
_LONGEST_QUESTION = 512  # tokens; longer ones would take most of the time


def fit_prepared(given: Prepared, options: FitOptions, place: CallsFrom | Literal["auto"]) -> FitResult:
    """Choose λ and prior, solve, and finish; with "auto", in the better of the two places."""
    chosen, result = _fitted(given, options)
    if place != "auto":
        return result
    texts = [i for i, one in enumerate(given.gathered.demonstrations) if _is_question(one)]
    if not texts:
        return result
    if len(texts) < LEAST or given.crew.count > 1:
        return replace(result, place=PlaceChoice("answer"))
    tools = _tools_from_answers(given, chosen, result, options, _sample(texts, options.seed))
    answer = sum(tools) / len(tools) * _argument_accuracy(result)
    if answer >= GOOD:
        return replace(result, place=PlaceChoice("answer", len(tools), answer))
    _, other = _fitted(*_from_requests(given, options))
    request = _share_from_requests(other)
    # By more than one standard error: what the texts show as it is written has the benefit of the doubt.
    error = sqrt(max(answer * (1 - answer), 0.25 / len(tools)) / len(tools))
    better = request > answer + error
    made = PlaceChoice("request" if better else "answer", len(tools), answer, request)
    return replace(other if better else result, place=made)


def _fitted(given: Prepared, options: FitOptions) -> tuple[Chosen, FitResult]:
    given = with_described(given, options)
    features, device = given.gathered.features, solve_device(given.lm)
    assert features is not None
    chosen = choose(features, given.priors, options, device)
    return chosen, finish(given, chosen, solve_chosen(features, chosen, options, device), options)


def _is_question(demonstration: Demonstration) -> bool:
    asked = bool(demonstration.calls) and not demonstration.before and question_of(demonstration.text) is not None
    return asked and len(request_text(demonstration)) <= _LONGEST_QUESTION


def _sample(texts: Sequence[int], seed: int) -> list[int]:
    return sorted(Random(f"questions {seed}").sample(texts, min(QUESTIONS, len(texts) // 4)))


def _tools_from_answers(
    given: Prepared, chosen: Chosen, result: FitResult, options: FitOptions, sample: Sequence[int]
) -> list[bool]:
    """Let the LM answer the questions, with rows that were not fitted to them, and tell where it calls the right tool.

    Args:
        given: What was fitted on.
        chosen: The fit's prior and λ.
        result: The fit.
        options: Its options.
        sample: The questions' demonstrations.
    """
    features = given.gathered.features
    assert features is not None
    rest = ~torch.isin(features.demonstration, torch.tensor(sample))
    rows = solve_chosen(features.subset(rest), replace(chosen, selection=None), options, solve_device(given.lm)).matrix
    toolkens = replace(result.toolkens, matrix=rows.to(torch.float32).cpu())
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
    return when.recall * result.which.top1[1] * _argument_accuracy(result)


def _argument_accuracy(result: FitResult) -> float:
    settings = result.toolkens.examples.settings
    accuracy = None if settings is None else settings.accuracy
    return 1.0 if accuracy is None else accuracy
