"""What the demonstrations tell of how prompts are to be laid out: the style, and how results are put back."""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import ToolMessage

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import ANSWER, Reinjection, Style
from langchain_toolken.training.demonstrations.demonstration import Demonstration


def style_of(demonstrations: Sequence[Demonstration], lm: LanguageModel) -> Style:
    """Choose the prompt style: completion if most demonstrations are "Q: … A: …" texts, else as the LM is prompted."""
    questions = sum(d.text.startswith("Q:") and ANSWER in d.text for d in demonstrations)
    if 2 * questions > len(demonstrations) or not lm.tokenizer.chat_template:
        return "completion"
    return "chat"


def reinjection_of(
    demonstrations: Sequence[Demonstration], style: Style, given: Reinjection | None
) -> Reinjection | None:
    """Return how most demonstrations with a call put results back; None if they don't tell.

    Chat histories with tool messages are laid out with turns in chat style, unless `given` says otherwise. A text with
    its results in place is inline. An answer that is nothing but a result (a docstring's example) tells nothing.
    """
    in_turns = sum(isinstance(message, ToolMessage) for d in demonstrations for message in d.before[-1:])
    in_turns += sum(bool(d.before and d.calls) and d.calls[0].result is None for d in demonstrations)
    inline = sum(bool(d.calls) and not d.before for d in demonstrations)
    if style == "completion":
        return "inline" if in_turns or inline else None
    return None if not in_turns and not inline else (given or "turn") if in_turns >= inline else "inline"
