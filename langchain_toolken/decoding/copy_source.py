"""What a call's arguments are likely copied from. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_toolken.prompts.call_cards import Asked
    from langchain_toolken.toolkens.examples import Examples
    from langchain_toolken.toolkens.slots import Slot
    from langchain_toolken.tools.spec import ToolSpec

# Characters. Only the end of a longer text is copied from, so that a step takes no time that can be noticed.
_LONGEST = 8_000


@dataclass(frozen=True)
class CopySource:
    """A text that arguments may be copied from, word for word.

    Attributes:
        text: The text, such as the user's request.
        nats: For each parameter, what is added to the logits of tokens that continue a span of the text while its value
            is written. Parameters that are not named get nothing.
        slots: For parameters whose place in the text is learnt, the rows that tell it.
    """

    text: str
    nats: Mapping[str, float]
    slots: Mapping[str, Slot] = field(default_factory=dict)


def copy_source(spec: ToolSpec, examples: Examples, asked: Asked) -> CopySource | None:
    """Return what a tool's arguments are likely copied from: the request, and the answer up to the call.

    Args:
        spec: The tool.
        examples: Which parameters are copied, how much that is preferred, and their slots.
        asked: What the call answers.

    Returns:
        None where nothing is preferred.
    """
    settings = examples.settings
    copied = () if settings is None else settings.copied.get(spec.name, ())
    slots = {} if examples.slots is None else examples.slots.of_tool.get(spec.name, {})
    preferred = dict.fromkeys([*copied, *slots])
    if settings is None or not settings.copy_nats or not preferred:
        return None
    return CopySource(asked.text[-_LONGEST:], dict.fromkeys(preferred, settings.copy_nats), slots)
