"""Learn which words of a request stand for a parameter's fixed choices: "in Swiss francs" for CHF.

No demonstration says which words of its request mean the choice. They are found in turns: the LM's own view of what
words mean (`toolkens.lexicon`), which words come with a choice and not without it, which are rare elsewhere, and, from
the second turn on, where a slot that was fitted to the words found before would look. A lexicon is kept if it finds
half of the demonstrated choices, each without its own pair, and more than the commonest choice would.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from torch import Tensor

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.toolkens.choice_scores import choice_scores, choice_spans
from langchain_toolken.toolkens.examples import Examples
from langchain_toolken.toolkens.lexical import words_of
from langchain_toolken.toolkens.lexicon import Lexicon
from langchain_toolken.toolkens.slots import Slot, Slots
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.tools.value_kinds import fixed_choices
from langchain_toolken.training.negatives import plain_requests
from langchain_toolken.training.slot_rows import SpannedText, fit_rows
from langchain_toolken.training.slots import Common, SlotExample, common_of, raw_slot, value_words, with_constant

_TURNS = 3
_MOST = 12  # calls of a tool that are looked at
_LIKELY = 4  # spans of a request, for each parameter, that are combined
_FEWEST = 3  # calls, with fewer of which nothing is learnt
# Weights of what speaks for a span, in nats. They were set on currencies, units and languages (9 everyday tools).
_TOGETHER, _RARE, _SLOT, _SHORTER = 0.7, 0.7, 0.5, 0.3

_ELSEWHERE = 1  # texts of other tools, and of none, that may have a word which means a choice

_Span = tuple[int, int]


def choices_of(spec: ToolSpec) -> dict[str, tuple[str, ...]]:
    """Return the parameters of a tool that take one of two or more fixed texts, and perhaps null, with these texts."""
    every = {name: [json.loads(choice) for choice in choices] for name, choices in fixed_choices(spec).items()}
    found = {name: tuple(one for one in choices if one is not None) for name, choices in every.items()}
    return {
        name: choices
        for name, choices in found.items()
        if len(choices) > 1 and all(isinstance(one, str) and one for one in choices)
    }


def with_choices(
    lm: LanguageModel,
    learnt: Examples,
    examples: Sequence[SlotExample],
    specs: Sequence[ToolSpec],
    copied: Mapping[str, Sequence[str]],
    progress: Progress | None = None,
) -> Examples:
    """Add slots of parameters with fixed choices to those of copied ones.

    Args:
        lm: The LM.
        learnt: What was learnt of the tools' arguments; without slots nothing is added.
        examples: The calls that slots are fitted to.
        specs: The tools.
        copied: For each tool, its parameters that are mostly copied.
        progress: Called after each tool.
    """
    common = common_of(examples, copied)
    if learnt.slots is None or common is None:
        return learnt
    of_tool = {tool: dict(slots) for tool, slots in learnt.slots.of_tool.items()}
    documents = [one.text.text for one in examples] + plain_requests("default")
    words = Counter(word for document in documents for word in set(words_of(document)))
    rarity = {word: math.log((len(documents) + 1) / (count + 1)) for word, count in words.items()}
    for done, spec in enumerate(specs):
        wanted = {p: c for p, c in choices_of(spec).items() if p not in copied.get(spec.name, ())}
        own = [one for one in examples if one.call.tool == spec.name and len(one.features)][:_MOST]
        for choices in dict.fromkeys(wanted.values()):
            parameters = [p for p in wanted if wanted[p] == choices]
            if len(own) >= _FEWEST:
                task = _Task(lm, common, own, parameters, choices, copied.get(spec.name, ()), rarity, words)
                found = {p: slot for p, slot in task.slots().items() if task.is_better(p, slot)}
                of_tool.setdefault(spec.name, {}).update(found)
        if progress is not None:
            progress(done + 1, len(specs), "learn what words mean which choice")
    return replace(learnt, slots=Slots({tool: slots for tool, slots in of_tool.items() if slots}))


@dataclass(frozen=True, eq=False)
class _Task:
    """The parameters of one tool that share their choices."""

    lm: LanguageModel
    common: Common
    examples: Sequence[SlotExample]
    parameters: Sequence[str]
    choices: tuple[str, ...]
    copied: Sequence[str]
    rarity: Mapping[str, float]
    seen: Mapping[str, int]

    def slots(self) -> dict[str, Slot]:
        """Find the words in turns, and fit the slots of those found last."""
        lexicon, slots = Lexicon(self.choices), dict[str, Slot]()
        spans = [choice_spans(one.text, self._taken(one)) for one in self.examples]
        words = [[one.text.words_between(*span) for span in own] for one, own in zip(self.examples, spans, strict=True)]
        every = [each for own in words for each in own]
        for _ in range(_TURNS if every else 0):
            meant = lexicon.meant(self.lm, every)
            usual = (meant.exp().mean(dim=0) + 1e-9).log()
            meant = (meant - usual).log_softmax(dim=-1)
            of_example = meant.split([len(own) for own in words])
            found = [
                self._aligned(one, own, scores, slots)
                for one, own, scores in zip(self.examples, spans, of_example, strict=True)
            ]
            pairs = [
                (one.text.words_between(*span).lower(), str(one.call.arguments[parameter]))
                for one, aligned in zip(self.examples, found, strict=True)
                for parameter, span in aligned.items()
            ]
            lexicon = Lexicon(self.choices, tuple(dict.fromkeys(pairs)))
            slots = {p: slot for p in self.parameters if (slot := self._fitted(p, found)) is not None}
        if not slots:
            return {}
        lexicon = replace(lexicon, pairs=(*lexicon.pairs, *self._neighbours(lexicon, found)))
        usual = (lexicon.meant(self.lm, every).exp().mean(dim=0) + 1e-9).log()
        lexicon = replace(lexicon, usual=tuple(usual.tolist()))
        return {p: replace(slot, lexicon=lexicon) for p, slot in slots.items()}

    def _neighbours(self, lexicon: Lexicon, found: Sequence[Mapping[str, _Span]]) -> list[tuple[str, str]]:
        """Find words after those of a choice that never come without it: "francs" where "Swiss" is CHF."""
        known, wanted = {words for words, _ in lexicon.pairs}, dict[str, str]()
        for one, aligned in zip(self.examples, found, strict=True):
            taken = self._taken(one)
            for parameter, (_, last) in aligned.items():
                after = [last + 1] if last + 1 < len(one.text.words) and last + 1 not in taken else []
                words = [word for place in after for word in words_of(one.text.words_between(place, place))]
                if len(words) == 1 and words[0].isalpha() and words[0] not in known:
                    wanted.setdefault(words[0], str(one.call.arguments[parameter]))
        texts = [
            (words_of(one.text.text), [one.call.arguments.get(each) for each in self.parameters])
            for one in self.examples
        ]
        return [
            (word, choice)
            for word, choice in wanted.items()
            if all(choice in values for words, values in texts if word in words)
            if self.seen.get(word, 0) - sum(word in words for words, _ in texts) <= _ELSEWHERE
        ]

    def is_better(self, parameter: str, slot: Slot) -> bool:
        """Whether it finds half of the choices, each without its own words, and more than are the commonest choice."""
        assert slot.lexicon is not None
        values = [one.call.arguments.get(parameter) for one in self.examples]
        known = [value for value in values if value in self.choices]
        right = 0
        for one, value in zip(self.examples, values, strict=True):
            if value in self.choices:
                text = one.text.text.lower()
                kept = tuple(pair for pair in slot.lexicon.pairs if pair[0] not in text or pair[1] != value)
                lexicon = replace(slot.lexicon, pairs=kept)
                words, taken = slot.scores(one.features), self._taken(one)
                scores = choice_scores(self._meant, lexicon, one.text, words, taken)
                right += bool(scores) and max(scores, key=lambda each: scores[each]) == value
        return 2 * right >= len(known) and right > max(Counter(known).values(), default=0)

    def _meant(self, lexicon: Lexicon, words: Sequence[str]) -> Tensor:
        return lexicon.meant(self.lm, words)

    def _taken(self, example: SlotExample) -> list[int]:
        """Return the words that are values of copied parameters."""
        spans = [span for name in self.copied for span in value_words(example.text, example.call.arguments.get(name))]
        return [word for first, last in spans for word in range(first, last + 1)]

    def _aligned(
        self, example: SlotExample, spans: Sequence[_Span], meant: Tensor, slots: Mapping[str, Slot]
    ) -> dict[str, _Span]:
        """Choose the spans of an example's choices, one for each parameter, that don't overlap."""
        ranked: list[list[tuple[float, str, _Span]]] = []
        for parameter in self.parameters:
            value = example.call.arguments.get(parameter)
            if value in self.choices:
                looks = slots[parameter].scores(example.features) if parameter in slots else None
                column = meant[:, self.choices.index(value)].tolist()
                scores = []
                for span, means in zip(spans, column, strict=True):
                    score = means + self._speaks_for(example, span, value) - _SHORTER * (span[1] - span[0])
                    if looks is not None:
                        score += _SLOT * looks.spans_from(span[0])[span[1] - span[0]]
                    scores.append((score, parameter, span))
                ranked.append(sorted(scores, reverse=True)[:_LIKELY])
        ways = [
            way
            for way in product(*ranked)
            if all(a[2][1] < b[2][0] or b[2][1] < a[2][0] for i, a in enumerate(way) for b in way[:i])
        ]
        best = max(ways, key=lambda way: sum(score for score, _, _ in way), default=())
        return {parameter: span for _, parameter, span in best}

    def _speaks_for(self, example: SlotExample, span: _Span, value: str) -> float:
        """Return what speaks for a span besides its meaning: it comes with the choice, and its edges are rare words."""
        words = f" {' '.join(words_of(example.text.words_between(*span)))} "
        with_choice = [one for one in self.examples if value in map(one.call.arguments.get, self.parameters)]
        others = [one for one in self.examples if one not in with_choice]

        def share(examples: Sequence[SlotExample], left_out: int) -> float:
            has = sum(words in f" {' '.join(words_of(one.text.text))} " for one in examples) - left_out
            return math.log((has + 0.5) / (len(examples) - left_out + 1))

        edges = words_of(words)
        rare = min((self.rarity.get(word, 0.0) for word in (edges[0], edges[-1])), default=0.0) if edges else 0.0
        return _TOGETHER * (share(with_choice, 1) - share(others, 0)) + _RARE * rare

    def _fitted(self, parameter: str, found: Sequence[Mapping[str, _Span]]) -> Slot | None:
        standard, shared = self.common.standard, self.common.shared
        texts = [
            SpannedText(with_constant(one.features, standard), (aligned[parameter],) if parameter in aligned else ())
            for one, aligned in zip(self.examples, found, strict=True)
        ]
        if not any(text.values for text in texts):
            return None
        tool = self.examples[0].call.tool
        rows = fit_rows(texts, None if shared is None else shared.of_tool(tool))
        optional = any(parameter not in one.call.arguments for one in self.examples)
        return raw_slot(rows, standard, optional, self.examples[0].depth)
