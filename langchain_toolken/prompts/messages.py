r"""Render messages to the token ids that the LM continues from.

Completion style ("Q: …\nA: …", for base LMs) has no template, and no special tokens except those that the tokenizer
puts in front of every text. Chat style is laid out by the tokenizer's chat template.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_core.messages import BaseMessage

from langchain_toolken.prompts.chat_templates import encode_chat
from langchain_toolken.prompts.content import bos_ids, encode_content
from langchain_toolken.prompts.format import ANSWER, PromptFormat, Reinjection
from langchain_toolken.prompts.quoting import QUESTION_LABEL, SYSTEM_LABEL, LabelReading, label_reading, quoted
from langchain_toolken.prompts.tool_calls import call_layout
from langchain_toolken.prompts.tool_cards import with_tool_list
from langchain_toolken.prompts.turns import Turn, turns_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langchain_toolken.tools.spec import ToolSpec


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[BaseMessage],
    prompt_format: PromptFormat,
    tools: Sequence[ToolSpec] = (),
) -> list[int]:
    """Render the prompt for `messages`.

    A history that ends in an assistant message, or inline in a tool's result, leaves the assistant's turn open right
    after its text. In completion style "A:" ends an open question, and the LM writes the space itself.

    Args:
        tokenizer: The LM's tokenizer.
        messages: The history.
        prompt_format: How messages are laid out.
        tools: Tools that the prompt describes. Tools with a toolken need no description.

    Returns:
        Token ids; the LM continues where they end.

    Raises:
        ValueError: See `turns.turns_of`. Also if the chat template is missing or refuses or drops a role (the error
            names the role).
    """
    turns = turns_of(messages, prompt_format.reinjection)
    if prompt_format.style == "completion":
        if tools:
            turns = with_tool_list(turns, tools, call_layout(tokenizer), system=True)
        text = prompt_format.few_shot + completion_text(turns, label_reading(tokenizer))
        return bos_ids(tokenizer) + encode_content(tokenizer, text)
    return encode_chat(tokenizer, turns, tools)


def answer_so_far(messages: Sequence[BaseMessage], reinjection: Reinjection) -> str | None:
    """Return the text of the assistant's turn that `render` leaves open, or None if the LM begins a new answer."""
    turn = open_turn(messages, reinjection)
    return None if turn is None else turn.text


def open_turn(messages: Sequence[BaseMessage], reinjection: Reinjection) -> Turn | None:
    """Return the assistant's turn that `render` leaves open, or None if the LM begins a new answer."""
    last = turns_of(messages, reinjection)[-1]
    return last if last.role == "assistant" else None


def completion_text(turns: Sequence[Turn], reading: LabelReading) -> str:
    """Write `turns` in completion style, up to where the LM continues: an assistant's text, or "A:".

    A system message that others precede gets the label "System:". Lines of content that begin with a label are quoted,
    so the only turns are those of `turns`.

    Args:
        turns: The conversation.
        reading: How the tokenizer reads labels.

    Raises:
        ValueError: The last turn is neither the user's nor the assistant's, so there is nothing to answer.
    """
    paragraphs: list[str] = []
    previous = ""
    for turn in turns:
        if turn.role in ("system", "developer"):
            label = f"{SYSTEM_LABEL}: " if previous else ""
            paragraphs.append(label + quoted(turn.text, reading, begins_line=not label))
        elif turn.role == "user" and previous == "user":
            text = quoted(turn.text, reading, begins_line=True)
            paragraphs[-1] = paragraphs[-1].removesuffix(ANSWER) + f"\n{text}{ANSWER}"
        elif turn.role == "user":
            paragraphs.append(f"{QUESTION_LABEL}: {quoted(turn.text, reading)}{ANSWER}")
        else:
            if previous != "user":
                paragraphs.append(ANSWER.lstrip())
            if turn.text:
                paragraphs[-1] += f" {quoted(turn.text, reading, goes_on=turn is turns[-1])}"
        previous = turn.role
    if previous not in ("user", "assistant"):
        raise ValueError(f"The last message has the role {previous!r}: there is nothing to answer. Add a user message.")
    return "\n\n".join(paragraphs)
