"""What the client asks of the plugin in a vLLM server, and how an answer's last token says how it ended.

A task travels as JSON in vLLM's extra arguments of a request (`vllm_xargs`). vLLM's answers have token ids and
log-probabilities and nothing else, so a row ends with a token of its own, the end of the text, whose
"log-probabilities" are not the LM's but a `Report`: a status, and the tools with their probabilities. A server without
the plugin can't make one, so every answer also shows that the plugin was there. Loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from langchain_toolken.decoding.copy_source import CopySource
from langchain_toolken.decoding.engine import Sampling
from langchain_toolken.prompts.requests import Request
from langchain_toolken.tools.spec import ToolSpec

VERSION = 2
"""Of all that is in this file. A plugin of another version refuses the task."""

XARG = "toolken"
"""The name of the extra argument."""

REPORTED = 5
"""Tools that the report of an answer names: the one that fired and four runners-up."""

_SURE = 1e-6  # what is left for the status where the tools have all of the probability
_NOT_LISTED = -1_000.0  # vLLM reports log-probabilities of minus infinity as −9999


class Status(IntEnum):
    """How a row ended. The values are ids of words, which no other entry of a report can be.

    Not among the first: a tokenizer's special tokens are often there.
    """

    DONE = 128
    UNREAD = 129
    """The hidden states that the row needs were not computed: vLLM had the tokens in its cache."""
    OTHER_TOOLKENS = 130
    """The server has other toolkens than the client."""
    FAILED = 131
    """An error; the server's log has it."""


class Task(BaseModel):
    """What all tasks have."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Hello(Task):
    """Is the plugin there, and has it these toolkens?"""

    kind: Literal["hello"] = "hello"


class Reason(Task):
    """Decode as `Engine.reason` does. The fields are those of `DecodingRequest`.

    Attributes:
        sampling: How tokens are chosen.
        toolkens: Whether toolkens may fire.
        active: Which, as `mask_text` writes it; None for all.
        request: What the user asked, for toolkens with evidence.
        shown: Whether the log-probabilities of the answer's tokens are asked for.
    """

    kind: Literal["reason"] = "reason"
    sampling: Sampling
    toolkens: bool
    active: str | None = None
    stop: tuple[str, ...] = ()
    after_result: bool = False
    markers: frozenset[int] = frozenset()
    must_call: bool = False
    begun: int | None = None
    must_write: bool = False
    calls_first: bool = False
    request: Request | None = None
    shown: bool = False


class Rank(Task):
    """Rank the toolkens after the prompt, as `Engine.rank` does."""

    kind: Literal["rank"] = "rank"
    active: str | None = None
    request: Request | None = None


class Read(Task):
    """Keep the hidden states of the prompt's tokens for a `Complete` with this number.

    Attributes:
        reading: The number.
        lead: How many tokens at the beginning are not kept.
    """

    kind: Literal["read"] = "read"
    reading: str
    lead: int


class Copying(Task):
    """What arguments are likely copied from: a `CopySource` whose slots the server has.

    Attributes:
        text: The text.
        nats: For each parameter, what is added to the logits of tokens that continue a span of the text.
        choices: For each parameter of fixed choices, what is added to the logits of each.
        slots: The tool whose slots are used; None for none.
        reading: The number of the `Read` of the text.
    """

    text: str
    nats: dict[str, float]
    choices: dict[str, dict[str, float]] = {}
    slots: str | None = None
    reading: str | None = None

    @classmethod
    def of(cls, source: CopySource, *, slots: str | None = None, reading: str | None = None) -> Self:
        """Describe a source to the server."""
        choices = {name: dict(each) for name, each in source.choices.items()}
        return cls(text=source.text, nats=dict(source.nats), choices=choices, slots=slots, reading=reading)


class Complete(Task):
    """Decode a tool's arguments as `Engine.complete` does."""

    kind: Literal["complete"] = "complete"
    spec: ToolSpec
    max_tokens: int
    copying: Copying | None = None


class Chat(Task):
    """Answer a request of vLLM's own chat API, with a call at the end where a tool fires.

    The answer's tokens are the text and, for a call, the toolken, the tool's card (which the LM reads, and the tool
    parser drops), the toolken again, and the arguments.

    Attributes:
        sampling: How tokens of the text are chosen.
        tools: The request's tools.
        choice: "auto", "required", or the tool that has to be called.
        asked: The text of the last user message.
        answered: Whether anything has been said since.
    """

    kind: Literal["chat"] = "chat"
    sampling: Sampling
    tools: tuple[ToolSpec, ...]
    choice: str = "auto"
    asked: str = ""
    answered: bool = False


class Asked(BaseModel):
    """The JSON of the extra argument.

    Attributes:
        version: `VERSION` of the client.
        toolkens: The fingerprint of the client's toolken set; None where the task needs no toolkens.
        uid: The row's name, unlike that of all others.
        task: What is wanted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: int = VERSION
    toolkens: str | None = None
    uid: str
    task: Annotated[Hello | Reason | Rank | Read | Complete | Chat, Field(discriminator="kind")]


@dataclass(frozen=True)
class Report:
    """How a row ended.

    Attributes:
        status: Whether it worked.
        tools: Toolkens by their number in the set, with their probabilities.
    """

    status: Status
    tools: tuple[tuple[int, float], ...] = ()

    def logits(self, words: int) -> dict[int, float]:
        """Return what stands for the report: log-probabilities by token id, which sum to a probability of 1.

        Args:
            words: How many words there are; toolken k has the id words + k.
        """
        rest = max(_SURE, 1.0 - sum(probability for _, probability in self.tools))
        found = {int(self.status): math.log(rest)}
        for number, probability in self.tools:
            found[words + number] = math.log(max(probability, 1e-30))
        return found

    @classmethod
    def of_logprobs(cls, logprobs: Mapping[int, float], words: int) -> Report | None:
        """Read a report from an end token's log-probabilities by token id; None if there is none."""
        listed = {index: value for index, value in logprobs.items() if value > _NOT_LISTED}
        statuses = [Status(index) for index in listed if index in Status.__members__.values()]
        if len(statuses) != 1 or any(index < words and index not in statuses for index in listed):
            return None
        tools = sorted(((i - words, math.exp(v)) for i, v in listed.items() if i >= words), key=lambda each: -each[1])
        return cls(statuses[0], tuple(tools))


def mask_text(active: Collection[str] | None, names: Sequence[str]) -> str | None:
    """Write which of `names` are active, a bit for each; None for all."""
    if active is None:
        return None
    return f"{sum(1 << number for number, name in enumerate(names) if name in active):x}"


def mask_of(text: str | None, tools: int) -> list[bool] | None:
    """Read what `mask_text` wrote."""
    if text is None:
        return None
    bits = int(text, 16)
    return [bool(bits >> number & 1) for number in range(tools)]
