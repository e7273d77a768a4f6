"""Choose how arguments are completed: the form of the tools' cards, by exactly right arguments on held-out calls.

A call of a demonstration is held out by leaving it, and every other call of the same request, off its own card. The
right tool is given, so what is measured is the arguments alone. Work is bounded: all forms are tried on a few calls,
and at most two that are close to each other on the rest of at most `CALLS_TRIED`, or fewer if the LM would read more
than about `MOST_READ` tokens. Forms whose cards are long are left out. A form that gets all of the first
calls right ends the comparison with those after it, which have longer cards: an LM that was trained on plain cards, as
nano was, costs little. The best form is tried again with copying preferred, where a parameter's values are mostly
copied from the request (`decoding.local.copying`): without slots, and with slots that were fitted to the other calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from langchain_toolken.decoding.copy_source import CopySource, copy_source
from langchain_toolken.decoding.engine import Engine
from langchain_toolken.decoding.local.engine import local_engine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.call_cards import PLAIN, CardForm, written_arguments
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.format import Reinjection, Style
from langchain_toolken.toolkens.examples import ArgumentSettings, Examples, FormTried, ToolAccuracy, card_of
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.choice_habits import choice_nats
from langchain_toolken.training.choices import choices_of, with_choices
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.features.layout import render_answer, render_demonstration
from langchain_toolken.training.held_out_calls import (
    ArgumentCalls,
    HeldOutCall,
    argument_calls,
    of_different_requests,
    same_arguments,
)
from langchain_toolken.training.options import FitOptions
from langchain_toolken.training.slots import SlotExample, common_of, fit_slots, slot_examples

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
"""What copying is preferred by without slots: enough for a word that the LM half believes, not for any word."""

SLOT_NATS = 10.0
"""What it is preferred by with slots, which take it back from spans that don't look like the value.

SmolLM2 (bf16), everyday, right tool given, 4 examples: 29 of 36 dev requests at 10, 28 at 6; 28 of 36 held-out
demonstrations at 10.
"""

FEWER_WITH_SLOTS = 0.1
"""By what share of the held-out calls slots may be worse than plain copying and still be taken.

For a held-out call they are fitted to the other calls alone, and the set's slots to all. SmolLM2, a doctor's front
desk, 3 demonstrations a tool: of 36 held-out calls 24 are right with slots and 27 with plain copying; of 36 other
requests, with the set's slots, 30 and 25.
"""

BATCH = 12
"""Calls that all forms are tried on, and that run together."""

MOST_READ = 64_000
"""Tokens of cards that the LM reads to choose, unless it needs more for the first `BATCH` calls.

300 texts of GSM8K-XL would be 226,000: minutes on a CPU, for an LM of 135M in bf16.
"""

_LONGEST_CARD = 768  # tokens on average; each call would read them. Cards of steps of long answers reach 1,500
_FEW = 8  # calls that are too few to tell forms apart which are right in none
_CLOSE = 3  # right calls of the first batch by which the best form may lead one that is tried on
_LONGEST_PROMPT = 1024  # tokens; longer conversations would take most of the time


@dataclass(frozen=True)
class Way:
    """A way to complete calls.

    Attributes:
        form: The form of the cards.
        copy_nats: How much copying is preferred.
        slots: Whether slots say which spans to copy.
    """

    form: CardForm
    copy_nats: float = 0.0
    slots: bool = False


def with_examples(
    lm: LanguageModel, toolkens: ToolkenSet, demonstrations: Sequence[Demonstration], options: FitOptions
) -> ToolkenSet:
    """Give the set the demonstrated calls, after those that it has, and the form of its tools' cards.

    A set that has a form keeps it, unless the options name another; how it does is measured for the tools that the
    demonstrations call.
    """
    style = toolkens.provenance.style
    reinjection = options.reinjection or ("turn" if style == "chat" else "inline")
    calls = argument_calls(demonstrations, toolkens.specs, reinjection, keep=options.keep_demonstrations)
    forms = [form for form in FORMS if options.keep_demonstrations or not form.examples]
    old, settled = toolkens.examples, None
    if old.settings is not None:
        form = old.form if options.card == "auto" else options.card
        settled = Way(form, old.settings.copy_nats, old.slots is not None)
    with_choices_of = [spec.name for spec in toolkens.specs if choices_of(spec)]
    read = slot_examples(lm, calls.examples, calls.copied, options.progress, also=with_choices_of)
    # Kept beginnings, so that what comes before the cards is read once for all forms.
    engine = local_engine(lm, cached_prefixes=BATCH, max_batch_size=BATCH)
    learnt = choose_arguments(
        engine,
        calls,
        forms if options.card == "auto" else [options.card],
        style,
        reinjection,
        slot_examples=read,
        settled=settled,
        progress=options.progress,
    )
    learnt = with_choices(lm, learnt, read, toolkens.specs, calls.copied, options.progress)
    if learnt.settings is not None:
        choosing = _Trial(engine, replace(calls, held_out=calls.choosing), style, reinjection, (), None)
        told = {name: learnt.told_by_words(name) for name in toolkens.names}
        choices = choice_nats(lm, choosing.prompts(learnt.form), told, options.progress)
        learnt = replace(learnt, settings=learnt.settings.model_copy(update={"choices": choices}))
    return replace(toolkens, examples=old.extended(learnt))


def choose_arguments(
    engine: Engine,
    calls: ArgumentCalls,
    forms: Sequence[CardForm],
    style: Style,
    reinjection: Reinjection,
    *,
    slot_examples: Sequence[SlotExample] = (),
    settled: Way | None = None,
    progress: Progress | None = None,
) -> Examples:
    """Choose the form of the cards, and whether copying is preferred.

    Where a few calls or none can be compared, `DEFAULT_FORM` takes the place of a first form that is mostly wrong, and
    copying is preferred untried (docs/measurements.md, "With one demonstration a tool").

    Args:
        engine: The engine that completes the calls.
        calls: What to choose by.
        forms: The forms to choose among, the shortest card first.
        style: How the demonstrations are laid out.
        reinjection: Where results are in chat histories.
        slot_examples: The calls that slots are fitted to; without any, copying is tried without slots alone.
        settled: The way that was chosen before, whose figures are measured; None to choose one.
        progress: Called with (done, total, what).

    Returns:
        The calls that a set keeps, with what was chosen for them.
    """
    plain = [Way(form) for form in dict.fromkeys(forms)] if settled is None else [settled]
    trial = _Trial(engine, calls, style, reinjection, slot_examples, progress)
    left = trial.with_short_cards(plain) if calls.comparable else plain[:1]
    for start in range(0, len(trial.held_out), BATCH):
        if not trial.has_time_for(left, start):
            break
        left = trial.run(start, left, "complete held-out calls")
        left = sorted(left, key=lambda way: (-trial.right(way), plain.index(way)))
        left = [way for way in left[:2] if trial.right(left[0]) - trial.right(way) <= _CLOSE]
    trial.tell(len(trial.held_out), "complete held-out calls")
    best, asked = left[0], trial.asked(left[0])
    right = trial.right(best)
    unknown = 2 * right < asked if not calls.comparable else right == 0 and asked < _FEW
    if len(plain) > 1 and (unknown or not asked):
        settings = ArgumentSettings(form=DEFAULT_FORM, tried=trial.tried)
        if not calls.copied:
            return Examples(calls.examples, settings)
        # An LM that has seen one call of a tool writes its values again: the request's own are preferred to these.
        slots = fit_slots(slot_examples, calls.copied) if slot_examples else None
        copied = {"copied": calls.copied, "copy_nats": COPY_NATS if slots is None else SLOT_NATS}
        return Examples(calls.examples, settings.model_copy(update=copied), slots)
    if settled is None and calls.copied and right < asked:
        copying = replace(best, copy_nats=COPY_NATS)
        slotted = replace(best, copy_nats=SLOT_NATS, slots=True)
        left = [copying, slotted] if slot_examples else [copying]
        for start in range(0, asked, BATCH):
            left = trial.run(start, left, "complete held-out calls with copying preferred")
            left = [way for way in left if trial.right(way) >= max(map(trial.right, left)) - _CLOSE]
        trial.tell(len(trial.held_out), "complete held-out calls with copying preferred")
        if slotted in left and trial.right(slotted) >= trial.right(left[0]) - FEWER_WITH_SLOTS * asked:
            left = [slotted]
        best = max([best, *left], key=trial.right)  # of equals the first
    slots = fit_slots(slot_examples, calls.copied) if best.slots else None
    return Examples(calls.examples, trial.settings(best), slots)


class _Trial:
    """Completes held-out calls, and counts which were right."""

    def __init__(
        self,
        engine: Engine,
        calls: ArgumentCalls,
        style: Style,
        reinjection: Reinjection,
        slot_examples: Sequence[SlotExample],
        progress: Progress | None,
    ) -> None:
        self._engine = engine
        self._calls = calls
        self._style = style
        self._reinjection = reinjection
        self._slot_examples = slot_examples
        self._common = common_of(slot_examples, calls.copied)
        self._progress = progress
        laid_out = [(one, self._before(one)) for one in calls.held_out]
        longest = min(_LONGEST_PROMPT, engine.context_length // 2)
        self.held_out = [(one, ids) for one, ids in laid_out if ids and len(ids) <= longest]
        self._outcomes: dict[Way, list[_Outcome]] = {}

    def run(self, start: int, ways: Sequence[Way], what: str) -> list[Way]:
        """Complete the calls from `start` on in each way. What comes before the cards is read once.

        Returns:
            The ways that were tried: those up to the first that has been right in all calls.
        """
        batch = self.held_out[start : start + BATCH]
        tried = []
        if not start:
            self.tell(0, what)
        for way in ways:
            tried.append(way)
            outcomes = self._outcomes.setdefault(way, [])
            cards = [self._card(one, way.form, len(before)) for one, before in batch]
            prompts = [[*before, *card] for (_, before), card in zip(batch, cards, strict=True)]
            longest = max(self._length(one) for one, _ in batch)
            copying = [self._source(one, way) for one, _ in batch]
            specs = [one.spec for one, _ in batch]
            completions = self._engine.complete(prompts, specs, max_tokens=longest, copying=copying)
            for (one, _), card, completion in zip(batch, cards, completions, strict=True):
                right = completion.arguments is not None and same_arguments(
                    one.spec, completion.arguments, one.example.arguments
                )
                outcomes.append(_Outcome(one.spec.name, right, len(card)))
            self.tell(start + len(batch), what)
            if all(outcome.right for outcome in outcomes):
                break
        return tried

    def prompts(self, form: CardForm) -> list[tuple[HeldOutCall, list[int]]]:
        """Return the calls with their prompts up to the arguments."""
        return [(one, [*before, *self._card(one, form, len(before))]) for one, before in self.held_out]

    def with_short_cards(self, ways: Sequence[Way]) -> list[Way]:
        """Return the ways but for those whose cards are long, at least the first."""
        some = self.held_out[:BATCH]

        def length(way: Way) -> float:
            return sum(len(self._card(one, way.form, len(before))) for one, before in some) / max(1, len(some))

        return [*ways[:1], *(way for way in ways[1:] if length(way) <= _LONGEST_CARD)]

    def has_time_for(self, ways: Sequence[Way], start: int) -> bool:
        """Tell whether the next calls can be tried in these ways, and all calls so far in two that prefer copying."""
        if not start:
            return True
        longest = max(one.tokens for one in self.tried if one.form in [way.form for way in ways])
        read = sum(one.tokens * one.asked for one in self.tried)
        return read + (len(ways) * BATCH + 2 * (start + BATCH)) * longest <= MOST_READ

    def asked(self, way: Way) -> int:
        """Return how many calls were tried."""
        return len(self._outcomes.get(way, ()))

    def right(self, way: Way) -> int:
        """Return how many calls were right."""
        return sum(outcome.right for outcome in self._outcomes.get(way, ()))

    def settings(self, chosen: Way) -> ArgumentSettings:
        """Return what was chosen, with all figures."""
        of_tool: dict[str, list[bool]] = {}
        for outcome in self._outcomes.get(chosen, ()):
            of_tool.setdefault(outcome.tool, []).append(outcome.right)
        return ArgumentSettings(
            form=chosen.form,
            copied=self._calls.copied if chosen.copy_nats else {},
            copy_nats=chosen.copy_nats,
            tried=self.tried,
            tools={name: ToolAccuracy(right=sum(rights), asked=len(rights)) for name, rights in of_tool.items()},
        )

    @property
    def tried(self) -> tuple[FormTried, ...]:
        """What was tried, in this order, and how it did."""
        return tuple(
            FormTried(
                form=way.form,
                copy_nats=way.copy_nats,
                slots=way.slots,
                right=self.right(way),
                asked=len(outcomes),
                tokens=sum(outcome.tokens for outcome in outcomes) / len(outcomes),
            )
            for way, outcomes in self._outcomes.items()
        )

    def tell(self, done: int, what: str) -> None:
        """Tell how many of the calls are done with, tried or not."""
        if self._progress is not None:
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
        others = [other for other in self._calls.examples if of_different_requests(one.example, other)]
        examples = Examples(tuple(others), ArgumentSettings(form=form))
        room = self._engine.context_length - used - self._length(one)
        return card_of(self._engine.tokenizer, one.spec, examples, one.example.asked, room=room)

    def _source(self, one: HeldOutCall, way: Way) -> CopySource | None:
        """Return what a call is copied from, with slots that were fitted without any call of its request."""
        slots = None
        if way.slots:
            own = [
                other
                for other in self._slot_examples
                if other.call.tool == one.spec.name and of_different_requests(one.example, other.call)
            ]
            slots = fit_slots(own, self._calls.copied, self._common)
        settings = ArgumentSettings(copied=self._calls.copied, copy_nats=way.copy_nats)
        return copy_source(one.spec, Examples((), settings, slots), one.example.asked)

    def _length(self, one: HeldOutCall) -> int:
        """Return how many tokens the arguments may have: some more than the right ones, since more can't be right."""
        return len(encode_content(self._engine.tokenizer, written_arguments(one.example.arguments))) + 8


@dataclass(frozen=True)
class _Outcome:
    tool: str
    right: bool
    tokens: int
