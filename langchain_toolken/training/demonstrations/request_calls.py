"""Texts whose question wants a call, as requests that are answered by that call at once.

A text "Q: … A: The number left is 5572 mod 3241=2331" teaches a call inside of an answer, which the LM makes only if it
words its answer so. It also says that its question wants remainder(5572, 3241), however the answer is worded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from langchain_core.messages import HumanMessage

from langchain_toolken.prompts.format import ANSWER
from langchain_toolken.prompts.requests import question_of
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.demonstrations.load import LoadedDemonstrations

CallsFrom = Literal["answer", "request"]
"""Where the calls of texts are learned: inside the answer, or right after the question."""


def called_from(place: CallsFrom, loaded: LoadedDemonstrations) -> LoadedDemonstrations:
    """Return the demonstrations with their calls in this place.

    From requests, only the first call of each text is kept: those after it follow from results that the question does
    not tell. Message histories, and texts without a question, are returned as they are.
    """
    if place == "answer":
        return loaded
    return replace(loaded, demonstrations=tuple(map(_called_at_once, loaded.demonstrations)))


def _called_at_once(demonstration: Demonstration) -> Demonstration:
    question = question_of(demonstration.text)
    if demonstration.before or question is None:
        return demonstration
    asked = HumanMessage(demonstration.text[slice(*question)])
    if not demonstration.calls:
        answer = demonstration.text[question[1] + len(ANSWER) :].strip()
        return demonstration.model_copy(update={"text": answer, "before": (asked,)})
    first = demonstration.calls[0].model_copy(update={"start": 0, "result": None})
    return demonstration.model_copy(update={"text": "", "calls": (first,), "before": (asked,)})
