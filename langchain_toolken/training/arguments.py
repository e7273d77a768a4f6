"""Choose how arguments are completed: the form of the tools' cards, by exactly right arguments on held-out calls.

A call of a demonstration is held out by leaving it, and every other call of the same request, off its own card. The
right tool is given, so what is measured is the arguments alone. Work is bounded: all forms are tried on a few calls,
and at most two that are close to each other on the rest of at most `CALLS_TRIED`. A form that gets all of the first
calls right ends the comparison with those after it, which have longer cards: an LM that was trained on plain cards, as
nano was, costs little. The best form is tried again with copying preferred, where a parameter's values are mostly
copied from the request (`decoding.local.copying`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from langchain_toolken.decoding.copy_source import CopySource, copy_source
from langchain_toolken.decoding.engine import Engine
from langchain_toolken.decoding.local.copying import is_copied
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.call_cards import PLAIN, Asked, CallExample, CardForm, asked_in, written_arguments
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.format import ANSWER, Reinjection, Style
from langchain_toolken.toolkens.examples import (
    ArgumentSettings,
    Examples,
    FormTried,
    ToolAccuracy,
    card_of,
    chosen_examples,
)
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.features.layout import render_answer, render_demonstration

# SmolLM2-135M on the everyday dev requests, right tool given: plain 4 of 36, 4 examples 18, 8 examples 14, 8 examples
# and descriptions 13. nano was trained on plain cards: plain 40 of 40, 4 examples 12.
FORMS = (
    PLAIN,
    CardForm(examples=2, request=True),
    CardForm(examples=4, request=True),
    CardForm(examples=8, request=True),
)
"""What "auto" chooses among; of equals the first."""

DEFAULT_FORM = FORMS[2]
"""The form where there are too few demonstrations to choose by."""

COPY_NATS = 3.0
"""What copying is preferred by where it helps: enough for a word that the LM half believes, not for any word."""

CALLS_TRIED = 40
"""Most held-out calls."""

BATCH = 12
"""Calls that all forms are tried on, and that run together."""

_COPIED = 0.6  # of a parameter's values, from which on it counts as copied
_FEWEST_COPIED = 3  # values, below which a share says nothing
_FEW = 8  # calls that are too few to tell forms apart which are right in none
_CLOSE = 3  # right calls of the first batch by which the best form may lead one that is tried on
_LONGEST_PROMPT = 1024  # tokens; longer conversations would take most of the time


@dataclass(frozen=True)
class ArgumentCalls:
    """The calls of some demonstrations whose arguments are known.

    Attributes:
        examples: What a set keeps of them.
        held_out: Calls to measure on, those of different tools in turn.
        comparable: Whether the cards of these calls can show examples; not if each tool was called for one request.
    """

    examples: tuple[CallExample, ...]
    held_out: tuple[HeldOutCall, ...]
    comparable: bool = True


@dataclass(frozen=True)
class HeldOutCall:
    """A call of a demonstration.

    Attributes:
        spec: The tool.
        example: What was asked and the right arguments.
        demonstration: The demonstration.
        call: The call in it.
    """

    spec: ToolSpec
    example: CallExample
    demonstration: Demonstration
    call: DemonstratedCall


def argument_calls(
    demonstrations: Sequence[Demonstration],
    specs: Sequence[ToolSpec],
    reinjection: Reinjection,
    *,
    keep: bool = True,
    seed: int = 0,
) -> ArgumentCalls:
    """Gather the calls whose arguments the demonstrations show, and sample those to measure on.

    Args:
        demonstrations: The demonstrations, with checked arguments.
        specs: The tools.
        reinjection: Where results are in chat histories.
        keep: Whether a set may keep examples.
        seed: Decides which calls are sampled.
    """
    by_name = {spec.name: spec for spec in specs}
    found = [
        HeldOutCall(by_name[call.tool], example, demonstration, call)
        for demonstration in demonstrations
        for call in demonstration.calls
        if call.tool in by_name and (example := _example(demonstration, call, reinjection)) is not None
    ]
    kept = chosen_examples(one.example for one in found) if keep else ()
    with_others = [
        one for one in found if any(_differs(one.example, other) for other in kept if other.tool == one.spec.name)
    ]
    of_tool: dict[str, list[HeldOutCall]] = {}
    for one in with_others or found:
        of_tool.setdefault(one.spec.name, []).append(one)
    rng = Random(f"held-out calls {seed}")
    shuffled = [rng.sample(calls, len(calls)) for _, calls in sorted(of_tool.items())]
    rng.shuffle(shuffled)
    in_turn = [
        calls[place] for place in range(max(map(len, shuffled), default=0)) for calls in shuffled if place < len(calls)
    ]
    return ArgumentCalls(kept, tuple(in_turn[:CALLS_TRIED]), comparable=bool(with_others))


def asked_of(demonstration: Demonstration, call: DemonstratedCall, reinjection: Reinjection) -> Asked:
    """Return what a call of a demonstration answers, as `call_cards.asked_in` does for a chat."""
    before = demonstration.text[: call.start]
    if demonstration.before:
        return asked_in(demonstration.before, reinjection, before)
    question, parted, answer = before.partition(ANSWER)
    if parted and question.startswith("Q:"):
        return Asked(question.removeprefix("Q:").strip(), answer)
    return Asked("", before)


def copied_parameters(examples: Iterable[CallExample]) -> dict[str, tuple[str, ...]]:
    """Return, for each tool, the parameters whose values mostly stand in what was asked, word for word."""
    found: dict[str, dict[str, list[bool]]] = {}
    for example in examples:
        asked = f"{example.request}\n{example.so_far}"
        for name, value in example.arguments.items():
            found.setdefault(example.tool, {}).setdefault(name, []).append(is_copied(value, asked))
    of_tool = {
        tool: tuple(
            name
            for name, copied in parameters.items()
            if len(copied) >= _FEWEST_COPIED and sum(copied) >= _COPIED * len(copied)
        )
        for tool, parameters in found.items()
    }
    return {tool: names for tool, names in of_tool.items() if names}


def choose_arguments(
    engine: Engine,
    calls: ArgumentCalls,
    forms: Sequence[CardForm],
    style: Style,
    reinjection: Reinjection,
    *,
    progress: Progress | None = None,
) -> ArgumentSettings:
    """Choose the form of the cards, and whether copying is preferred.

    Where a few calls or none can be compared, `DEFAULT_FORM` takes the place of a first form that is mostly wrong.

    Args:
        engine: The engine that completes the calls.
        calls: What to choose by.
        forms: The forms to choose among, the shortest card first; with a single one its figures are measured.
        style: How the demonstrations are laid out.
        reinjection: Where results are in chat histories.
        progress: Called with (done, total, what).
    """
    forms = list(dict.fromkeys(forms))
    trial = _Trial(engine, calls, style, reinjection, progress)
    left = forms if calls.comparable else forms[:1]
    for start in range(0, len(trial.held_out), BATCH):
        left = trial.run(start, left)
        left = sorted(left, key=lambda form: (-trial.right(form), forms.index(form)))
        left = [form for form in left[:2] if trial.right(left[0]) - trial.right(form) <= _CLOSE]
    form, asked = left[0], len(trial.held_out)
    right = trial.right(form)
    unknown = 2 * right < asked if not calls.comparable else right == 0 and asked < _FEW
    if len(forms) > 1 and (unknown or not asked):
        return ArgumentSettings(form=DEFAULT_FORM, tried=trial.tried(forms))
    if not trial.copied or right == asked:
        return trial.settings(_Tried(form), forms)
    for start in range(0, asked, BATCH):
        trial.run(start, [form], COPY_NATS)
    better = trial.right(form, COPY_NATS) > right
    return trial.settings(_Tried(form, COPY_NATS if better else 0.0), forms)


@dataclass(frozen=True)
class _Tried:
    """What held-out calls are completed with."""

    form: CardForm
    copy_nats: float = 0.0


class _Trial:
    """Completes held-out calls, and counts which were right."""

    def __init__(
        self,
        engine: Engine,
        calls: ArgumentCalls,
        style: Style,
        reinjection: Reinjection,
        progress: Progress | None,
    ) -> None:
        self._engine = engine
        self._calls = calls
        self._style = style
        self._reinjection = reinjection
        self._progress = progress
        laid_out = [(one, self._before(one)) for one in calls.held_out]
        longest = min(_LONGEST_PROMPT, engine.context_length // 2)
        self.held_out = [(one, ids) for one, ids in laid_out if ids and len(ids) <= longest]
        self.copied = copied_parameters(one.example for one in calls.held_out)
        self._outcomes: dict[_Tried, list[_Outcome]] = {}

    def run(self, start: int, forms: Sequence[CardForm], copy_nats: float = 0.0) -> list[CardForm]:
        """Complete the calls from `start` on with cards of each form. What comes before the cards is read once.

        Returns:
            The forms that were tried: those up to the first that has been right in all calls.
        """
        batch = self.held_out[start : start + BATCH]
        tried = []
        if not start:
            self._tell(0, copy_nats)
        for form in forms:
            tried.append(form)
            outcomes = self._outcomes.setdefault(_Tried(form, copy_nats), [])
            cards = [self._card(one, form, len(before)) for one, before in batch]
            prompts = [[*before, *card] for (_, before), card in zip(batch, cards, strict=True)]
            longest = max(self._length(one) for one, _ in batch)
            copying = [self._source(one, copy_nats) for one, _ in batch]
            specs = [one.spec for one, _ in batch]
            completions = self._engine.complete(prompts, specs, max_tokens=longest, copying=copying)
            for (one, _), card, completion in zip(batch, cards, completions, strict=True):
                right = completion.arguments is not None and same_arguments(
                    one.spec, completion.arguments, one.example.arguments
                )
                outcomes.append(_Outcome(one.spec.name, right, len(card)))
            self._tell(start + len(batch), copy_nats)
            if all(outcome.right for outcome in outcomes):
                break
        return tried

    def right(self, form: CardForm, copy_nats: float = 0.0) -> int:
        """Return how many calls were right."""
        return sum(outcome.right for outcome in self._outcomes.get(_Tried(form, copy_nats), ()))

    def settings(self, chosen: _Tried, forms: Sequence[CardForm]) -> ArgumentSettings:
        """Return what was chosen, with all figures."""
        of_tool: dict[str, list[bool]] = {}
        for outcome in self._outcomes.get(chosen, ()):
            of_tool.setdefault(outcome.tool, []).append(outcome.right)
        tools = {name: ToolAccuracy(right=sum(rights), asked=len(rights)) for name, rights in of_tool.items()}
        return ArgumentSettings(
            form=chosen.form,
            copied=self.copied if chosen.copy_nats else {},
            copy_nats=chosen.copy_nats,
            tried=self.tried(forms),
            tools=tools,
        )

    def tried(self, forms: Sequence[CardForm]) -> tuple[FormTried, ...]:
        """Return what was tried and how it did: the forms in their order, then what was tried with copying."""
        order = [*map(_Tried, forms), *(one for one in self._outcomes if one.copy_nats)]
        return tuple(
            FormTried(
                form=one.form,
                copy_nats=one.copy_nats,
                right=self.right(one.form, one.copy_nats),
                asked=len(outcomes),
                tokens=sum(outcome.tokens for outcome in outcomes) / len(outcomes),
            )
            for one in order
            if (outcomes := self._outcomes.get(one))
        )

    def _tell(self, done: int, copy_nats: float) -> None:
        if self._progress is not None:
            what = "complete held-out calls" + (" with copying preferred" if copy_nats else "")
            self._progress(done, len(self.held_out), what)

    def _before(self, one: HeldOutCall) -> list[int]:
        """Return the prompt and the text up to the call, as in decoding; [] if the LM can't be given them."""
        demonstration, tokenizer = one.demonstration, self._engine.tokenizer
        before, text, starts, style = demonstration.before, demonstration.text, [one.call.start], self._style
        try:
            laid_out = (
                render_answer(tokenizer, before, text, starts, style, self._reinjection)
                if before
                else render_demonstration(tokenizer, text, starts, style)
            )
        except ValueError:  # the template rejects this history
            return []
        (position,) = laid_out.call_positions
        return [] if position is None else list(laid_out.ids[: position + 1])

    def _card(self, one: HeldOutCall, form: CardForm, used: int) -> list[int]:
        others = [other for other in self._calls.examples if _differs(one.example, other)]
        examples = Examples(tuple(others), ArgumentSettings(form=form))
        room = self._engine.context_length - used - self._length(one)
        return card_of(self._engine.tokenizer, one.spec, examples, one.example.asked, room=room)

    def _source(self, one: HeldOutCall, nats: float) -> CopySource | None:
        settings = ArgumentSettings(copied=self.copied, copy_nats=nats)
        return copy_source(one.spec, settings, one.example.asked)

    def _length(self, one: HeldOutCall) -> int:
        """Return how many tokens the arguments may have: some more than the right ones, since more can't be right."""
        return len(encode_content(self._engine.tokenizer, written_arguments(one.example.arguments))) + 8


@dataclass(frozen=True)
class _Outcome:
    tool: str
    right: bool
    tokens: int


def same_arguments(spec: ToolSpec, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two arguments objects mean the same call: equal, but for arguments that have their default."""
    return _without_defaults(spec, one) == _without_defaults(spec, other)


def _without_defaults(spec: ToolSpec, arguments: Mapping[str, Any]) -> dict[str, Any]:
    fields, required = spec.json_schema.get("properties", {}), spec.json_schema.get("required", [])

    def is_default(name: str, value: Any) -> bool:
        field = fields.get(name)
        return name not in required and isinstance(field, Mapping) and value == field.get("default")

    return {name: value for name, value in arguments.items() if not is_default(name, value)}


def _example(demonstration: Demonstration, call: DemonstratedCall, reinjection: Reinjection) -> CallExample | None:
    if not isinstance(call.args, dict):
        return None
    try:
        asked = asked_of(demonstration, call, reinjection)
        return CallExample(tool=call.tool, request=asked.request, so_far=asked.so_far, arguments=call.args)
    except ValueError:  # a history without a layout, or a text that can't be saved
        return None


def _differs(one: CallExample, other: CallExample) -> bool:
    """Return whether two calls are of different requests; of one request, each would give the other away."""
    if one.request or other.request:
        return one.request != other.request
    return one.so_far != other.so_far
