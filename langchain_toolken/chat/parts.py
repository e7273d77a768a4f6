"""Several requests in one message: which parts of it ask for a call each, so that one answer can make the calls.

A message is parted at ends of sentences and at "and", "then" and "also". Each part is ranked as a message of its own,
by the same toolkens and gate that decide about single requests. Parts become calls only if

- at least two of them each ask for a call by the gate's own operating point, and for different tools;
- these tools are the likeliest ones of the whole message too, in any order.

A part that asks for none belongs to the one before it. Two calls of one tool are not told apart: "milk and eggs" is one
list far more often than two calls.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from langchain_toolken.decoding.engine import Candidate, Reasoning

_MOST_PARTS = 5
"""A trigger names four runners-up, so no more tools can be the likeliest ones of the whole message."""

_JOINING = r"(?:(?:and|then|also)\b[\s,]*)"
_SEPARATOR = re.compile(
    rf"(?:(?<=[.!?;])\s+|(?<=[。！？；])\s*){_JOINING}*|[\s,]+{_JOINING}+",
    re.IGNORECASE,
)
_WORD = re.compile(r"\w")


@dataclass(frozen=True)
class PartCall:
    """A part of a message and the tool that it asks for.

    Attributes:
        text: The part.
        tool: The tool, with its probability for that part alone.
    """

    text: str
    tool: Candidate


def parts_of(message: str) -> list[str]:
    """Part a message; a single part if nothing in it says that there are more, or if there are too many."""
    parts = [part.strip() for part in _SEPARATOR.split(message) if _WORD.search(part)]
    return parts if 1 < len(parts) <= _MOST_PARTS else [message]


def calls_of(
    parts: Sequence[str], rankings: Sequence[Sequence[Candidate]], whole: Reasoning, threshold: float
) -> list[PartCall]:
    """Choose the calls that parts of a message ask for.

    Args:
        parts: From `parts_of`, in order.
        rankings: The tools of each part, likeliest first, with their probabilities over words and tools.
        whole: What the LM decided for the whole message: a call, with its runners-up.
        threshold: The log odds of a call above which a part asks for one.

    Returns:
        At least two calls of different tools, in the parts' order; or none, where the message is one request.
    """
    found: list[PartCall] = []
    before: list[str] = []
    for text, ranking in zip(parts, rankings, strict=True):
        asks = bool(ranking) and _log_odds(math.fsum(each.probability for each in ranking)) > threshold
        if asks and (not found or ranking[0].tool != found[-1].tool.tool):
            found.append(PartCall(" ".join([*before, text]), ranking[0]))
            before = []
        elif found:
            found[-1] = PartCall(f"{found[-1].text} {text}", found[-1].tool)
        else:
            before.append(text)
    tools = {each.tool.tool for each in found}
    likeliest = [] if whole.trigger is None else [whole.trigger.tool, *(each.tool for each in whole.runners_up)]
    several = len(found) > 1 and len(tools) == len(found) and tools == set(likeliest[: len(found)])
    return found if several else []


def _log_odds(probability: float) -> float:
    if probability >= 1:
        return math.inf
    return math.log(probability) - math.log1p(-probability) if probability > 0 else -math.inf
