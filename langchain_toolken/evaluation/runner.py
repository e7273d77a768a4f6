"""Ask questions of an agent with toolkens and of the same LM without tools, and grade the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool

from langchain_toolken.agents import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.evaluation.graders import final_number, same_call, same_number
from langchain_toolken.evaluation.questions import Question
from langchain_toolken.progress import Progress
from langchain_toolken.tools.spec import tool_specs


@dataclass(frozen=True)
class Graded:
    """One graded question. `plain_*` belong to the same LM without tools, the others to the agent."""

    question: Question
    text: str
    right_tool: bool
    right_arguments: bool
    right: bool
    calls: int
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
    progress: Progress | None = None,
    what: str = "questions",
) -> list[Graded]:
    """Ask every question of an agent with `llm` and `tools`, and of `llm` alone.

    Args:
        llm: A chat model with toolkens for `tools`.
        tools: The tools that the agent runs.
        questions: The questions.
        tolerance: Relative tolerance of final answers; see `same_number`.
        progress: Called with the number of questions done.
        what: What progress calls this work.
    """
    agent = create_toolken_agent(llm, tools)
    specs = {spec.name: spec for spec in tool_specs(tools)}
    graded = []
    for number, question in enumerate(questions):
        if progress:
            progress(number, len(questions), what)
        state = agent.invoke({"messages": [HumanMessage(question.text)]})
        calls = [call for message in state["messages"] for call in getattr(message, "tool_calls", [])]
        first = calls[0] if calls else None
        expected = question.calls[0]
        plain = str(llm.invoke([HumanMessage(question.text)]).text)
        graded.append(
            Graded(
                question=question,
                text=state["text"],
                right_tool=first is not None and first["name"] == expected.tool,
                right_arguments=first is not None and same_call(specs[first["name"]], first["args"], expected),
                right=same_number(final_number(state["text"]), question.answer, tolerance),
                calls=len(calls),
                plain_text=plain,
                plain_right=same_number(final_number(plain), question.answer, tolerance),
            )
        )
    if progress:
        progress(len(questions), len(questions), what)
    return graded


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
