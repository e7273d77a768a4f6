"""Puts questions to an agent with toolkens and to the same LM without tools, and counts what came out right."""

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
    """One question's outcome. The first four are the agent's; `plain_*` are the same LM's without tools."""

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
    """Shares (0 to 1) over `questions` questions.

    right_tool: the expected tool fired first. right_arguments: and with exactly the expected numbers. right: the final
    answer is right. plain_right: the same LM's answer without tools is. harmed: right without tools, wrong with them.
    """

    questions: int
    right_tool: float
    right_arguments: float
    right: float
    plain_right: float
    harmed: float

    def as_dict(self) -> dict[str, float]:
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
    """Every question through an agent of `llm` and `tools`, and through `llm` alone. `tolerance`: see `same_number`."""
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
    """The shares over all graded questions. Raises ValueError where there are none."""
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
