"""What `chat.why` says of a request: plain records, for the terminal, the page and JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from langchain_toolken.prompts.call_cards import CallExample

Part = Literal["prior", "learned", "bias", "request", "description", "demonstrations", "classifier", "embeddings"]
"""What a tool's score is made of: the toolken's prior row; what training added to it; its bias; the row for the mean
state of the request; BM25 with its description and with its demonstrations; and the classifier over words."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


class ToolScore(_Record):
    """A tool at one place.

    Attributes:
        tool: Its name.
        rank: 1 for the likeliest.
        probability: How likely it is called there: p(call) · share.
        share: Its share among the tools.
        score: What the shares are the softmax of, less its mean over the tools.
        parts: What the score is the sum of, each less its mean over the tools.
    """

    tool: str
    rank: int
    probability: float
    share: float
    score: float
    parts: dict[Part, float]


class Place(_Record):
    """A place in the answer: before one of its tokens, or at its end.

    Attributes:
        text: The token that the LM wrote there; "" at the end.
        call: p(call), the probability that any tool is called.
        margin: By how many nats the decision is on the side of a call; a tool fires where it is above 0.
        tools: The likeliest tools.
    """

    text: str
    call: float
    margin: float
    tools: list[ToolScore]


class OperatingPoint(_Record):
    """Another threshold for calls.

    Attributes:
        false_calls: The share of held-out requests without a call that get one there.
        margin: The margin that a call needs then; 0 is the set's own point.
    """

    false_calls: float
    margin: float


class Explanation(_Record):
    """What an LM with toolkens does with a request.

    Attributes:
        request: The request.
        decided_by: "gate", or "toolkens" where the best toolken is compared with the best word.
        places: The places of the answer without calls, in order.
        fires: The tool that is called; None if none is.
        fires_at: The place where it is.
        looked_at: The place that the question "why" is about: where a tool fires, else where it comes nearest to that.
        points: Other operating points, those with the fewest false calls first; none where they are not known.
        prompt_tokens: Length of the prompt.
        described_tokens: Its length if it described all tools; None if the LM's chat template has no place for them.
    """

    request: str
    decided_by: Literal["gate", "toolkens"]
    places: list[Place]
    fires: str | None
    fires_at: int | None
    looked_at: int
    points: list[OperatingPoint]
    prompt_tokens: int
    described_tokens: int | None


class WhyNot(_Record):
    """Why a tool is not called at a place, and what would make it.

    Attributes:
        tool: The tool.
        place: The place.
        of: How many tools there are.
        score: The tool there.
        first: The likeliest tool there.
        gap: By how much the first tool's score is above this one's.
        margin: By how many nats the decision is on the side of a call, whichever tool it is for.
        bias: What would have to be added to the tool's bias for it to fire there; None if no bias could: a gate says
            when, or the toolkens have no weight in which.
        nearest: The tool's demonstrations that are nearest to the request.
        nearest_of_first: Those of the likeliest tool.
    """

    tool: str
    place: int
    of: int
    score: ToolScore
    first: ToolScore
    gap: float
    margin: float
    bias: float | None
    nearest: list[CallExample]
    nearest_of_first: list[CallExample]
