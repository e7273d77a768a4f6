"""How a prompt is laid out: its style, how results are re-injected, and the tool card (DESIGN §3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    pass

Style = Literal["completion", "chat"]
Reinjection = Literal["inline", "turn"]

ANSWER = "\nA:"
"""What parts question and answer in completion style, in prompts and in demonstrations."""

_OPENERS = tuple("([{$€£\"'")


@dataclass(frozen=True)
class PromptFormat:
    """How messages are laid out.

    style: "completion" ("Q: …\\nA: …", for base LMs) or "chat" (the tokenizer's chat template).
    reinjection: "inline" puts a tool's result into the assistant's sentence, as in the papers (the default: it is what
        demonstrations look like); "turn" gives it as a tool-role message through the chat template.
    few_shot: completion style only: text put first, such as "Q: …\\nA: …\\n\\n".
    """

    style: Style
    reinjection: Reinjection = "inline"
    few_shot: str = ""

    def __post_init__(self) -> None:
        if self.style == "completion" and self.reinjection == "turn":
            raise ValueError(
                "reinjection='turn' needs a chat template's tool role; the completion style has no turns. "
                "Use reinjection='inline' or style='chat'."
            )
        if self.style == "chat" and self.few_shot:
            raise ValueError("few_shot is text for the completion style. In chat style, give the examples as messages.")

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end an answer: a base LM goes on with a question of its own."""
        return ("\nQ:",) if self.style == "completion" else ()


def join_result(text: str, result: str) -> str:
    """`text` with a tool's `result` put behind it, with a space between where prose has one.

    No space at the start, after whitespace, after an opening bracket, quote or currency sign, and after an "=" that
    is written close ("4096*27=" but "4096 * 27 = ").
    """
    close_equals = text.endswith("=") and not text[:-1].endswith((" ", "\t", "\n"))
    if not text or text[-1].isspace() or text.endswith(_OPENERS) or close_equals:
        return text + result
    return f"{text} {result}"
