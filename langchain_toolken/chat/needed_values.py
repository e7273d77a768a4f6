"""A tool that needs values which the request lacks gives way to a likely one that has all of its values there.

"The temperature in Lisbon right now" has a city for `weather`, and no degrees for `set_thermostat`, whatever its words
are like. Slots (`toolkens.slots`) tell both.
"""

from __future__ import annotations

from dataclasses import replace

from langchain_toolken.decoding.engine import Candidate, Reasoning
from langchain_toolken.decoding.parts import Values

# SmolLM2, 60 requests for twelve everyday tools, in nats of the value that a tool's slots are least sure of: the right
# tool has 1.5 or more for all but one of them; where another was likeliest it had 0.6, and the right one 5.6. It had a
# thousandth of the other's probability; tools that happened to have all of theirs less than a millionth.
_LACKS = 1.0
_HAS = 2.5
_LIKELY = 1e-4


def with_needed_values(values: Values, request: str, reasoning: Reasoning) -> Reasoning:
    """Return a reasoning whose call has its values in the request, if its own has not and that of a runner-up has.

    Args:
        values: Reads the request.
        request: What was asked.
        reasoning: A call of a toolken.
    """
    trigger = reasoning.trigger
    if trigger is None or _least_sure(values, trigger, request) > _LACKS:
        return reasoning
    for other in reasoning.runners_up:
        likely = other.probability >= _LIKELY * trigger.probability
        if likely and _HAS < _least_sure(values, other, request) < float("inf"):
            rest = [each for each in reasoning.runners_up if each is not other]
            return replace(reasoning, trigger=other, runners_up=(trigger, *rest))
    return reasoning


def _least_sure(values: Values, tool: Candidate, request: str) -> float:
    """Return how sure the least sure of the values is that the tool needs; infinity where slots can't tell."""
    return values.least_sure(tool.tool, values.of(tool.tool, request))
