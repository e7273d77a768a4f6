"""The state of an agent's graph, what a run's steps and endings are, and the schemas that middleware adds to it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Annotated, Any, Literal, NotRequired, get_args, get_origin, get_type_hints

from langchain.agents.middleware.types import JumpTo, OmitFromInput, OmitFromSchema, PrivateStateAttr
from langchain_core.messages import AnyMessage
from langgraph.channels.ephemeral_value import EphemeralValue
from langgraph.graph.message import add_messages
from typing_extensions import TypedDict

Ending = Literal[
    "answered",
    "length",
    "max_calls",
    "token_budget",
    "context_length",
    "invalid_arguments",
    "invalid_response",
    "not_approved",
    "tool_failed",
    "return_direct",
    "middleware",
]
"""Why a run ended: the answer is complete; it was cut off at `max_tokens`; or what its last step says."""


class RunnerUp(TypedDict):
    """A tool that could have been called instead, as in a message's `response_metadata["toolken"]`."""

    name: str
    probability: float


class Step(TypedDict):
    """One thing that happened in a run. Its kind determines which fields it has.

    Attributes:
        kind: The step. "stop" means that the run ended early.
        text: reason: what the LM wrote. complete: what is wrong with the arguments of one of several calls, which is
            not made. reinject: the sentence with the result in it. respond: the structured answer as JSON. stop: why
            the run ended.
        tool: reason, complete, execute: the tool that is called.
        probability: reason: the tool's probability, if a toolken fired. complete: the same, of each call where one
            answer makes several.
        runners_up: reason: the next likeliest tools and their probabilities, if a toolken fired.
        arguments: complete, execute: the call's arguments.
        result: execute: what the tool returned.
        failed: execute: whether the tool raised an error. complete: whether the arguments are no valid ones.
    """

    kind: Literal["reason", "complete", "execute", "reinject", "respond", "stop"]
    text: NotRequired[str]
    tool: NotRequired[str]
    probability: NotRequired[float]
    runners_up: NotRequired[list[RunnerUp]]
    arguments: NotRequired[dict[str, Any]]
    result: NotRequired[str]
    failed: NotRequired[bool]


class ToolkenAgentState(TypedDict):
    """The state of the agent's graph: messages and plain JSON types, so any checkpointer can store it.

    The input has `messages` and what an extension adds; the rest is what a run leaves.

    Attributes:
        messages: The history.
        text: The assistant's whole text since the last user message, with results in place.
        steps: What happened, over all runs of a thread.
        reasoning: What the reason node passes to the complete node.
        ending: Why the last run ended; None while one goes on, and where a Command left the graph.
        structured_response: The answer in the form of `response_format`, as `create_agent` has it.
        jump_to: Where middleware wants the run to go on.
    """

    messages: Annotated[list[AnyMessage], add_messages]
    text: NotRequired[Annotated[str, OmitFromInput]]
    steps: NotRequired[Annotated[list[Step], OmitFromInput, operator.add]]
    reasoning: NotRequired[Annotated[dict[str, Any] | None, OmitFromInput]]
    ending: NotRequired[Annotated[Ending | None, OmitFromInput]]
    structured_response: NotRequired[Annotated[Any, OmitFromInput]]
    jump_to: NotRequired[Annotated[JumpTo | None, EphemeralValue, PrivateStateAttr]]


def merged(name: str, schemas: Sequence[type], omitted_from: Literal["input", "output"] | None = None) -> type:
    """Merge state schemas into one; the last that has a key determines its type.

    Args:
        name: The merged schema's name.
        schemas: TypedDicts.
        omitted_from: Leave out the keys that are marked so, by LangChain's `OmitFromSchema`.
    """
    keys: dict[str, Any] = {}
    for schema in schemas:
        keys.update(get_type_hints(schema, include_extras=True))
    kept = {key: kind for key, kind in keys.items() if omitted_from is None or not _is_omitted(kind, omitted_from)}
    return TypedDict(name, kept)  # type: ignore[operator,no-any-return]


def _is_omitted(kind: Any, omitted_from: str) -> bool:
    while get_origin(kind) is NotRequired:
        kind = get_args(kind)[0]
    marks = [mark for mark in getattr(kind, "__metadata__", ()) if isinstance(mark, OmitFromSchema)]
    return any(getattr(mark, omitted_from) for mark in marks)
