"""How a reasoning LM marks its thoughts, and where messages keep them (DESIGN §3).

LangChain's models of reasoning LMs keep a thought in `additional_kwargs["reasoning_content"]`, from which
`AIMessage.content_blocks` makes a standard block of type "reasoning"; so does ToolkenChat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError
from langchain_core.messages import AIMessage

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TAGS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)
"""The tags known to mark thoughts: of Qwen 3, DeepSeek R1, SmolLM3 and most others; some fine-tunes; Magistral; Command
A Reasoning."""

THOUGHT_KEY = "reasoning_content"
OPEN_KEY = "reasoning_open"
"""In `additional_kwargs`: the thought was not closed, because a tool was called in it or the text was cut off. A tool's
result then goes on in the thought."""

_THOUGHT, _ANSWER = "\U000f0001", "\U000f0002"


@dataclass(frozen=True)
class ThoughtLayout:
    """One tokenizer's way to write a thought: open, lead, the thought, tail, close, gap, the answer.

    lead, tail and gap are the whitespace that the chat template puts there. opened: its generation prompt opens the
    thought (DeepSeek R1), so that an LM's text begins within it.
    """

    open: str
    close: str
    lead: str
    tail: str
    gap: str
    opened: bool

    @property
    def begin(self) -> str:
        """What stands before a thought."""
        return self.open + self.lead

    @property
    def end(self) -> str:
        """What stands between a thought and the answer."""
        return self.tail + self.close + self.gap


def thought_layout(tokenizer: PreTrainedTokenizerBase) -> ThoughtLayout | None:
    """How this tokenizer's LM marks thoughts; None if it marks none.

    It does if the two tags of one of `TAGS` are in the chat template or among the tokenizer's added tokens. A tokenizer
    without chat template is a base LM's, which does not think before it answers.
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
    before, _, behind = whole.partition(_THOUGHT)
    lead = before.rpartition(opening)[2] if opening in before else "\n"
    between = behind.partition(_ANSWER)[0]
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
    """The chat in the tokenizer's template; "" if it takes no such chat."""
    try:
        return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=generate))
    except (TemplateError, TypeError, ValueError):
        return ""


def thought_of(message: AIMessage) -> str:
    """The thought that a message holds, in its content's blocks or beside them; "" if none."""
    blocks = [message.content] if isinstance(message.content, str) else message.content
    said = [
        str(block.get("reasoning") or block.get("thinking") or "")
        for block in blocks
        if isinstance(block, Mapping) and block.get("type") in ("reasoning", "thinking")
    ]
    return "".join(said) or str(message.additional_kwargs.get(THOUGHT_KEY) or "")
