"""What an LM writes as an answer: without the space before it, and parted into thought and text (DESIGN §3).

A thought is one at the beginning of an answer only; tags further on are text. Toolkens may fire within a thought: it
is where reasoning LMs reckon, and the papers' calls stand in the midst of reckoning. The thought then stays open, and
goes on behind the tool's result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import BaseMessage

from langchain_toolken.decoding.engine import Reasoning
from langchain_toolken.prompts.chat_templates import answer_lead
from langchain_toolken.prompts.content import encode_template_text
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import open_turn
from langchain_toolken.prompts.thoughts import OPEN_KEY, THOUGHT_KEY, ThoughtLayout, thought_layout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Place = Literal["start", "inside", "text"]
"""Where an LM goes on: at an answer's beginning, where a thought may open; within one; in the answer's text."""


@dataclass(frozen=True)
class Thought:
    """A piece of a thought, beside which plain strings are pieces of the answer's text."""

    text: str


@dataclass(frozen=True)
class Answer:
    """What a text came to.

    thought_open: it ends within the thought. thought_tokens: how many of its tokens are the thought's, tags included;
    None where the LM marks no thoughts, or its tags are not tokens.
    """

    text: str
    thought: str = ""
    thought_open: bool = False
    thought_tokens: int | None = None

    def thought_kwargs(self) -> dict[str, Any]:
        """A message's `additional_kwargs`."""
        kwargs: dict[str, Any] = {THOUGHT_KEY: self.thought} if self.thought else {}
        return {**kwargs, OPEN_KEY: True} if self.thought_open else kwargs


class ThoughtSplitter:
    """Parts one text as it comes. What may yet turn out to be a tag, or whitespace around one, is held back."""

    def __init__(self, layout: ThoughtLayout, place: Place) -> None:
        self._layout = layout
        self._place: Literal["start", "lead", "inside", "gap", "text"] = place
        self._held = ""

    @property
    def inside(self) -> bool:
        """Whether the text so far ends within the thought."""
        return self._place in ("lead", "inside")

    def push(self, piece: str) -> list[str | Thought]:
        """Take a piece; give what is now certain."""
        self._held += piece
        return [part for part in self._parts() if part not in ("", Thought(""))]

    def finish(self) -> list[str | Thought]:
        """What was held back, when no piece follows."""
        rest, self._held = self._held, ""
        if not rest or self._place == "gap":
            return []
        return [Thought(rest)] if self.inside else [rest]

    def _parts(self) -> Iterator[str | Thought]:
        layout = self._layout
        if self._place == "start":
            begun = self._held.lstrip()
            if layout.open.startswith(begun):
                if begun != layout.open:
                    return
            elif not begun.startswith(layout.open):
                self._place = "text"
            if self._place == "start":
                self._place, self._held = "lead", begun.removeprefix(layout.open)
        if self._place == "lead":
            if layout.lead.startswith(self._held) and self._held != layout.lead:
                return
            self._place, self._held = "inside", self._held.removeprefix(layout.lead)
        if self._place == "inside":
            thought, closed, rest = self._held.partition(layout.close)
            if closed:
                yield Thought(thought.removesuffix(layout.tail))
                self._place, self._held = "gap", rest
            else:
                certain = len(self._held) - _held_back(self._held, (layout.tail + layout.close, layout.close))
                piece, self._held = self._held[:certain], self._held[certain:]
                yield Thought(piece)
        if self._place == "gap":
            self._held = self._held.lstrip()
            if self._held:
                self._place = "text"
        if self._place == "text":
            piece, self._held = self._held, ""
            yield piece


@dataclass(frozen=True)
class Beginning:
    """Where in an answer an LM goes on.

    lead: the whitespace to take off what it writes next; "" for none. layout: how it marks thoughts; None if it does
    not.
    """

    lead: str
    layout: ThoughtLayout | None
    place: Place


def beginning(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[BaseMessage], prompt_format: PromptFormat
) -> Beginning:
    """Where the LM goes on from the prompt for `messages`."""
    layout = thought_layout(tokenizer) if prompt_format.style == "chat" else None
    turn = open_turn(messages, prompt_format.reinjection)
    if turn is not None and layout is not None and turn.thought_open:
        return Beginning("", layout, "inside")
    if turn is not None and (turn.text or (turn.thought and layout is not None)):
        return Beginning("", layout, "text")
    opened = layout is not None and layout.opened and len(messages) > (turn is not None)
    return Beginning(answer_lead(tokenizer, prompt_format), layout, "inside" if opened else "start")


def answer_of(text: str, begun: Beginning) -> Answer:
    """`text` without its lead, parted into thought and answer."""
    text = text.removeprefix(begun.lead)
    if begun.layout is None:
        return Answer(text)
    splitter = ThoughtSplitter(begun.layout, begun.place)
    pieces = [*splitter.push(text), *splitter.finish()]
    return Answer(
        text="".join(piece for piece in pieces if isinstance(piece, str)),
        thought="".join(piece.text for piece in pieces if isinstance(piece, Thought)),
        thought_open=splitter.inside,
    )


def answer_pieces(pieces: Iterator[str | Reasoning], begun: Beginning) -> Iterator[str | Thought | Reasoning]:
    """`answer_of`, piece by piece, the Reasoning last."""
    bare = _without_lead(pieces, begun.lead)
    if begun.layout is None:
        yield from bare
        return
    splitter = ThoughtSplitter(begun.layout, begun.place)
    for piece in bare:
        if isinstance(piece, Reasoning):
            yield from splitter.finish()
            yield piece
        else:
            yield from splitter.push(piece)


def with_count(
    tokenizer: PreTrainedTokenizerBase, answer: Answer, layout: ThoughtLayout | None, token_ids: Sequence[int]
) -> Answer:
    """`answer` with how many of its tokens are its thought's, if that can be told."""
    if layout is None:
        return answer
    added = tokenizer.get_added_vocab()
    opening, closing = added.get(layout.open), added.get(layout.close)
    if answer.thought_open:
        return replace(answer, thought_tokens=len(token_ids))
    if closing is None:
        return answer
    # A thought is closed by the first such token; an answer without a thought has none to count.
    thinking = answer.thought or (opening is not None and opening in token_ids[:2])
    count = list(token_ids).index(closing) + 1 if thinking and closing in token_ids else 0
    return replace(answer, thought_tokens=count)


def closing_ids(tokenizer: PreTrainedTokenizerBase, begun: Beginning) -> list[int]:
    """What ends the thought that a prompt leaves open, for answers that are to come at once; [] if it leaves none."""
    if begun.layout is None or begun.place != "inside":
        return []
    return encode_template_text(tokenizer, begun.layout.end, continued=True)


def _without_lead(pieces: Iterator[str | Reasoning], lead: str) -> Iterator[str | Reasoning]:
    held, waiting = "", bool(lead)
    for piece in pieces:
        if isinstance(piece, Reasoning):
            if held and held != lead:
                yield held
            yield piece
        elif not waiting:
            yield piece
        else:
            held += piece
            if len(held) >= len(lead):
                if rest := held.removeprefix(lead):
                    yield rest
                held, waiting = "", False


def _held_back(text: str, ends: Sequence[str]) -> int:
    """Length of the longest end of `text` that one of `ends` begins with."""
    longest = 0
    for end in ends:
        for length in range(min(len(end) - 1, len(text)), longest, -1):
            if text.endswith(end[:length]):
                longest = length
                break
    return longest
