"""How a reasoning LM marks its thoughts, and where messages keep them.

Like LangChain's other chat models, ToolkenChat keeps a thought in `additional_kwargs["reasoning_content"]`, from which
`AIMessage.content_blocks` makes a standard block of type "reasoning".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage

from langchain_toolken.prompts.template_rendering import REFUSALS, run_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
"""Known tags around thoughts, in order: Qwen 3, DeepSeek R1, SmolLM3 and most others; some fine-tunes; Magistral;
Command A
Reasoning."""

THOUGHT_KEY = "reasoning_content"
OPEN_KEY = "reasoning_open"
"""Key in `additional_kwargs` that says that the thought was not closed, because a tool was called in it or the text was
cut off. A tool's result then continues the thought."""

_THOUGHT, _ANSWER = "\U000f0001", "\U000f0002"


@dataclass(frozen=True)
class ThoughtLayout:
    """How one tokenizer's LM writes a thought: open, lead, the thought, tail, close, gap, the answer.

    Attributes:
        open: The tag before a thought.
        close: The tag after a thought.
        lead: The chat template's whitespace after the opening tag.
        tail: The chat template's whitespace before the closing tag.
        gap: The chat template's whitespace between the closing tag and the answer.
        opened: Whether the generation prompt opens the thought (DeepSeek R1), so that the LM's text begins inside it.
    """

    open: str
    close: str
    lead: str
    tail: str
    gap: str
    opened: bool

    @property
    def begin(self) -> str:
        """The text before a thought."""
        return self.open + self.lead

    @property
    def end(self) -> str:
        """The text between a thought and the answer."""
        return self.tail + self.close + self.gap


def thought_layout(tokenizer: PreTrainedTokenizerBase) -> ThoughtLayout | None:
    """Return how this tokenizer's LM marks thoughts, or None if it does not.

    It does if both tags of a pair in `TAGS` are in the chat template or among the tokenizer's added tokens. A tokenizer
    without a chat template belongs to a base LM, which does not think before it answers.
    """
    if tokenizer.chat_template is None:
        return None
    return _layout_of(tokenizer, str(tokenizer.chat_template))


@lru_cache(maxsize=8)
def _layout_of(tokenizer: PreTrainedTokenizerBase, chat_template: str) -> ThoughtLayout | None:
    added = tokenizer.get_added_vocab()
    known = [tags for tags in TAGS if all(tag in chat_template or tag in added for tag in tags)]
    if not known:
        return None
    opening, closing = known[0]
    user = {"role": "user", "content": "a"}
    prompt = _rendered(tokenizer, [user], generate=True)
    answered = {"role": "assistant", "content": _ANSWER, THOUGHT_KEY: _THOUGHT}
    whole = _rendered(tokenizer, [user, answered], generate=False)
    before, _, rest = whole.partition(_THOUGHT)
    lead = before.rpartition(opening)[2] if opening in before else "\n"
    between = rest.partition(_ANSWER)[0]
    tail, _, gap = between.partition(closing) if closing in between else ("\n", "", "\n\n")
    begun = prompt.rpartition(opening)[2] if opening in prompt else None
    opened = begun is not None and not begun.strip()
    return ThoughtLayout(
        open=opening,
        close=closing,
        lead=begun if opened and begun is not None else "" if lead.strip() else lead,
        tail="" if tail.strip() else tail,
        gap="" if gap.strip() else gap,
        opened=opened,
    )


def _rendered(tokenizer: PreTrainedTokenizerBase, chat: list[dict[str, Any]], *, generate: bool) -> str:
    """Render the chat in the tokenizer's template, or return "" if the template rejects it."""
    try:
        return run_template(tokenizer, chat, generate=generate)
    except REFUSALS:
        return ""


def thought_of(message: AIMessage) -> str:
    """Return the thought in a message's content blocks or `additional_kwargs`, or "" if there is none."""
    blocks = [message.content] if isinstance(message.content, str) else message.content
    said = [
        str(block.get("reasoning") or block.get("thinking") or "")
        for block in blocks
        if isinstance(block, Mapping) and block.get("type") in ("reasoning", "thinking")
    ]
    return "".join(said) or str(message.additional_kwargs.get(THOUGHT_KEY) or "")
