"""What slots read in texts: scores of all words, what arguments are copied from, values of a part of a text."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from torch import Tensor

from langchain_toolken.decoding.copy_source import CopySource
from langchain_toolken.decoding.engine import ReadValue
from langchain_toolken.decoding.local.copying import SlotReading, numbers_in
from langchain_toolken.decoding.local.read_texts import ReadTexts
from langchain_toolken.toolkens.choice_scores import choice_scores
from langchain_toolken.toolkens.slots import LONGEST_SLOT_TEXT, Slot, SlotScores, SlotText


def slot_scores(
    read: ReadTexts, texts: Sequence[SlotText], slots: Sequence[Mapping[str, Slot]]
) -> list[dict[str, SlotScores]]:
    """Score the words of each text by its slots. Slots whose states the LM doesn't give are left out."""
    depths = {slot.depth for own in slots for slot in own.values()}
    features: dict[tuple[int, float], Tensor] = {}
    for depth in depths if read.lm.has_inner_states else depths & {1.0}:
        rows = [row for row, own in enumerate(slots) if any(slot.depth == depth for slot in own.values())]
        states = read.states([texts[row] for row in rows], depth)
        features |= {(row, depth): texts[row].features(each) for row, each in zip(rows, states, strict=True)}
    return [
        {
            name: slot.scores(features[row, slot.depth], texts[row].times)
            for name, slot in own.items()
            if (row, slot.depth) in features
        }
        for row, own in enumerate(slots)
    ]


def slot_readings(read: ReadTexts, copying: Sequence[CopySource | None]) -> list[SlotReading | None]:
    """Read the sources that have slots. All run through the LM together, apart from the prompts."""
    texts = {
        row: SlotText.of(read.lm.tokenizer, source.text)
        for row, source in enumerate(copying)
        if source is not None and source.slots and len(source.text) <= LONGEST_SLOT_TEXT
    }
    slots = [source.slots for row, source in enumerate(copying) if source is not None and row in texts]
    readings: list[SlotReading | None] = [None] * len(copying)
    found = slot_scores(read, list(texts.values()), slots)
    for (row, text), own, scores in zip(texts.items(), slots, found, strict=True):
        readings[row] = SlotReading(text.words, scores, _choices(read, text, own, scores))
    return readings


def _choices(
    read: ReadTexts, text: SlotText, slots: Mapping[str, Slot], scores: Mapping[str, SlotScores]
) -> dict[str, dict[str, float]]:
    """Score the fixed choices of parameters by the words that mean them."""
    values = [scores[name].best() for name in scores if slots[name].lexicon is None]
    taken = [word for value in values if value.score > 0 for word in value.words]
    return {
        name: choice_scores(read.meant, lexicon, text, scores[name], taken)
        for name in scores
        if (lexicon := slots[name].lexicon) is not None
    }


def read_values(
    texts: ReadTexts, text: str, begin: int, slots: Mapping[str, Slot], lists: Collection[str]
) -> dict[str, ReadValue]:
    """Find what a part of a text says of each parameter; see `SlotReader.read_values`."""
    read = SlotText.of(texts.lm.tokenizer, text)
    before = range(sum(start < begin for start, _ in read.words))
    (scores,) = slot_scores(texts, [read], [slots])
    found = {}
    taken = set(before)
    # Of two parameters the one that is surer of its words takes them.
    for name in sorted(scores, key=lambda each: -scores[each].best(before).score):
        slot, lexicon = scores[name], slots[name].lexicon
        if name in lists:
            runs = _runs([place not in before and score > 0 for place, score in enumerate(slot.inside)])
            best = max((slot.inside[place] for run in runs for place in run), default=0.0)
            found[name] = ReadValue(best, tuple(read.words_between(run[0], run[-1]) for run in runs))
            continue
        value = slot.best(taken)
        taken.update(value.words if value.score > 0 else ())
        said = (read.words_between(value.words[0], value.words[-1]),) if value.words else ()
        if lexicon is not None and said:
            choices = choice_scores(texts.meant, lexicon, read, slot, before)
            said = (max(choices, key=lambda each: choices[each]),) if choices else ()
        numbers = tuple(float(span.text) for each in said for span in numbers_in(each, slots[name].unit))
        found[name] = ReadValue(value.score if said else 0.0, said, numbers)
    return found


def _runs(flags: Sequence[bool]) -> list[range]:
    """Return where flags are set, each run of them as a range."""
    starts = [i for i, flag in enumerate(flags) if flag and (not i or not flags[i - 1])]
    stops = [i + 1 for i, flag in enumerate(flags) if flag and (i + 1 == len(flags) or not flags[i + 1])]
    return [range(start, stop) for start, stop in zip(starts, stops, strict=True)]
