"""What a call's arguments are likely copied from, and what the LM's habits cost. Nothing here imports torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_toolken.decoding.named_choices import named_choices
from langchain_toolken.tools.schemas import fields_of
from langchain_toolken.tools.value_kinds import fixed_choices, value_kinds

if TYPE_CHECKING:
    from langchain_toolken.prompts.call_cards import Asked
    from langchain_toolken.toolkens.examples import Examples
    from langchain_toolken.toolkens.slots import Slot
    from langchain_toolken.tools.spec import ToolSpec

# Characters. Only the end of a longer text is copied from, so that a step takes no time that can be noticed.
_LONGEST = 8_000

WITHOUT_SLOT = 3.0
"""Nats for copying a value that no slot finds.

For tools that no demonstration shows, SmolLM2 gets the arguments of 7 of 45 requests right with it, and of 2 without.
"""

NAMED = 8.0
"""Nats for a fixed choice that the text names: more than for any word of it, since few of them are a choice."""


@dataclass(frozen=True)
class CopySource:
    """A text that arguments may be copied from, word for word.

    Attributes:
        text: The text, such as the user's request.
        nats: For each parameter, what is added to the logits of tokens that continue a span of the text while its value
            is written. Parameters that are not named get nothing.
        slots: For parameters whose place in the text is learnt, the rows that tell it.
        choices: For parameters of fixed choices, what is added to the logits of each, written as JSON: those that the
            text names, or what takes out the LM's habits (`ChoiceNats`).
    """

    text: str
    nats: Mapping[str, float]
    slots: Mapping[str, Slot] = field(default_factory=dict)
    choices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


def copy_source(spec: ToolSpec, examples: Examples, asked: Asked) -> CopySource | None:
    """Return what a tool's arguments are likely copied from: the request, and the answer up to the call.

    Args:
        spec: The tool.
        examples: Which parameters are copied, how much that is preferred, their slots, and the nats of fixed choices.
        asked: What the call answers.

    Returns:
        None where nothing is preferred.
    """
    settings = examples.settings
    if settings is None:
        return _source(asked, {}, {}, _named(spec, asked))
    slots = {} if examples.slots is None else examples.slots.of_tool.get(spec.name, {})
    nats = dict.fromkeys(examples.told_by_words(spec.name), settings.copy_nats)
    # What the request's words tell comes first: a set may have learnt that later than what is chosen whatever is asked.
    habits = {name: each for name, each in settings.choices.get(spec.name, {}).items() if name not in nats}
    return _source(asked, nats, slots if nats else {}, {**habits, **_named(spec, asked)})


def source_or_request(spec: ToolSpec, examples: Examples, asked: Asked) -> CopySource | None:
    """Return `copy_source`, or, for a tool that no demonstration shows, the request for all that it may be read from.

    Where a set's demonstrations showed that copying does not help, it is not preferred for its other tools either.
    """
    if examples.shows(spec.name):
        return copy_source(spec, examples, asked)
    settings = examples.settings
    nats = WITHOUT_SLOT if settings is None or not settings.tried else min(settings.copy_nats, WITHOUT_SLOT)
    return _source(asked, dict.fromkeys(_read_parameters(spec), nats) if nats else {}, {}, _named(spec, asked))


def _source(
    asked: Asked, nats: Mapping[str, float], slots: Mapping[str, Slot], choices: Mapping[str, Mapping[str, float]]
) -> CopySource | None:
    return CopySource(asked.text[-_LONGEST:], nats, slots, choices) if nats or choices else None


def _named(spec: ToolSpec, asked: Asked) -> dict[str, dict[str, float]]:
    """Return, for each parameter of fixed choices, the nats of those that the text names, written as JSON."""
    found = {}
    for name, choices in fixed_choices(spec).items():
        texts = {value: choice for choice in choices if isinstance(value := json.loads(choice), str)}
        named = named_choices(texts, asked.text[-_LONGEST:])
        if named:
            found[name] = {texts[value]: NAMED for value in named}
    return found


def _read_parameters(spec: ToolSpec) -> list[str]:
    """Return the parameters of a tool that take text, numbers or lists of them, and not only fixed choices."""
    root = spec.json_schema
    fields = fields_of(root, root).schemas
    return [name for name, field in fields.items() if value_kinds(field, root) & {"text", "number"}]
