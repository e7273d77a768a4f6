"""The demo itself. It is apart from the command because it imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.rule import Rule
from rich.table import Table

from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.cli.agent_steps import show_run
from langchain_toolken.cli.progress_bars import progress_bars
from langchain_toolken.cli.terminal import shown, table
from langchain_toolken.decoding.local.shared import shared_engine
from langchain_toolken.evaluation.graders import final_number, same_number
from langchain_toolken.evaluation.nano_demonstrations import nano_demonstrations
from langchain_toolken.evaluation.questions import Question, nano_questions
from langchain_toolken.tools.load import load_tools
from langchain_toolken.training.fit import fit
from langchain_toolken.training.result import FitResult

TOOLS = "langchain_toolken.nano.tools"


class Outcome(BaseModel):
    """One question of the demo, with the answers of the LM with toolkens and without tools."""

    model_config = ConfigDict(frozen=True)

    question: str
    answer: str
    with_toolkens: str
    with_toolkens_right: bool
    without_tools: str
    without_tools_right: bool


def run_demo(console: Console, *, questions: int, per_tool: int, seed: int) -> list[Outcome]:
    """Run the demo and print it as it happens.

    Args:
        console: Where to print.
        questions: Number of word problems to ask, at most 100.
        per_tool: Number of demonstrations per tool; see `nano_demonstrations`.
        seed: Seed of the demonstrations and the questions.
    """
    tools = load_tools(TOOLS)
    console.print(Rule("1  Tools"))
    console.print(f"{len(tools)} @tool functions from {TOOLS}: " + ", ".join(tool.name for tool in tools))
    console.print(Rule("2  Fit toolkens"))
    fitted = _fit(console, tools, per_tool, seed)
    console.print(Rule("3  Ask"))
    console.print("The names and number ranges never occur in the LM's pre-training text.")
    pool = nano_questions(100, "numbers", seed)
    asked = Random(seed).sample(pool, min(questions, len(pool)))
    outcomes = _ask(console, fitted, tools, asked)
    console.print(Rule("4  With toolkens, and the same LM without tools"))
    console.print(_table(outcomes))
    return outcomes


def _fit(console: Console, tools: Sequence[BaseTool], per_tool: int, seed: int) -> FitResult:
    made = nano_demonstrations(per_tool, seed)
    console.print(f"{len(made)} worked word problems as demonstrations, for example:")
    console.print(shown(made[0].text, style="dim"))
    lm = shared_engine("nano").lm  # loaded before our bars start: transformers draws its own
    with progress_bars(console) as progress:
        result = fit(lm, tools, made, progress=progress)
    console.print(
        f"{result.lm_passes} LM pass {result.pass_seconds:.1f} s, solve {result.solve_seconds:.1f} s: "
        f"{len(result.toolkens)} toolkens of {result.toolkens.hidden_size} numbers. No prompt mentions a tool."
    )
    return result


def _ask(
    console: Console, fitted: FitResult, tools: Sequence[BaseTool], questions: Sequence[Question]
) -> list[Outcome]:
    llm = ToolkenChat(model="nano", toolkens=fitted.toolkens)
    agent = create_toolken_agent(llm, tools)
    outcomes = []
    for question in questions:
        console.print(shown(f"\nQ: {question.text}", style="bold"))
        state: dict[str, Any] = show_run(agent, [HumanMessage(question.text)], console)
        plain = str(llm.invoke([HumanMessage(question.text)]).text)
        given, plainly = final_number(state["text"]), final_number(plain)
        outcomes.append(
            Outcome(
                question=question.text,
                answer=question.answer,
                with_toolkens=_number(given),
                with_toolkens_right=same_number(given, question.answer),
                without_tools=_number(plainly),
                without_tools_right=same_number(plainly, question.answer),
            )
        )
    return outcomes


def _number(number: object) -> str:
    return "no number" if number is None else f"{number}"


def _table(outcomes: Sequence[Outcome]) -> Table:
    listed = table("question", "answer", "with toolkens", "without tools", show_lines=True)
    for outcome in outcomes:
        cells = [
            shown(f"{'✔' if right else '✘'} {said}", style="green" if right else "red")
            for said, right in (
                (outcome.with_toolkens, outcome.with_toolkens_right),
                (outcome.without_tools, outcome.without_tools_right),
            )
        ]
        listed.add_row(shown(outcome.question), outcome.answer, *cells)
    total = len(outcomes)
    listed.add_row(
        shown("right in the end", style="bold"),
        "",
        f"{sum(outcome.with_toolkens_right for outcome in outcomes)} of {total}",
        f"{sum(outcome.without_tools_right for outcome in outcomes)} of {total}",
    )
    return listed
