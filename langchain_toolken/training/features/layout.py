"""Lay out a demonstration as token ids, exactly as ToolkenChat will, and find the positions of its calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, BaseMessage

from langchain_toolken.prompts.chat_templates import encode_answered_chat, encode_chat
from langchain_toolken.prompts.content import bos_ids, encode_with_ends
from langchain_toolken.prompts.format import ANSWER, PromptFormat, Reinjection, Style
from langchain_toolken.prompts.messages import completion_text
from langchain_toolken.prompts.quoting import label_reading
from langchain_toolken.prompts.requests import question_of, request_of, tokens_between
from langchain_toolken.prompts.turns import Turn, turns_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class RenderedDemonstration:
    """One demonstration as the LM sees it.

    Attributes:
        ids: Token ids, including the bos and the chat template's.
        ends: For each token, the character offset in the demonstration's text at which it ends; None for the bos and
            the template's tokens.
        call_positions: For each call, the index of the last token that ends at or before the call's start (the position
            whose next token is the toolken); None if the call is outside the supervised part.
        first_supervised: Index of the first position whose next token belongs to the answer.
        request: Where the request's tokens start and stop (`prompts.requests`). Of a text without a question: what is
            before its first call, or all of it.
    """

    ids: tuple[int, ...]
    ends: tuple[int | None, ...]
    call_positions: tuple[int | None, ...]
    first_supervised: int
    request: tuple[int, int]


def render_demonstration(
    tokenizer: PreTrainedTokenizerBase, text: str, calls_starts: Sequence[int], style: Style
) -> RenderedDemonstration:
    r"""Lay out a text as `prompts.messages.render` lays out the same words, and find its calls.

    "Q: …\nA: …" is split at the first "\nA:". In completion style the text is used as it is, after the bos, and
    supervised after "A:". In chat style the question becomes a user message and the answer the assistant's, followed by
    the template's end of turn, so that not calling at the end is learned too. Any other text is supervised as a whole;
    in chat style it is an assistant message without a question.

    Args:
        tokenizer: The LM's tokenizer.
        text: The demonstration's text.
        calls_starts: Character offset of each call in `text`.
        style: "completion" or "chat".

    Raises:
        ValueError: The tokenizer has no chat template (chat style) or gives no character offsets.
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
        # The space after "A:" belongs to the completion style; a template has its own (chat_templates.answer_lead).
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
    asked = question_of(text)
    if asked is None:
        request = (0, 1 + min((call for call in calls if call is not None), default=len(ids) - 1))
    elif style == "completion":
        request = tokens_between(ends, *asked)
    else:
        request = request_of(tokenizer, turns, PromptFormat("chat")).span
    return RenderedDemonstration(tuple(ids), tuple(ends), calls, first, request)


def render_answer(
    tokenizer: PreTrainedTokenizerBase,
    before: Sequence[BaseMessage],
    text: str,
    calls_starts: Sequence[int],
    style: Style,
    reinjection: Reinjection | None = None,
) -> RenderedDemonstration:
    """Lay out one assistant message after the messages `before` it, as `prompts.messages.render` does for ToolkenChat.

    Up to a call at the end of `text`, the ids are those that the LM has seen when it makes that call. Nothing follows
    such a call, because the LM no longer chooses there. A text without a call at its end is followed by the template's
    end of turn. Only `text` is supervised.

    Args:
        tokenizer: The LM's tokenizer.
        before: The messages that `text` answers.
        text: The assistant message's text. The result's `ends` are offsets in it.
        calls_starts: Character offset of each call in `text`.
        style: "completion" or "chat".
        reinjection: Where the results in `before` are. None: "turn" in chat style, as chat LMs are trained, and
            "inline" in completion style, which has no turns.

    Raises:
        ValueError: As `prompts.messages.render`, or the tokenizer gives no character offsets.
    """
    layout = PromptFormat(style, reinjection or ("turn" if style == "chat" else "inline"))
    turns = turns_of([*before, AIMessage(text)], layout.reinjection)
    answer = turns[-1].text  # inline, the last turn may also hold earlier text and results
    already = len(answer) - len(text)
    closed = len(text) not in calls_starts
    if style == "completion":
        whole = completion_text(turns, label_reading(tokenizer))
        if not whole.endswith(text):
            raise ValueError(
                "a line of the answer begins with 'Q:' or 'A:', which the completion style reads as a turn"
            )
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
    # A new answer begins at the prompt's end: the LM writes the space before it (`chat_templates.answer_lead`).
    beginning = -1 if text and not already else 0
    request = request_of(tokenizer, turns, layout).span
    first = _last_ending_at(ends, text_start, beginning)
    calls = tuple(_last_ending_at(ends, text_start, start or beginning) for start in calls_starts)
    return RenderedDemonstration(tuple(ids), tuple(ends), calls, first, request)


def _last_ending_at(ends: Sequence[int | None], text_start: int, character: int) -> int:
    """Return the index of the last token that ends at or before `character`.

    If there is none, return that of the token before the text; at least 0.
    """
    position = text_start - 1
    for index in range(text_start, len(ends)):
        end = ends[index]
        if end is None or end > character:
            break
        position = index
    return max(position, 0)
