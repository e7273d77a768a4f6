"""A demonstration as the LM will see it, and where its calls stand in it (DESIGN §3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, BaseMessage

from langchain_toolken.prompts.chat_templates import encode_answered_chat, encode_chat
from langchain_toolken.prompts.content import bos_ids, encode_with_ends
from langchain_toolken.prompts.format import ANSWER, PromptFormat, Reinjection, Style
from langchain_toolken.prompts.messages import completion_text
from langchain_toolken.prompts.turns import Turn, turns_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class RenderedDemonstration:
    """One demonstration as the LM will see it.

    ids: token ids, with what stands in front (bos, template).
    ends: for each token the character of the demonstration's text at which it ends; None for the template's tokens
        and the bos.
    call_positions: for each call the index of the last token that ends at or before the call's start (the position
        whose next token is the toolken); None if the call lies outside what is supervised.
    first_supervised: index of the first position whose next token belongs to the answer.
    """

    ids: tuple[int, ...]
    ends: tuple[int | None, ...]
    call_positions: tuple[int | None, ...]
    first_supervised: int


def render_demonstration(
    tokenizer: PreTrainedTokenizerBase, text: str, calls_starts: Sequence[int], style: Style
) -> RenderedDemonstration:
    """A demonstration's ids and the positions of its calls, laid out as `messages.render` lays out the same words.

    "Q: …\\nA: …" is parted at the first "\\nA:". completion: the text as it is, with the bos in front, supervised
    after "A:". chat: the question as a user message and the answer as the assistant's, with the template's end of
    turn behind it, so that "no call at the end" is learnt too. Any other text is supervised whole; in chat style it
    is an assistant message without a question.

    Raises:
        ValueError: the tokenizer has no chat template (chat style) or no character offsets.
    """
    question, parted, answer = text.partition(ANSWER)
    has_question = bool(parted) and question.startswith("Q:")
    answer_start = len(question) + len(parted) if has_question else 0
    if style == "completion":
        bos = bos_ids(tokenizer)
        pieces = encode_with_ends(tokenizer, text, continued=False, offsets=True)
        ids = [*bos, *(index for index, _ in pieces)]
        ends: list[int | None] = [*(None for _ in bos), *(end for _, end in pieces)]
        text_start = len(bos)
        first = _last_ending_at(ends, text_start, answer_start)
    else:
        # The space after "A:" belongs to the completion style; a template brings its own (see templates.answer_lead).
        content = answer.removeprefix(" ") if has_question else text
        turns = [Turn("user", question.removeprefix("Q:").removeprefix(" "))] if has_question else []
        base = len(text) - len(content)
        chat = encode_answered_chat(tokenizer, turns, content)
        ids = [*chat.before, *(index for index, _ in chat.answer), *chat.after]
        ends = [*(None for _ in chat.before), *(base + end for _, end in chat.answer), *(None for _ in chat.after)]
        text_start = len(chat.before)
        first = max(text_start - 1, 0)
    calls = tuple(
        max(_last_ending_at(ends, text_start, start), first) if answer_start <= start <= len(text) else None
        for start in calls_starts
    )
    return RenderedDemonstration(tuple(ids), tuple(ends), calls, first)


def render_answer(
    tokenizer: PreTrainedTokenizerBase,
    before: Sequence[BaseMessage],
    text: str,
    calls_starts: Sequence[int],
    style: Style,
    reinjection: Reinjection | None = None,
) -> RenderedDemonstration:
    """One assistant message behind the messages `before` it, laid out as ToolkenChat's `messages.render` does.

    Up to a call at the end of `text` the ids are those that the LM has seen when it makes that call. Nothing stands
    behind such a call, since there the LM no longer chooses; behind a text without one stands the template's end of
    turn. `ends` count in `text`. Only `text` is supervised.

    reinjection: how the results in `before` stand; None: "turn" in chat style, as chat LMs are trained, and "inline" in
        completion style, which has no turns.

    Raises:
        ValueError: as `messages.render`; or the tokenizer has no offsets to give.
    """
    layout = PromptFormat(style, reinjection or ("turn" if style == "chat" else "inline"))
    turns = turns_of([*before, AIMessage(text)], layout.reinjection)
    answer = turns[-1].text  # what stands open before the text (inline, results included) belongs to it
    already = len(answer) - len(text)
    closed = len(text) not in calls_starts
    if style == "completion":
        whole = completion_text(turns)
        bos = bos_ids(tokenizer)
        pieces = encode_with_ends(tokenizer, whole, continued=False, offsets=True)
        ids = [*bos, *(index for index, _ in pieces)]
        ends: list[int | None] = [*(None for _ in bos), *(end - len(whole) + len(text) for _, end in pieces)]
        text_start = len(bos)
    elif answer or closed:
        chat = encode_answered_chat(tokenizer, turns[:-1], answer)
        after = chat.after if closed else ()
        ids = [*chat.before, *(index for index, _ in chat.answer), *after]
        ends = [*(None for _ in chat.before), *(end - already for _, end in chat.answer), *(None for _ in after)]
        text_start = len(chat.before)
    else:
        ids = encode_chat(tokenizer, turns)
        ends = [None] * len(ids)
        text_start = len(ids)
    # A new answer begins at the prompt's end: the space in front of it is the LM's own (`templates.answer_lead`).
    beginning = -1 if text and not already else 0
    first = _last_ending_at(ends, text_start, beginning)
    calls = tuple(_last_ending_at(ends, text_start, start or beginning) for start in calls_starts)
    return RenderedDemonstration(tuple(ids), tuple(ends), calls, first)


def _last_ending_at(ends: Sequence[int | None], text_start: int, character: int) -> int:
    """Index of the last token that ends at or before `character`, else of the one in front of the text; at least 0."""
    position = text_start - 1
    for index in range(text_start, len(ends)):
        end = ends[index]
        if end is None or end > character:
            break
        position = index
    return max(position, 0)
