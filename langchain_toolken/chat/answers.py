"""Split what an LM writes into thought and answer text, without the whitespace before it.

A thought can only open an answer; thinking tags further on are text. Toolkens may fire inside a thought, because that
is where reasoning LMs calculate. The thought then stays open and continues after the tool's result.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import BaseMessage

from langchain_toolken.decoding.engine import Reasoning
from langchain_toolken.decoding.partial_match import partial_match
from langchain_toolken.prompts.chat_templates import answer_lead
from langchain_toolken.prompts.content import encode_template_text
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import open_turn
from langchain_toolken.prompts.thoughts import OPEN_KEY, THOUGHT_KEY, ThoughtLayout, thought_layout

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Place = Literal["start", "inside", "text"]
"""Where the LM continues: at the start of an answer (a thought may open), inside a thought, or in the answer's text."""


@dataclass(frozen=True)
class Thought:
    """A piece of a thought. Pieces of the answer's text are plain strings."""

    text: str


@dataclass(frozen=True)
class Answer:
    """A generated text, split.

    Attributes:
        text: The answer's text.
        thought: The text between the thinking tags.
        thought_open: Whether the generated text ends inside the thought.
        thought_tokens: How many of the generated tokens belong to the thought, tags included. None if the LM marks no
            thoughts or its tags are not single tokens.
    """

    text: str
    thought: str = ""
    thought_open: bool = False
    thought_tokens: int | None = None

    def thought_kwargs(self) -> dict[str, Any]:
        """Return the thought as a message's `additional_kwargs`."""
        kwargs: dict[str, Any] = {THOUGHT_KEY: self.thought} if self.thought else {}
        return {**kwargs, OPEN_KEY: True} if self.thought_open else kwargs


class ThoughtSplitter:
    """Splits a text while it is generated.

    Text that may turn out to be part of a tag, or whitespace around one, is held back until that is known.

    Args:
        layout: How the LM marks thoughts.
        place: Where in the answer the text begins.
    """

    def __init__(self, layout: ThoughtLayout, place: Place) -> None:
        self._layout = layout
        self._place: Literal["start", "lead", "inside", "gap", "text"] = place
        self._held = ""

    @property
    def inside(self) -> bool:
        """Whether the text so far ends inside the thought."""
        return self._place in ("lead", "inside")

    def push(self, piece: str) -> list[str | Thought]:
        """Add a piece of text and return the parts that are now certain."""
        self._held += piece
        return [part for part in self._parts() if part not in ("", Thought(""))]

    def finish(self) -> list[str | Thought]:
        """Return what was held back; call it after the last piece."""
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
                certain = len(self._held) - partial_match(self._held, (layout.tail + layout.close, layout.close))
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
    """Where in an answer the LM continues.

    Attributes:
        lead: The whitespace to remove from the start of the generated text; "" if there is none.
        layout: How the LM marks thoughts; None if it does not.
        place: Whether it continues at the start, inside a thought, or in the text.
    """

    lead: str
    layout: ThoughtLayout | None
    place: Place


def beginning(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[BaseMessage], prompt_format: PromptFormat
) -> Beginning:
    """Return where the LM continues from the prompt for `messages`."""
    layout = thought_layout(tokenizer) if prompt_format.style == "chat" else None
    turn = open_turn(messages, prompt_format.reinjection)
    if turn is not None and layout is not None and turn.thought_open:
        return Beginning("", layout, "inside")
    if turn is not None and (turn.text or (turn.thought and layout is not None)):
        return Beginning("", layout, "text")
    opened = layout is not None and layout.opened and len(messages) > (turn is not None)
    return Beginning(answer_lead(tokenizer, prompt_format), layout, "inside" if opened else "start")


def answer_of(text: str, begun: Beginning) -> Answer:
    """Remove the lead from `text` and split it into thought and answer."""
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
    """Do what `answer_of` does, piece by piece. The last item is the Reasoning."""
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
    """Return `answer` with the thought's number of tokens, if it can be counted."""
    if layout is None:
        return answer
    added = tokenizer.get_added_vocab()
    opening, closing = added.get(layout.open), added.get(layout.close)
    if answer.thought_open:
        return replace(answer, thought_tokens=len(token_ids))
    if closing is None:
        return answer
    # The first closing tag ends the thought. Without a thought there is nothing to count.
    thinking = answer.thought or (opening is not None and opening in token_ids[:2])
    count = list(token_ids).index(closing) + 1 if thinking and closing in token_ids else 0
    return replace(answer, thought_tokens=count)


def closing_ids(tokenizer: PreTrainedTokenizerBase, begun: Beginning) -> list[int]:
    """Return the tokens that close the thought left open by a prompt; [] if none is open.

    An answer in a schema's form must follow at once, so an open thought is closed first.
    """
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
