"""Fit slots (`toolkens.slots`) to demonstrated calls whose values stand in the request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from langchain_toolken.decoding.local.copying import value_spans
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.states import text_states
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.call_cards import CallExample
from langchain_toolken.toolkens.slots import LONGEST_SLOT_TEXT, SLOT_PARTS, Slot, Slots, SlotText
from langchain_toolken.training.evidence.logistic import Standard, binary

_MOST_OF_A_TOOL = 32  # calls
_MOST = 2_000  # calls; reading them takes a small part of the time of the fit's own pass
_RIDGE = 5.0  # λ of a row's ridge is this divided by the number of words: the fewer words, the more it holds back


@dataclass(frozen=True, eq=False)
class SlotExample:
    """A demonstrated call with the features of its request's words.

    Attributes:
        call: The call.
        text: What was asked, as slots read it.
        features: (n, 2d), from `SlotText.features`.
    """

    call: CallExample
    text: SlotText
    features: Tensor


def slot_examples(
    lm: LanguageModel,
    calls: Sequence[CallExample],
    copied: Mapping[str, Sequence[str]],
    progress: Progress | None = None,
) -> list[SlotExample]:
    """Read what the calls of tools with copied parameters were asked for: one short pass of the LM for each request.

    Args:
        lm: The LM.
        calls: The calls. Of a tool the first 32 are read, and of all tools together the first 2,000.
        copied: For each tool, its parameters that are mostly copied.
        progress: Called after each batch.
    """
    of_tool: Counter[str] = Counter()
    chosen: list[tuple[CallExample, SlotText]] = []
    for call in calls:
        text = call.asked.text
        if call.tool in copied and 0 < len(text) <= LONGEST_SLOT_TEXT and of_tool[call.tool] < _MOST_OF_A_TOOL:
            of_tool[call.tool] += 1
            chosen.append((call, SlotText.of(lm.tokenizer, text)))
    chosen = chosen[:_MOST]
    states = text_states(lm, [text.ids for _, text in chosen], progress, "read requests for slots")
    return [SlotExample(call, text, text.features(read)) for (call, text), read in zip(chosen, states, strict=True)]


def fit_slots(
    examples: Iterable[SlotExample], copied: Mapping[str, Sequence[str]], standard: Standard | None = None
) -> Slots:
    """Fit the slots of parameters that are mostly copied.

    Args:
        examples: Calls of any tools.
        copied: For each tool, its parameters that are mostly copied (`held_out_calls.copied_parameters`).
        standard: How features are standardised; None measures it on these examples.
    """
    examples = [one for one in examples if len(one.features)]
    if not examples or not copied:
        return Slots()
    standard = standard or standard_of(examples)
    of_tool: dict[str, list[SlotExample]] = {}
    for one in examples:
        of_tool.setdefault(one.call.tool, []).append(one)
    found: dict[str, dict[str, Slot]] = {}
    for tool, own in of_tool.items():
        features = standard(torch.cat([one.features for one in own]))
        for parameter in copied.get(tool, ()):
            aims = torch.cat([_labels(one.text, one.call.arguments.get(parameter)) for one in own])
            if bool(aims.any(dim=0).all()):
                optional = any(parameter not in one.call.arguments for one in own)
                found.setdefault(tool, {})[parameter] = _fit(features, aims, standard, optional)
    return Slots(found)


def standard_of(examples: Sequence[SlotExample]) -> Standard:
    """Measure how features are standardised: over the words of all tools' requests."""
    return Standard.of(torch.cat([one.features for one in examples]))


def _labels(text: SlotText, value: Any) -> Tensor:
    """Return (n, 3) bool: at which words the value begins, which are part of it, and where it ends."""
    labels = torch.zeros(len(text.words), SLOT_PARTS, dtype=torch.bool)
    for start, stop in value_spans(value, text.text):
        inside = [i for i, (begin, end) in enumerate(text.words) if end > start and begin < stop]
        if inside:
            labels[inside[0], 0] = labels[inside[-1], 2] = True
            labels[inside, 1] = True
    return labels


def _fit(features: Tensor, aims: Tensor, standard: Standard, optional: bool) -> Slot:
    with_constant = torch.cat([features, torch.ones(len(features), 1)], dim=1)
    weight = torch.ones(len(features))
    rows = torch.stack([binary(with_constant, aim, weight, _RIDGE / len(features)) for aim in aims.T])
    raw = rows[:, :-1] / standard.deviation
    return Slot(raw, rows[:, -1] - raw @ standard.mean, optional)
