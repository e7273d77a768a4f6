"""Worked answers: whole demonstrations that a toolken set carries, to put before a question as the papers do.

An LM that is shown how such questions are answered words its own answer so, and only then comes to where its toolkens
were fitted to call. The nearest ones are shown, and always the same for one question, whatever has been answered since:
an agent's steps share their prompt's beginning, and its length does not grow with the number of tools.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Self

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langchain_toolken.prompts.content import encode_content
from langchain_toolken.toolkens.errors import ToolkenSetError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langchain_toolken.toolkens.lexical import LexicalMatch

MOST_KEPT = 1_000
"""Most worked answers of a set; of more, every second or third is kept, and so on."""

_LONGEST = 2_000  # characters of a question and its answer; a longer one would crowd out the others
_RARE = 0.01  # share of the answers that may have what ends an answer


class WorkedAnswer(BaseModel):
    """A question and how it is answered, with the results of its calls in place.

    Attributes:
        question: The question.
        answer: The answer.
        tools: The tools that the answer calls.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    tools: tuple[str, ...] = ()


class WorkedAnswers(BaseModel):
    """The worked answers of a set.

    Attributes:
        shown: How many are put before a question.
        answers: What they are chosen from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shown: int = Field(ge=1)
    answers: tuple[WorkedAnswer, ...] = Field(min_length=1)

    def nearest(self, question: str) -> list[WorkedAnswer]:
        """Return those that share most words with a question (BM25), the nearest last. Its own answer is left out."""
        scores = self._match.scores(question).tolist()
        order = sorted(range(len(self.answers)), key=lambda i: (-scores[i], i))
        others = (self.answers[i] for i in order if self.answers[i].question != question)
        return [one for one, _ in zip(others, range(self.shown), strict=False)][::-1]

    def before(
        self, messages: Sequence[BaseMessage], tokenizer: PreTrainedTokenizerBase, most_tokens: int
    ) -> list[BaseMessage]:
        """Put those nearest to what the user asked last before a conversation, as earlier turns of it.

        Nothing that follows the question has a say in them.

        Args:
            messages: The conversation.
            tokenizer: The LM's tokenizer.
            most_tokens: Most tokens that they may take.
        """
        asked = next((message.text for message in reversed(messages) if isinstance(message, HumanMessage)), "")
        shown: list[BaseMessage] = []
        for one in reversed(self.nearest(asked) if asked else ()):
            most_tokens -= sum(len(encode_content(tokenizer, text)) for text in (one.question, one.answer))
            if most_tokens < 0:
                break
            shown = [HumanMessage(one.question), AIMessage(one.answer), *shown]
        lead = next((i for i, message in enumerate(messages) if not isinstance(message, SystemMessage)), len(messages))
        return [*messages[:lead], *shown, *messages[lead:]]

    @cached_property
    def endings(self) -> tuple[str, ...]:
        """What ends an answer, because (nearly) none of the answers has it: a line break, or an empty line."""
        most = _RARE * len(self.answers)
        ends = (end for end in ("\n", "\n\n") if sum(end in one.answer for one in self.answers) <= most)
        return tuple(ends)[:1]

    def select(self, names: Collection[str]) -> Self | None:
        """Keep the answers that call these tools alone; None if there are none."""
        kept = tuple(one for one in self.answers if set(one.tools) <= set(names))
        if len(kept) == len(self.answers):
            return self
        return type(self)(shown=self.shown, answers=kept) if kept else None

    def merged(self, other: WorkedAnswers) -> WorkedAnswers:
        """Put the answers of two sets together. As many are shown as the set with more of them shows."""
        more = self if len(self.answers) >= len(other.answers) else other
        return WorkedAnswers(shown=more.shown, answers=kept_answers((*self.answers, *other.answers)))

    @property
    def saved(self) -> bytes:
        """The content of the file that holds them."""
        return self.model_dump_json(indent=1).encode()

    @classmethod
    def of_saved(cls, content: bytes, names: Collection[str]) -> Self:
        """Read what `saved` gave.

        Raises:
            ToolkenSetError: It is damaged, or an answer calls a tool that is not in `names`.
        """
        try:
            read = cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "the file"
            raise ToolkenSetError(f"{place}: {first['msg']}") from error
        unknown = sorted({tool for one in read.answers for tool in one.tools} - set(names))
        if unknown:
            raise ToolkenSetError(f"an answer calls {unknown[0]!r}, which has no toolken here")
        return read

    @cached_property
    def _match(self) -> LexicalMatch:
        from langchain_toolken.toolkens.lexical import LexicalMatch  # loads torch

        return LexicalMatch("demonstrations", 1.0, tuple(one.question for one in self.answers))


def kept_answers(found: Sequence[WorkedAnswer]) -> tuple[WorkedAnswer, ...]:
    """Return the answers that a set keeps: each once, none of more than a page, and `MOST_KEPT` at most."""
    fitting = [one for one in dict.fromkeys(found) if len(one.question) + len(one.answer) <= _LONGEST]
    return tuple(fitting[:: max(1, -(-len(fitting) // MOST_KEPT))])
