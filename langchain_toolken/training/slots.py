"""Fit slots (`toolkens.slots`) to demonstrated calls whose values stand in the request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from langchain_toolken.decoding.local.copying import value_spans
from langchain_toolken.decoding.local.durations import unit_of
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.states import text_states
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.call_cards import CallExample
from langchain_toolken.toolkens.slots import LONGEST_SLOT_TEXT, SLOT_DEPTH, SLOT_PARTS, Slot, Slots, SlotText, TimeUnit
from langchain_toolken.training.evidence.logistic import Standard, binary
from langchain_toolken.training.slot_rows import SharedRows, SpannedText, fit_rows

_MOST_OF_A_TOOL = 32  # calls
_MOST = 2_000  # calls; reading them takes a small part of the time of the fit's own pass
_RIDGE = 5.0  # λ of a list's ridge is this divided by the number of words: the fewer words, the more it holds back


@dataclass(frozen=True, eq=False)
class SlotExample:
    """A demonstrated call with the features of its request's words.

    Attributes:
        call: The call.
        text: What was asked, as slots read it.
        features: (n, 2d), from `SlotText.features`.
        depth: After which part of the LM's layers they were taken.
    """

    call: CallExample
    text: SlotText
    features: Tensor
    depth: float = 1.0


@dataclass(frozen=True, eq=False)
class Common:
    """What the slots of all tools have in common.

    Attributes:
        standard: How features are standardised: over the words of all tools' requests.
        shared: What their rows are pulled to; None where too few values are known.
    """

    standard: Standard
    shared: SharedRows | None


def slot_examples(
    lm: LanguageModel,
    calls: Sequence[CallExample],
    copied: Mapping[str, Sequence[str]],
    progress: Progress | None = None,
    *,
    also: Collection[str] = (),
) -> list[SlotExample]:
    """Read what the calls of tools with copied parameters were asked for: one short pass of the LM for each request.

    Args:
        lm: The LM.
        calls: The calls. Of a tool the first 32 are read, and of all tools together the first 2,000.
        copied: For each tool, its parameters that are mostly copied.
        progress: Called after each batch.
        also: Tools whose calls are read though they have no copied parameter.
    """
    of_tool: Counter[str] = Counter()
    chosen: list[tuple[CallExample, SlotText]] = []
    for call in calls:
        text = call.asked.text
        wanted = call.tool in copied or call.tool in also
        if wanted and 0 < len(text) <= LONGEST_SLOT_TEXT and of_tool[call.tool] < _MOST_OF_A_TOOL:
            of_tool[call.tool] += 1
            chosen.append((call, SlotText.of(lm.tokenizer, text)))
    chosen = chosen[:_MOST]
    depth = SLOT_DEPTH if lm.has_inner_states else 1.0
    states = text_states(lm, [text.ids for _, text in chosen], progress, "read requests for slots", depth=depth)
    return [
        SlotExample(call, text, text.features(read), depth) for (call, text), read in zip(chosen, states, strict=True)
    ]


def common_of(examples: Sequence[SlotExample], copied: Mapping[str, Sequence[str]]) -> Common | None:
    """Find what the slots of all tools have in common; None without a word to learn from."""
    examples = [one for one in examples if len(one.features)]
    if not examples:
        return None
    standard = Standard.of(torch.cat([one.features for one in examples]))
    texts = [
        (one.call.tool, text)
        for one in examples
        for parameter in copied.get(one.call.tool, ())
        if (text := _spanned(one, parameter, standard)) is not None
    ]
    return Common(standard, SharedRows.of(texts))


def fit_slots(
    examples: Iterable[SlotExample], copied: Mapping[str, Sequence[str]], common: Common | None = None
) -> Slots:
    """Fit the slots of parameters that are mostly copied.

    Args:
        examples: Calls of any tools.
        copied: For each tool, its parameters that are mostly copied (`held_out_calls.copied_parameters`).
        common: What all slots have in common; None finds it in these examples.
    """
    examples = [one for one in examples if len(one.features)]
    common = common or common_of(examples, copied)
    if common is None or not copied:
        return Slots()
    of_tool: dict[str, list[SlotExample]] = {}
    for one in examples:
        of_tool.setdefault(one.call.tool, []).append(one)
    found: dict[str, dict[str, Slot]] = {}
    for tool, own in of_tool.items():
        for parameter in copied.get(tool, ()):
            slot = _slot(own, parameter, common)
            if slot is not None:
                found.setdefault(tool, {})[parameter] = slot
    return Slots(found)


def _slot(examples: Sequence[SlotExample], parameter: str, common: Common) -> Slot | None:
    """Fit one parameter's slot; None where no request has a value of it."""
    numbers = [(one.text.text, one.call.arguments.get(parameter)) for one in examples]
    unit = unit_of((text, n) for text, n in numbers if isinstance(n, int | float) and not isinstance(n, bool))
    if any(isinstance(one.call.arguments.get(parameter), list) for one in examples):
        rows = _list_rows(examples, parameter, common.standard)
    else:
        texts = [text for one in examples if (text := _spanned(one, parameter, common.standard, unit)) is not None]
        shared = None if common.shared is None else common.shared.of_tool(examples[0].call.tool)
        rows = fit_rows(texts, shared) if any(text.values for text in texts) else None
    if rows is None:
        return None
    optional = any(parameter not in one.call.arguments for one in examples)
    return replace(raw_slot(rows, common.standard, optional, examples[0].depth), unit=unit)


def raw_slot(rows: Tensor, standard: Standard, optional: bool, depth: float) -> Slot:
    """Make the slot of rows (3, 2d + 1) for standardised features and a constant."""
    raw = rows[:, :-1] / standard.deviation
    return Slot(raw, rows[:, -1] - raw @ standard.mean, optional, depth)


def _list_rows(examples: Sequence[SlotExample], parameter: str, standard: Standard) -> Tensor | None:
    """Fit the rows of a parameter that takes a list: each word is judged by itself, since several are values."""
    features = torch.cat([with_constant(one.features, standard) for one in examples])
    aims = torch.zeros(len(features), SLOT_PARTS, dtype=torch.bool)
    start = 0
    for one in examples:
        for first, last in value_words(one.text, one.call.arguments.get(parameter)):
            aims[start + first, 0] = aims[start + last, 2] = True
            aims[start + first : start + last + 1, 1] = True
        start += len(one.features)
    if not bool(aims.any(dim=0).all()):
        return None
    weight = torch.ones(len(features))
    return torch.stack([binary(features, aim, weight, _RIDGE / len(features)) for aim in aims.T])


def _spanned(
    example: SlotExample, parameter: str, standard: Standard, unit: TimeUnit | None = None
) -> SpannedText | None:
    """Return where a call's request has the parameter's value; None where the value is written in another way."""
    values = value_words(example.text, example.call.arguments.get(parameter), unit)
    if not values and parameter in example.call.arguments:
        return None
    return SpannedText(with_constant(example.features, standard), tuple(values))


def with_constant(features: Tensor, standard: Standard) -> Tensor:
    """Standardise features (n, 2d), and add a constant."""
    return torch.cat([standard(features), torch.ones(len(features), 1)], dim=1)


def value_words(text: SlotText, value: Any, unit: TimeUnit | None = None) -> list[tuple[int, int]]:
    """Return the first and last words of the spans where a value is. `unit`: see `copying.numbers_in`."""
    found = []
    for start, stop in value_spans(value, text.text, unit):
        inside = [i for i, (begin, end) in enumerate(text.words) if end > start and begin < stop]
        if inside:
            found.append((inside[0], inside[-1]))
    return found
