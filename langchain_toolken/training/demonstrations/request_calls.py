"""Texts whose question wants a call, as requests that are answered by that call at once.

A text "Q: … A: The number left is 5572 mod 3241=2331" teaches a call inside of an answer, which the LM makes only if it
words its answer so. It also says that its question wants remainder(5572, 3241), however the answer is worded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from string import digits
from typing import Literal

from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage

from langchain_toolken.prompts.format import ANSWER, Reinjection
from langchain_toolken.prompts.requests import question_of
from langchain_toolken.training.demonstrations.demonstration import Demonstration, result_end
from langchain_toolken.training.demonstrations.load import LoadedDemonstrations

CallsFrom = Literal["answer", "request"]
"""Where the calls of texts are learned: inside the answer, or right after the question."""

LEAST = 40
"""With fewer texts of a question and a call none is held out: too few would be left to fit on."""

# Beginnings of another sentence, of an aside and of a calculation, and the share of demonstrations that may have them.
_SENTENCES = ("\n", ". ", "! ", "? ", ": ", "; ", ", ")
_ENDINGS = (*_SENTENCES, *(space + sign for sign in "(=*×+/^" for space in (" ", "")), " - ")
_RARE = 0.01
# Of fewer texts nothing can be said; of a few more, what none of them has.
_LEAST_RESTS = 10
# A number that an LM writes after a result was not calculated, and would pass for the answer.
_RARE_NUMBERS = 0.05


@dataclass(frozen=True)
class PlaceChoice:
    """Where calls are learned, and what that was decided on.

    Attributes:
        chosen: The place.
        questions: How many questions the LM answered; 0 if nothing was tried. They were held out, unless there were
            fewer than `LEAST` texts.
        answer: Share of these whose first call is of the right tool, from inside the answer.
        request: From the request, the share of the held-out calls with the right tool and the right arguments; None if
            it was not tried.
        shown: How many worked answers are put before a question.
        worked: As `answer`, after worked answers; None if that was not tried.
    """

    chosen: CallsFrom
    questions: int = 0
    answer: float | None = None
    request: float | None = None
    shown: int = 0
    worked: float | None = None

    def __str__(self) -> str:
        if self.answer is None:
            return f"{self.chosen} (not tried)"
        place = f"{self.chosen}, after {self.shown} worked answers" if self.shown else self.chosen
        tried = [f"right tool from inside the answer: {self.answer:.2f} of {self.questions}"]
        tried += [] if self.worked is None else [f"after worked answers: {self.worked:.2f}"]
        tried += [] if self.request is None else [f"right call from the request: {self.request:.2f}"]
        return f"{place} ({'; '.join(tried)})"


def called_from(
    place: CallsFrom, loaded: LoadedDemonstrations, reinjection: Reinjection | None = "inline"
) -> LoadedDemonstrations:
    """Return the demonstrations with their calls in this place.

    From requests, the first call of each text comes right after its question. What the text says after that call's
    result becomes a demonstration of its own, with any further calls where they are in it: these need the results
    before them, which the question does not tell. Message histories, and texts without a question, are returned as they
    are.

    Args:
        place: The place.
        loaded: The demonstrations.
        reinjection: Where results are; in a turn of their own, the answer after it begins with the result.
    """
    if place == "answer":
        return loaded
    made = tuple(one for given in loaded.demonstrations for one in _called_at_once(given, reinjection))
    return replace(loaded, demonstrations=made)


def endings(demonstrations: Iterable[Demonstration]) -> tuple[str, ...]:
    """Return what ends an answer after a result: what (nearly) no demonstration has there.

    Args:
        demonstrations: Demonstrations that `called_from` returned.
    """
    rests = [one.text for one in demonstrations if one.before and isinstance(one.before[-1], ToolMessage)]
    if len(rests) < _LEAST_RESTS:
        return ()
    ends = tuple(end for end in _ENDINGS if sum(end in rest for rest in rests) <= _RARE * len(rests))
    with_number = sum(any(digit in rest for digit in digits) for rest in rests)
    return (
        (*ends, *(space + digit for digit in digits for space in (" ", "")))
        if with_number <= _RARE_NUMBERS * len(rests)
        else ends
    )


def _called_at_once(demonstration: Demonstration, reinjection: Reinjection | None) -> Iterator[Demonstration]:
    question = question_of(demonstration.text)
    if demonstration.before or question is None:
        yield demonstration
        return
    asked = HumanMessage(demonstration.text[slice(*question)])
    if not demonstration.calls:
        answer = demonstration.text[question[1] + len(ANSWER) :].strip()
        yield demonstration.model_copy(update={"text": answer, "before": (asked,)})
        return
    first = demonstration.calls[0]
    at_once = first.model_copy(update={"start": 0, "result": None})
    yield demonstration.model_copy(update={"text": "", "calls": (at_once,), "before": (asked,)})
    end = result_end(demonstration.text, first)
    if end is None or not first.result or not first.result.strip():
        return
    result = first.result.strip()
    end -= len(result) if reinjection == "turn" else 0
    later = tuple(call.model_copy(update={"start": call.start - end}) for call in demonstration.calls[1:])
    if all(call.start >= 0 for call in later):
        made = ToolCall(name=first.tool, args=first.args if isinstance(first.args, dict) else {}, id="1")
        answered = (asked, AIMessage("", tool_calls=[made]), ToolMessage(result, tool_call_id="1"))
        rest = demonstration.text[end:].rstrip()
        yield demonstration.model_copy(update={"text": rest, "calls": later, "before": answered})
