"""What a call's arguments are likely copied from. Nothing here imports torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_toolken.prompts.call_cards import Asked
    from langchain_toolken.toolkens.examples import ArgumentSettings
    from langchain_toolken.tools.spec import ToolSpec


@dataclass(frozen=True)
class CopySource:
    """A text that arguments may be copied from, word for word.

    Attributes:
        text: The text, such as the user's request.
        nats: For each parameter, what is added to the logits of tokens that continue a span of the text while its value
            is written. Parameters that are not named get nothing.
    """

    text: str
    nats: Mapping[str, float]


def copy_source(spec: ToolSpec, settings: ArgumentSettings | None, asked: Asked) -> CopySource | None:
    """Return what a tool's arguments are likely copied from: the request, and the answer up to the call.

    Args:
        spec: The tool.
        settings: Which parameters are copied, and how much that is preferred.
        asked: What the call answers.

    Returns:
        None where nothing is preferred.
    """
    copied = () if settings is None else settings.copied.get(spec.name, ())
    if settings is None or not settings.copy_nats or not copied:
        return None
    return CopySource(f"{asked.request}\n{asked.so_far}".strip(), dict.fromkeys(copied, settings.copy_nats))
