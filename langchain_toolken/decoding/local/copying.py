"""Prefer tokens that continue a span of the request while arguments are decoded.

Most values stand in the request word for word, and a small LM garbles them: it writes "Lisbon" for Lissabon, or drops a
digit. Where a parameter's values are known to be copied (`CopySource.nats`), the logits of tokens that continue such a
span get a bonus. It is a preference and not a constraint: the LM can still write anything that the grammar allows.

Where a parameter has a slot (`toolkens.slots`), spans that look less like its values than the best one does get less.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate

from langchain_toolken.decoding.copy_source import WITHOUT_SLOT, CopySource
from langchain_toolken.decoding.local.durations import durations, in_unit
from langchain_toolken.decoding.local.json_cursor import JsonCursor, Value
from langchain_toolken.decoding.local.number_words import number_words
from langchain_toolken.decoding.local.tokens_by_text import TokensByText
from langchain_toolken.decoding.named_choices import named_choices
from langchain_toolken.toolkens.slots import SlotScores, SlotValue, TimeUnit

# "13,289" is one number, "1,2,3" are three. The minus of "5-3" is none.
_NUMBER = re.compile(r"(?<![\w.])-?\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d])|(?<![\w.])-?\d+(?:\.\d+)?|\d+(?:\.\d+)?")
_WORD_AFTER = re.compile(r"\s*(?:\w+|[^\w\s]+)")
_AFTER_NUMBER = (",", "}", "]")
_OTHER_VALUES = ("n", "t", "f", "[", "{")
# What a nat of the slot's score costs of the bonus. Held back by their ridge, slots of few values are less sure than
# they could be. SmolLM2, all arguments right of 102 dev requests, 3 demonstrations a tool: 69 at 1, 73 at 3.
_SLOT_SHARE = 3.0
# The same for a choice: what the LM itself thinks of choices is mostly a habit.
_CHOICE_SHARE = 4.0
_SURE_OF_MORE = 1.0  # nats of the likeliest word, below which a list's slot does not tell whether it goes on
_LATER = 2.0  # nats that an item of a list loses to one that comes before it in the request and is not used yet
_NO_WORD = -1e9  # the score of a span that is none in the slot's words


@dataclass(frozen=True)
class Span:
    """Characters `start` to `end` of a source, and the text that JSON has for them."""

    start: int
    end: int
    text: str


def numbers_in(text: str, unit: TimeUnit | None = None) -> list[Span]:
    """Find the numbers of a text, as JSON writes them: without thousands separators, and those in words in digits.

    Lengths of time are numbers too where their unit is known: "an hour" is 60 in minutes, and "2 hours" is not 2.
    """
    found = []
    for match in _NUMBER.finditer(text):
        plain = match.group().replace(",", "")
        sign, digits = ("-", plain[1:]) if plain.startswith("-") else ("", plain)
        whole, point, rest = digits.partition(".")
        found.append(Span(match.start(), match.end(), f"{sign}{whole.lstrip('0') or '0'}{point}{rest}"))
    found += [Span(start, end, str(number)) for start, end, number in number_words(text)]
    lengths = () if unit is None else [(start, end, in_unit(seconds, unit)) for start, end, seconds in durations(text)]
    for start, end, number in lengths:
        length = str(number)
        inside = [span for span in found if start <= span.start and span.end <= end]
        if [span.text for span in inside] != [length]:
            found = [span for span in found if span not in inside] + [Span(start, end, length)]
    return found


@dataclass(frozen=True)
class SlotReading:
    """What slots say of a source.

    Attributes:
        words: Where the source's words start and stop.
        scores: For each parameter that has a slot, the scores of these words.
        choices: For parameters of fixed choices, how likely the words mean each of them, in nats.
    """

    words: Sequence[tuple[int, int]]
    scores: Mapping[str, SlotScores]
    choices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def decided(self) -> dict[str, bool]:
        """Whether the call has a parameter, for the optional ones whose slot can tell."""
        return {
            name: has
            for name, slot in self.scores.items()
            if (has := slot.has_value(self._values[name].score)) is not None
        }

    @property
    def owners(self) -> dict[int, str]:
        """Whose value a word is part of."""
        return {word: name for name, value in self._values.items() if value.score > 0 for word in value.words}

    def span_score(self, parameter: str, start: int, end: int) -> float:
        """Return how likely a slot finds it that the words at characters `start` to `end` are its value."""
        inside = [word for word, (begin, stop) in enumerate(self.words) if stop > start and begin < end]
        # Spans longer than any value have no score.
        scores = self.scores[parameter].spans_from(inside[0])[inside[-1] - inside[0] :] if inside else []
        return scores[0] if scores else _NO_WORD

    @cached_property
    def _values(self) -> dict[str, SlotValue]:
        """The likeliest span of each parameter; those of which one is surer take their words first."""
        found: dict[str, SlotValue] = {}
        for name in sorted(self.scores, key=lambda name: -self.scores[name].best().score):
            taken = {word for value in found.values() if value.score > 0 for word in value.words}
            found[name] = self.scores[name].best(taken)
        return found


def value_spans(value: object, text: str, unit: TimeUnit | None = None) -> list[tuple[int, int]]:
    """Return where a string or number, or each of a list of them, stands in `text`; nothing for those that don't.

    One that stands there more than once is taken where it stands first. `unit`: see `numbers_in`.
    """
    if isinstance(value, list):
        return [span for item in value for span in value_spans(item, text, unit)]
    if isinstance(value, bool):
        return []
    if isinstance(value, int | float):
        return [(span.start, span.end) for span in numbers_in(text, unit) if float(span.text) == value][:1]
    if not isinstance(value, str) or not value:
        return []
    return list(_occurrences(text, value, whole=True))[:1]


def is_copied(value: object, text: str) -> bool:
    """Return whether a string or number, or all of a list of them, stands in `text` word for word, case aside."""
    if isinstance(value, bool):
        return False
    if isinstance(value, list):
        return bool(value) and all(is_copied(item, text) for item in value)
    if isinstance(value, int | float):
        return any(float(span.text) == value for span in numbers_in(text))
    return isinstance(value, str) and bool(value) and next(_occurrences(text, value, whole=True), None) is not None


class Copier:
    """Names the tokens to prefer while one call's arguments are written.

    Args:
        source: Where values may come from, and how much copying is preferred.
        tokens: The vocabulary.
        reading: How the slots of the source's parameters score its words; None without slots.
    """

    def __init__(self, source: CopySource, tokens: TokensByText, reading: SlotReading | None = None) -> None:
        self._slots = reading.scores if reading else {}
        self._choices = {**_ranked(source, reading), **_meant(reading, source.nats)}
        self._owners = reading.owners if reading else {}
        unread = source.slots.keys() - self._slots.keys()
        self._nats = {name: min(nats, WITHOUT_SLOT) if name in unread else nats for name, nats in source.nats.items()}
        self._tokens = tokens
        self._cursor = JsonCursor()
        self._read = 0
        units = {name: slot.unit for name, slot in source.slots.items()}
        self._numbers = {name: numbers_in(source.text, units.get(name)) for name in source.nats}
        self._every_number = numbers_in(source.text)
        # Compared as JSON writes it, since that is what is being written.
        written = [json.dumps(character, ensure_ascii=False)[1:-1] for character in source.text]
        self._text = "".join(written)
        at = [0, *accumulate(map(len, written))]
        words = reading.words if reading else ()
        self._words = [(at[start], at[stop]) for start, stop in words]
        self._word_at = {start: word for word, (start, _) in enumerate(self._words)}
        self._words_of_number = {
            span: (first, last)
            for span in {span for spans in self._numbers.values() for span in spans}
            for first, (start, stop) in enumerate(words)
            if start <= span.start < stop
            for last, (begin, end) in enumerate(words)
            if begin < span.end <= end
        }
        self._used_numbers: list[Span] = []
        self._used_text: list[Span] = []
        self._finished = 0

    def favoured(self, written: str) -> dict[int, float]:
        """Return the tokens that get a bonus after the JSON `written` so far, and how many nats each gets."""
        self._cursor.feed(written[self._read :])
        self._read = len(written)
        for complete in self._cursor.finished[self._finished :]:
            self._use_up(complete)
        self._finished = len(self._cursor.finished)
        value = self._cursor.value
        nats = 0.0 if value is None else self._nats.get(value.parameter, 0.0)
        if value is None:
            return {}
        if value.parameter in self._choices:
            return self._chosen(value, self._choices[value.parameter])
        if not nats:
            return {}
        slot = self._slots.get(value.parameter)
        found: list[_Option] = []
        if value.kind == "listed":
            more = None if slot is None else self._more_after(slot, value)
            if more is None:
                return {}
            found.append(_Option(self._tokens.beginning_with("," if more else "]"), 0.0))
        if value.kind in ("start", "number"):
            found += self._number_options(value, slot)
        if value.kind in ("start", "string"):
            found += self._text_options(value, slot)
        best = max((option.score for option in found), default=0.0)
        bonus: dict[int, float] = {}
        for option in found:
            worth = nats - _SLOT_SHARE * (best - option.score)
            for token in option.tokens if worth > 0 else ():
                bonus[token] = max(worth, bonus.get(token, 0.0))
        if value.kind == "start":
            # Whether a value is null, say, is not decided by copying.
            for character in _OTHER_VALUES:
                bonus |= dict.fromkeys(self._tokens.beginning_with(character), nats)
        return bonus

    def _chosen(self, value: Value, choices: Mapping[str, float]) -> dict[int, float]:
        """Return the tokens that continue a choice, and the nats of the choice; of several with one token the most."""
        bonus: dict[int, float] = {}
        for choice, nats in choices.items():
            rest = choice if value.kind == "start" else choice[1:].removeprefix(value.written)
            begun = value.kind == "start" or (value.kind == "string" and choice[1:].startswith(value.written))
            for token in self._tokens.beginning(rest) if begun and rest else ():
                bonus[token] = max(nats, bonus.get(token, nats))
        return bonus

    def _number_options(self, value: Value, slot: SlotScores | None) -> Iterator[_Option]:
        written = value.written
        later = 0.0
        for span in self._numbers[value.parameter]:
            if span in self._used_numbers or not span.text.startswith(written):
                continue
            words = self._words_of_number.get(span)
            score = 0.0
            if slot and words:
                scores = slot.items_from(words[0]) if value.in_list else slot.spans_from(words[0])
                score = scores[words[1] - words[0]]
                if value.in_list and not written:
                    score, later = score - later, _LATER if score == 0 else later
            yield _Option(self._tokens.beginning(span.text[len(written) :]), score)
            if span.text == written:
                following: Sequence[str] = _AFTER_NUMBER
                if value.in_list and slot:
                    more = self._more_numbers(slot, value.parameter, span)
                    following = _AFTER_NUMBER if more is None else "," if more else "]"
                for character in following:
                    yield _Option(self._tokens.beginning_with(character), score)

    def _text_options(self, value: Value, slot: SlotScores | None) -> Iterator[_Option]:
        opening = '"' if value.kind == "start" else ""
        later = 0.0
        for start, end in _occurrences(self._text, value.written, whole=False):
            if any(used.start <= start < used.end for used in self._used_text):
                continue
            going_on, ending = self._span_scores(start, end, slot, value)
            if value.in_list and slot is not None and not value.written:
                is_item = going_on == 0
                going_on -= later
                later = _LATER if is_item else later
            following = _WORD_AFTER.match(self._text, end)
            if following:
                word = following[0]
                # A value begins as it stands there or with a capital: an LM hardly writes "sydney".
                for text in (word,) if value.written else dict.fromkeys((word, word[:1].upper() + word[1:])):
                    yield _Option(self._tokens.beginning(opening + text), going_on)
            if value.written and _ends_word(self._text, end):
                # Where a word of the span ends, the value may end too: without this the bonus would make values longer.
                tokens = self._tokens.beginning_with('"')
                more = self._more(slot, Span(start, end, value.written)) if value.in_list and slot is not None else None
                if more is not None:
                    wrong = '"]' if more else '",'
                    tokens = [token for token in tokens if not self._tokens.text(token).startswith(wrong)]
                yield _Option(tokens, ending)

    def _more_after(self, slot: SlotScores, value: Value) -> bool | None:
        """Whether a list goes on after an item that is complete; None where the slot can't tell."""
        last = self._cursor.finished[-1] if self._cursor.finished else None
        if last is not None and last.kind == "number":
            return self._more_numbers(slot, value.parameter, None)
        return self._more(slot, None)

    def _more_numbers(self, slot: SlotScores, parameter: str, current: Span | None) -> bool | None:
        """Whether numbers that look like values of a list are not used yet; see `_more`."""
        left = (
            slot.inside[self._words_of_number[span][0]]
            for span in self._numbers.get(parameter, ())
            if span is not current and span not in self._used_numbers and span in self._words_of_number
        )
        return _goes_on(max(left, default=-_SURE_OF_MORE))

    def _more(self, slot: SlotScores, current: Span | None) -> bool | None:
        """Whether words that look like values of a list are not used yet, by those before or by the current one.

        Returns:
            None where the slot can't tell.
        """
        used = self._used_text if current is None else [*self._used_text, current]
        left = (
            score
            for (start, stop), score in zip(self._words, slot.inside, strict=True)
            if not any(one.start < stop and start < one.end for one in used)
        )
        return _goes_on(max(left, default=-_SURE_OF_MORE))

    def _span_scores(self, start: int, end: int, slot: SlotScores | None, value: Value) -> tuple[float, float]:
        """Return how likely the slot finds it that a value from `start` goes on after `end`, and that it ends there.

        A span that reaches into another parameter's value is no value of this one.
        """
        word = self._word_at.get(start)
        if slot is None:
            return 0.0, 0.0
        if word is None:
            return _NO_WORD, _NO_WORD
        going_on = ending = _NO_WORD
        scores = slot.items_from(word) if value.in_list else slot.spans_from(word)
        for last, score in enumerate(scores, start=word):
            if self._owners.get(last, value.parameter) != value.parameter:
                break
            stop = self._words[last][1]
            if stop > end:
                going_on = max(going_on, score)
            elif stop == end:
                ending = score
        return going_on, ending

    def _use_up(self, value: Value) -> None:
        """Take the span that a value was copied from out of those that later values may come from."""
        if value.kind == "number":
            # A parameter that nothing is copied for takes its number away from the others too.
            numbers = self._numbers.get(value.parameter, self._every_number)
            spans = [span for span in numbers if span.text == value.written and span not in self._used_numbers]
            self._used_numbers += spans[:1]
        elif value.written:
            for start, end in _occurrences(self._text, value.written, whole=True):
                span = Span(start, end, value.written)
                if span not in self._used_text:
                    self._used_text.append(span)
                    break


def _goes_on(likeliest: float) -> bool | None:
    """Whether a list goes on, by the nats of its likeliest item that is left; None where that can't be told."""
    return None if 0 < likeliest < _SURE_OF_MORE else likeliest > 0


def _ranked(source: CopySource, reading: SlotReading | None) -> dict[str, Mapping[str, float]]:
    """Return the source's choices; of those that it names for a parameter with a slot, less for the less likely."""
    found = dict(source.choices)
    if reading is None:
        return found
    for name in found.keys() & reading.scores.keys():
        values = {str(json.loads(choice)): choice for choice in found[name]}
        scores = {
            values[value]: max(reading.span_score(name, start, end) for start, end in spans)
            for value, spans in named_choices(values, source.text).items()
        }
        best = max(scores.values(), default=0.0)
        found[name] = {each: nats - _SLOT_SHARE * (best - scores.get(each, best)) for each, nats in found[name].items()}
    return found


def _meant(reading: SlotReading | None, nats: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Return what is added for the choices that words of the request mean: all for the likeliest, less for others."""
    found = {}
    for name, choices in (reading.choices if reading else {}).items():
        best = max(choices.values(), default=0.0)
        worth = {each: nats.get(name, 0.0) - _CHOICE_SHARE * (best - score) for each, score in choices.items()}
        found[name] = {json.dumps(each, ensure_ascii=False): more for each, more in worth.items() if more > 0}
    return found


@dataclass(frozen=True)
class _Option:
    """A way to go on with a span.

    Attributes:
        tokens: The tokens that do so.
        score: The best score that a slot gives to a span which begins so; 0 without a slot.
    """

    tokens: list[int]
    score: float


def _occurrences(text: str, part: str, *, whole: bool) -> Iterator[tuple[int, int]]:
    """Yield (start, end) of `part` in `text`, case aside, where a word begins; `whole`: and where one ends."""
    pattern = r"(?<!\w)" + re.escape(part) if not part or part[0].isalnum() else re.escape(part)
    for match in re.finditer(pattern + ("" if part else r"(?=\S)"), text, re.IGNORECASE):
        if not whole or _ends_word(text, match.end()):
            yield match.span()


def _ends_word(text: str, end: int) -> bool:
    return end == len(text) or not (text[end].isalnum() and text[end - 1 : end].isalnum())
