"""How a prompt is laid out: its style, and how results are put back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    pass

Style = Literal["completion", "chat"]
Reinjection = Literal["inline", "turn"]

ANSWER = "\nA:"
"""The separator between question and answer in completion style, in prompts and demonstrations."""


@dataclass(frozen=True)
class PromptFormat:
    r"""How messages are laid out.

    Attributes:
        style: "completion" ("Q: …\nA: …", for base LMs) or "chat" (the tokenizer's chat template).
        reinjection: "inline" puts a tool's result into the assistant's sentence, as in the papers. It is the default
            because demonstrations look like that. "turn" gives the result as a tool-role message.
        few_shot: Text before everything else, such as "Q: …\nA: …\n\n"; completion style only.

    Raises:
        ValueError: The style does not allow the other setting.
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
        """Strings that end an answer, because a base LM would continue with another question."""
        return ("\nQ:",) if self.style == "completion" else ()
