"""Choose where the calls of texts are learned, and how many worked answers are put before a question.

A text "Q: … A: The number left is 5572 mod 3241=2331" can teach two things (`demonstrations.request_calls`): a call
inside the answer, as in the papers, or one right after the question. From inside, an LM calls only if it words its
answer as the texts do. So it is let to answer some held-out questions. Where too few answers come to the right tool,
toolkens are fitted from the requests; and where these are not good either, the questions are answered after worked
answers (`toolkens.worked_answers`), with toolkens that were fitted after such. Worked answers come last:
they cost tokens of every prompt, and held-out questions that are worded nearly like others flatter them
(docs/results.md, "Arithmetic questions"). Of few texts none is held out: the LM answers the very questions that the
toolkens are fitted to, and if even there it does not come to the calls, they are learned from the requests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from random import Random
from typing import Literal

import torch
from langchain_core.messages import BaseMessage, HumanMessage

from langchain_toolken.decoding.engine import DecodingRequest, Sampling
from langchain_toolken.decoding.local.engine import local_engine
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.requests import question_of, request_of
from langchain_toolken.prompts.turns import turns_of
from langchain_toolken.toolkens.worked_answers import WorkedAnswers, kept_answers
from langchain_toolken.training.arguments import BATCH
from langchain_toolken.training.calibration import choose_bias
from langchain_toolken.training.demonstrations.chains import chained, worked_answer
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.demonstrations.prompt_style import reinjection_of, style_of
from langchain_toolken.training.demonstrations.request_calls import LEAST, CallsFrom, PlaceChoice, called_from
from langchain_toolken.training.evidence.choose import calls_at_once, request_text
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
"""Share of these questions whose first call is of the right tool, from which on nothing else is tried."""

SHOWN = (4, 8)
"""How many worked answers are tried."""

_LONGEST_ANSWER = 64  # tokens up to the first call; answers of the papers' texts come to it within 40
_LONGEST_QUESTION = 512  # tokens; longer ones would take most of the time


@dataclass(frozen=True, eq=False)
class _Inside:
    """A fit of calls from inside the answer.

    Attributes:
        given: What is fitted on.
        chosen: Prior and λ.
        worked: What is put before a question; None for nothing.
        right: For each question that was tried, whether the first call was of the right tool.
    """

    given: Prepared
    chosen: Chosen
    worked: WorkedAnswers | None = None
    right: tuple[bool, ...] = ()

    @property
    def share(self) -> float:
        """Share of the questions whose first call was of the right tool."""
        return sum(self.right) / max(len(self.right), 1)

    @property
    def shown(self) -> int:
        """How many worked answers are put before a question."""
        return 0 if self.worked is None else self.worked.shown


def fit_prepared(given: Prepared, options: FitOptions, place: CallsFrom | Literal["auto"]) -> FitResult:
    """Choose λ and prior, solve, and finish; with "auto", in the better of the two places.

    Args:
        given: What is fitted on.
        options: The fit's options. With `worked_answers` "auto", it is tried whether these help.
        place: Where the calls of texts are learned.
    """
    as_read, given = given, with_described(given, options)
    alone, demonstrations, shown = _inside(given, options), given.read.demonstrations, options.worked_answers
    texts = [i for i, one in enumerate(demonstrations) if _is_question(one)]
    if place == "request" or not texts or calls_at_once(demonstrations) or (place == "answer" and shown == 0):
        return _finished(alone, options)
    if isinstance(shown, int) and shown:  # they are in chains already
        return _finished(_after_worked(alone, shown), options)
    few = len(texts) < LEAST
    if given.crew.count > 1 or (few and place == "answer"):
        return replace(_finished(alone, options), place=PlaceChoice("answer"))
    sample = texts if few else _sample(texts, options.seed)
    alone = replace(alone, right=_right_tools(alone, options, sample, held_out=not few))
    if few:
        there = alone.share >= GOOD
        found = _finished(alone, options) if there else fit_prepared(*_from_requests(as_read, options), place="request")
        return replace(found, place=PlaceChoice("answer" if there else "request", len(sample), alone.share))
    made, best, other, request = PlaceChoice("answer", len(sample), alone.share), alone, None, 0.0
    if place == "auto" and alone.share < GOOD:
        other = fit_prepared(*_from_requests(as_read, options), place="request")
        request = _share_from_requests(other)
        made = _better(made, request)
    if shown == "auto" and max(alone.share, request) < GOOD:
        best = max(_with_worked(as_read, options, sample), key=lambda one: one.share)
        made = replace(made, worked=best.share)
        error = _error(best.share, len(sample))
        if best.share > max(alone.share, request) + error:
            result = _finished(best, options)
            settings = result.toolkens.examples.settings
            arguments = None if settings is None else settings.accuracy
            if other is None or best.share * (1.0 if arguments is None else arguments) > request + error:
                return replace(result, place=replace(made, chosen="answer", shown=best.shown))
    if other is not None and made.chosen == "request":
        return replace(other, place=made)
    return replace(_finished(alone, options), place=made)


def _with_worked(given: Prepared, options: FitOptions, sample: Sequence[int]) -> list[_Inside]:
    """Try numbers of worked answers on the questions, up to the first that is good."""
    chains, tried = _chained(given, options), []
    for count in SHOWN:
        after = _after_worked(chains, count)
        tried.append(replace(after, right=_right_tools(after, options, sample)))
        if tried[-1].share >= GOOD:
            break
    return tried


def _inside(given: Prepared, options: FitOptions) -> _Inside:
    assert given.gathered.features is not None
    return _Inside(given, choose(given.gathered.features, given.priors, options, solve_device(given.lm)))


def _finished(fitted: _Inside, options: FitOptions) -> FitResult:
    given, chosen = fitted.given, fitted.chosen
    assert given.gathered.features is not None
    solved = solve_chosen(given.gathered.features, chosen, options, solve_device(given.lm))
    result = finish(given, chosen, solved, options)
    if fitted.worked is None:
        return result
    examples = replace(result.toolkens.examples, worked=fitted.worked)
    return replace(result, toolkens=replace(result.toolkens, examples=examples))


def _better(tried: PlaceChoice, request: float) -> PlaceChoice:
    """Choose requests if they are better by more than one standard error: texts are first taken as they are written."""
    answer = tried.answer or 0.0
    chosen: CallsFrom = "request" if request > answer + _error(answer, tried.questions) else "answer"
    return replace(tried, chosen=chosen, request=request)


def _error(share: float, count: int) -> float:
    """Return the standard error of a share, as if it were not nearer to 0 or 1 than one question tells."""
    return sqrt(max(share * (1 - share), 0.25 / count) / count)


def _is_question(demonstration: Demonstration) -> bool:
    asked = bool(demonstration.calls) and not demonstration.before and question_of(demonstration.text) is not None
    return asked and len(request_text(demonstration)) <= _LONGEST_QUESTION


def _sample(texts: Sequence[int], seed: int) -> list[int]:
    return sorted(Random(f"questions {seed}").sample(texts, min(QUESTIONS, len(texts) // 4)))


def _right_tools(
    fitted: _Inside, options: FitOptions, sample: Sequence[int], *, held_out: bool = True
) -> tuple[bool, ...]:
    """Let the LM answer the questions, and tell where it calls the right tool.

    Args:
        fitted: What is fitted on, with prior and λ.
        options: The fit's options.
        sample: The questions' demonstrations.
        held_out: Whether the rows are fitted without them.
    """
    given, chosen, features = fitted.given, fitted.chosen, fitted.given.gathered.features
    assert features is not None
    if held_out:
        features = features.subset(~torch.isin(features.demonstration, torch.tensor(sample)))
    rows = solve_chosen(features, replace(chosen, selection=None), options, solve_device(given.lm)).matrix
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
    endings = fitted.worked.endings if fitted.worked is not None and given.style == "completion" else ()
    what = f"answer held-out questions{f' after {fitted.shown} worked answers' if fitted.shown else ''}"
    found = []
    for start in range(0, len(sample), BATCH):
        if options.progress is not None:
            options.progress(start, len(sample), what)
        some = [given.gathered.demonstrations[i] for i in sample[start : start + BATCH]]
        asked: list[list[BaseMessage]] = [[HumanMessage(request_text(one))] for one in some]
        if fitted.worked is not None:
            most = engine.context_length // 4
            asked = [fitted.worked.before(messages, engine.tokenizer, most) for messages in asked]
        prompts = [render(engine.tokenizer, messages, layout) for messages in asked]
        decoding = DecodingRequest(
            Sampling(max_tokens=_LONGEST_ANSWER),
            toolkens=toolkens,
            stop=(*layout.stop, *endings),
            requests=tuple(request_of(engine.tokenizer, turns_of(said, "inline"), layout) for said in asked),
        )
        for one, reasoning in zip(some, engine.reason(prompts, decoding), strict=True):
            found.append(reasoning.trigger is not None and reasoning.trigger.tool == one.calls[0].tool)
    if options.progress is not None:
        options.progress(len(sample), len(sample), what)
    return tuple(found)


def _chained(given: Prepared, options: FitOptions) -> _Inside:
    """Run the LM over the same demonstrations in chains, for rows that are used after worked answers."""
    folder = None if options.features_dir is None else f"{options.features_dir}-chains"
    options = replace(options, features_dir=folder)
    loaded = chained(given.read, given.lm.tokenizer, given.lm.context_length // 2, options.seed)
    gathered = run_lm_pass(given.lm, loaded, [spec.name for spec in given.specs], given.style, options, given.crew)
    return _inside(replace(given, gathered=gathered), options)


def _after_worked(fitted: _Inside, shown: int) -> _Inside:
    found = [worked for one in fitted.given.read.demonstrations if (worked := worked_answer(one)) is not None]
    return replace(fitted, worked=WorkedAnswers(shown=shown, answers=kept_answers(found)))


def _from_requests(given: Prepared, options: FitOptions) -> tuple[Prepared, FitOptions]:
    """Run the LM over the same demonstrations with their calls moved to the requests."""
    folder = None if options.features_dir is None else f"{options.features_dir}-requests"
    options = replace(options, calls_from="request", reinjection=options.reinjection or "inline", features_dir=folder)
    loaded = called_from("request", given.read, options.reinjection)
    style = options.style or style_of(loaded.demonstrations, given.lm)
    gathered = run_lm_pass(given.lm, loaded, [spec.name for spec in given.specs], style, options, given.crew)
    reinjection = reinjection_of(loaded.demonstrations, style, options.reinjection)
    return replace(given, style=style, reinjection=reinjection, gathered=gathered, read=loaded), options


def _share_from_requests(result: FitResult) -> float:
    """Share of the held-out calls that are made, of the right tool and with the right arguments; 0 if not known."""
    if result.when is None or result.which is None or result.which.assumed:
        return 0.0
    when = result.when.without if result.when.gate is None else result.when.with_gate
    settings = result.toolkens.examples.settings
    arguments = None if settings is None else settings.accuracy
    return when.recall * result.which.top1[1] * (1.0 if arguments is None else arguments)
