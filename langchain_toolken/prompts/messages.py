"""Messages to the token ids that the LM goes on from (DESIGN §3).

A base LM's completion style ("Q: …\\nA: …") has no template, and so no special tokens at all besides the ones that the
tokenizer puts in front. Chat style is laid out by the tokenizer's chat template.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_core.messages import BaseMessage

from langchain_toolken.prompts.chat_templates import encode_chat
from langchain_toolken.prompts.content import bos_ids, encode_content
from langchain_toolken.prompts.format import ANSWER, PromptFormat, Reinjection
from langchain_toolken.prompts.tool_calls import call_layout
from langchain_toolken.prompts.tool_cards import tool_list, with_tool_list
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
    """Token ids of the prompt for `messages`; the LM goes on where they end.

    A history that ends in an assistant message or in tool results (inline) leaves the assistant's turn open, after
    exactly the text that stands there. completion: "A:" ends an open question, and the LM writes the space itself.

    tools: those that the prompt is to describe; none for tools that have a toolken.

    Raises:
        ValueError: no messages; content other than text; a ToolMessage without its call; a call without its result;
            a chat template that is missing, or that refuses or drops a role (the error names the role);
            tools to describe, and a tokenizer without a way to call them.
    """
    turns = turns_of(messages, prompt_format.reinjection)
    if prompt_format.style == "completion":
        if tools:
            turns = with_tool_list(turns, tool_list(tools, call_layout(tokenizer)), system=True)
        return bos_ids(tokenizer) + encode_content(tokenizer, prompt_format.few_shot + completion_text(turns))
    return encode_chat(tokenizer, turns, tools)


def answer_so_far(messages: Sequence[BaseMessage], reinjection: Reinjection) -> str | None:
    """The text of the assistant's turn that `render` leaves open; None where the LM begins a new answer."""
    turn = open_turn(messages, reinjection)
    return None if turn is None else turn.text


def open_turn(messages: Sequence[BaseMessage], reinjection: Reinjection) -> Turn | None:
    """The assistant's turn that `render` leaves open, with its thought; None where the LM begins a new answer."""
    last = turns_of(messages, reinjection)[-1]
    return last if last.role == "assistant" else None


def completion_text(turns: Sequence[Turn]) -> str:
    """`turns` in completion style, up to where the LM goes on: at the end of an assistant's text, else after "A:".

    Raises:
        ValueError: there is nothing to answer, since no user or assistant message stands last.
    """
    paragraphs: list[str] = []
    previous = ""
    for turn in turns:
        if turn.role in ("system", "developer"):
            paragraphs.append(turn.text)
        elif turn.role == "user" and previous == "user":
            paragraphs[-1] = paragraphs[-1].removesuffix(ANSWER) + f"\n{turn.text}{ANSWER}"
        elif turn.role == "user":
            paragraphs.append(f"Q: {turn.text}{ANSWER}")
        else:
            if previous != "user":
                paragraphs.append(ANSWER.lstrip())
            if turn.text:
                paragraphs[-1] += f" {turn.text}"
        previous = turn.role
    if previous not in ("user", "assistant"):
        raise ValueError(f"The last message has the role {previous!r}: there is nothing to answer. Add a user message.")
    return "\n\n".join(paragraphs)
