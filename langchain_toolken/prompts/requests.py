"""Where the request is in a prompt: what the user asked last.

The mean of the LM's states over these tokens says what is asked for, whatever has been answered since. Training and
decoding take it from the same tokens, which is why there is one function for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_toolken.prompts.chat_templates import as_content, content_spans
from langchain_toolken.prompts.content import bos_ids, encode_with_ends
from langchain_toolken.prompts.format import ANSWER, PromptFormat
from langchain_toolken.prompts.messages import completion_text
from langchain_toolken.prompts.quoting import label_reading, quoted
from langchain_toolken.prompts.tool_calls import call_layout, unmarked
from langchain_toolken.prompts.tool_cards import with_tool_list
from langchain_toolken.prompts.turns import Turn

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langchain_toolken.tools.spec import ToolSpec


@dataclass(frozen=True)
class Request:
    """The request that a prompt ends with.

    Attributes:
        text: What the user said last.
        span: Its tokens in the prompt's ids, as (start, stop): at least one.
        answered: Whether something has been said since: a tool's result, or a part of the answer.
    """

    text: str
    span: tuple[int, int]
    answered: bool = False


def request_of(
    tokenizer: PreTrainedTokenizerBase,
    turns: Sequence[Turn],
    prompt_format: PromptFormat,
    tools: Sequence[ToolSpec] = (),
) -> Request:
    """Find the last user's turn in the ids that `messages.render` gives for `turns`.

    Without a user's turn, or with an empty one, the request is all that was said so far.

    Args:
        tokenizer: The LM's tokenizer; in completion style it needs to give character offsets.
        turns: The conversation.
        prompt_format: How it is laid out.
        tools: Tools that the prompt describes.

    Raises:
        ValueError: As `messages.render`, or the tokenizer gives no offsets.
    """
    if prompt_format.style == "completion" and tools:
        turns = with_tool_list(turns, tools, call_layout(tokenizer), system=True)
    place = max((i for i, turn in enumerate(turns) if turn.role == "user" and turn.text.strip()), default=None)
    if prompt_format.style == "completion":
        return _in_completion(tokenizer, prompt_format.few_shot, turns, place)
    contents = content_spans(tokenizer, turns, tools)
    asked = None if place is None else turns[place].text
    if asked is not None and tools:
        asked = unmarked(asked, call_layout(tokenizer))
    shown = None if asked is None else as_content(tokenizer, asked)
    # A list of tools may stand before the request in the same message.
    found = [one for one in contents if one[0] == shown] or [one for one in contents if shown and shown in one[0]]
    if asked is None or not found:
        text = "\n".join(turn.text for turn in turns if turn.text)
        return Request(text, (0, max((stop for _, _, stop in contents), default=1)))
    return Request(asked, found[-1][1:], answered=place is not None and place + 1 < len(turns))


def _in_completion(
    tokenizer: PreTrainedTokenizerBase, few_shot: str, turns: Sequence[Turn], place: int | None
) -> Request:
    reading = label_reading(tokenizer)
    text = few_shot + completion_text(turns, reading)
    begin, end = 0, len(text)
    if place is not None:
        asked = quoted(turns[place].text, reading, begins_line=place > 0 and turns[place - 1].role == "user")
        end = len(few_shot) + len(completion_text(turns[: place + 1], reading)) - len(ANSWER)
        begin = end - len(asked)
    lead = len(bos_ids(tokenizer))
    ends = [stop for _, stop in encode_with_ends(tokenizer, text, continued=False, offsets=True)]
    start, stop = tokens_between(ends, begin, end)
    answered = place is not None and place + 1 < len(turns)
    return Request(text if place is None else turns[place].text, (lead + start, lead + stop), answered)


def question_of(text: str) -> tuple[int, int] | None:
    r"""Return where the question of a text "Q: …\nA: …" starts and stops, in characters; None for other texts."""
    question, parted, _ = text.partition(ANSWER)
    if not parted or not question.startswith("Q:") or not question.removeprefix("Q:").strip():
        return None
    return len(question) - len(question.removeprefix("Q:").removeprefix(" ")), len(question)


def tokens_between(ends: Sequence[int | None], begin: int, end: int) -> tuple[int, int]:
    """Return the (start, stop) of the tokens that end in a text after character `begin` and by `end`; at least one."""
    inside = [i for i, at in enumerate(ends) if at is not None and begin < at <= end]
    if inside:
        return inside[0], inside[-1] + 1
    # A single token may hold the whole of a short question and what is around it.
    over = next((i for i, at in enumerate(ends) if at is not None and at > begin), max(len(ends) - 1, 0))
    return over, over + 1
