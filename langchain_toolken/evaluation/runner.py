"""Ask questions of an agent with toolkens and of the same LM without tools, and grade the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool

from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.evaluation.graders import final_number, same_call, same_number
from langchain_toolken.evaluation.questions import ExpectedCall, Question
from langchain_toolken.progress import Progress
from langchain_toolken.tools.spec import ToolSpec, tool_specs

Error = Literal["no call", "wrong tool", "wrong arguments", "later step", "right result, wrong answer"]
"""Why a final answer is wrong: the first that holds, except that a call with the right result counts before all else.

- "no call": the agent called nothing.
- "wrong tool": its first call is of no tool that the question needs.
- "wrong arguments": its first call is none of the calls that the question needs.
- "later step": its first call is right, and no call has the right result.
- "right result, wrong answer": the right number came out of a call, and another one stands in the answer.
"""


@dataclass(frozen=True)
class MadeCall:
    """A call that the agent made, and its result; None if the arguments were cut off."""

    tool: str
    arguments: dict[str, Any]
    result: str | None


@dataclass(frozen=True)
class Graded:
    """One graded question. `plain_*` belong to the same LM without tools, the others to the agent.

    Attributes:
        question: The question.
        text: The agent's answer, with results in place.
        right_tool: Whether the first call is of the first expected tool.
        right_arguments: Whether the first call is the first expected call.
        right: Whether the answer is right.
        calls: The agent's calls, in order.
        error: Why the answer is wrong; None if it is right.
        plain_text: The answer without tools.
        plain_right: Whether that one is right.
    """

    question: Question
    text: str
    right_tool: bool
    right_arguments: bool
    right: bool
    calls: tuple[MadeCall, ...]
    error: Error | None
    plain_text: str
    plain_right: bool


@dataclass(frozen=True)
class Summary:
    """Shares of all graded questions, from 0 to 1.

    Attributes:
        questions: Number of questions.
        right_tool: The first call was of the expected tool.
        right_arguments: The first call also had exactly the expected numbers.
        right: The final answer was right.
        plain_right: The answer of the same LM without tools was right.
        harmed: The answer was right without tools and wrong with them.
    """

    questions: int
    right_tool: float
    right_arguments: float
    right: float
    plain_right: float
    harmed: float

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def grade(
    llm: ToolkenChat,
    tools: Sequence[BaseTool],
    questions: Sequence[Question],
    *,
    tolerance: str = "0",
    max_calls: int = 16,
    batch_size: int = 1,
    progress: Progress | None = None,
    what: str = "questions",
) -> list[Graded]:
    """Ask every question of an agent with `llm` and `tools`, and of `llm` alone.

    Args:
        llm: A chat model with toolkens for `tools`.
        tools: The tools that the agent runs.
        questions: The questions.
        tolerance: Relative tolerance of final answers; see `same_number`.
        max_calls: Most calls for one question.
        batch_size: Questions that are asked at a time. More than 1 is faster, and rounds differently.
        progress: Called with the number of questions done.
        what: What progress calls this work.
    """
    agent = create_toolken_agent(llm, tools, max_calls=max_calls)
    # A batch's config would put LangChain's limit of steps in place of the agent's.
    limit = (agent.config or {})["recursion_limit"]
    at_once = RunnableConfig(max_concurrency=batch_size, recursion_limit=limit)
    specs = {spec.name: spec for spec in tool_specs(tools)}
    graded: list[Graded] = []
    for start in range(0, len(questions), batch_size):
        if progress:
            progress(start, len(questions), what)
        some = questions[start : start + batch_size]
        asked: list[list[AnyMessage]] = [[HumanMessage(question.text)] for question in some]
        states = agent.batch([{"messages": messages} for messages in asked], at_once)
        plain = llm.batch(list(asked), {"max_concurrency": batch_size})
        for question, state, alone in zip(some, states, plain, strict=True):
            made = made_calls(state["messages"][1:])
            graded.append(_graded(specs, question, state["text"], made, str(alone.text), tolerance))
    if progress:
        progress(len(questions), len(questions), what)
    return graded


def made_calls(messages: Sequence[BaseMessage]) -> tuple[MadeCall, ...]:
    """Return the calls in a history with their results, in order."""
    results = {message.tool_call_id: message.text for message in messages if isinstance(message, ToolMessage)}
    calls = [call for message in messages if isinstance(message, AIMessage) for call in message.tool_calls]
    return tuple(MadeCall(call["name"], call["args"], results.get(str(call["id"]))) for call in calls)


def _graded(
    specs: Mapping[str, ToolSpec],
    question: Question,
    text: str,
    calls: tuple[MadeCall, ...],
    plain: str,
    tolerance: str,
) -> Graded:
    right = same_number(final_number(text), question.answer, tolerance)
    expected = question.calls[:1]
    return Graded(
        question=question,
        text=text,
        right_tool=any(calls[0].tool == one.tool for one in expected) if calls else False,
        right_arguments=_is_one_of(specs, calls[0], expected) if calls else False,
        right=right,
        calls=calls,
        error=None if right else _error(specs, question, calls, tolerance),
        plain_text=plain,
        plain_right=same_number(final_number(plain), question.answer, tolerance),
    )


def _error(specs: Mapping[str, ToolSpec], question: Question, calls: Sequence[MadeCall], tolerance: str) -> Error:
    if not calls:
        return "no call"
    if any(same_number(final_number(call.result or ""), question.answer, tolerance) for call in calls):
        return "right result, wrong answer"
    if all(calls[0].tool != expected.tool for expected in question.calls):
        return "wrong tool"
    return "later step" if _is_one_of(specs, calls[0], question.calls) else "wrong arguments"


def _is_one_of(specs: Mapping[str, ToolSpec], call: MadeCall, expected: Sequence[ExpectedCall]) -> bool:
    return any(same_call(specs[call.tool], call.arguments, one) for one in expected)


def summarize(graded: Sequence[Graded]) -> Summary:
    """Average over all graded questions.

    Raises:
        ValueError: If there are none.
    """
    if not graded:
        raise ValueError("no questions were graded")
    count = len(graded)
    return Summary(
        questions=count,
        right_tool=sum(g.right_tool for g in graded) / count,
        right_arguments=sum(g.right_arguments for g in graded) / count,
        right=sum(g.right for g in graded) / count,
        plain_right=sum(g.plain_right for g in graded) / count,
        harmed=sum(g.plain_right and not g.right for g in graded) / count,
    )
