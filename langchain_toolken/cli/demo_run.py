"""`toolken demo`: fit toolkens on the bundled LM, watch an agent use them, compare with the same LM without tools."""

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
from rich.text import Text

from langchain_toolken.agents import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.cli.console import progress_bars, show_run
from langchain_toolken.decoding.local.shared import shared_engine
from langchain_toolken.evaluation.graders import final_number, same_number
from langchain_toolken.evaluation.questions import Question, nano_questions
from langchain_toolken.nano.problems.word_problems import OPERATIONS, Step, WordProblem, one_step, some_problem
from langchain_toolken.tools.load import load_tools
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.fit import FitResult, fit

TOOLS = "langchain_toolken.nano.tools"


class Outcome(BaseModel):
    """One question of the demo: what each of the two said, and whether it was right."""

    model_config = ConfigDict(frozen=True)

    question: str
    answer: str
    with_toolkens: str
    with_toolkens_right: bool
    without_tools: str
    without_tools_right: bool


def as_demonstration(problem: WordProblem) -> Demonstration:
    """A worked word problem in the papers' form: its text, and where each result begins."""
    text = f"Q: {problem.question}\nA: "
    calls = []
    for part in problem.answer:
        if isinstance(part, Step):
            calls.append(
                DemonstratedCall(start=len(text), tool=part.operation, args=list(part.operands), result=part.result)
            )
            text += part.result
        else:
            text += part
    return Demonstration(text=f"{text}\n#### {problem.result}", calls=tuple(calls))


def demonstrations(per_tool: int, seed: int) -> list[Demonstration]:
    """Worked problems in the manner of nano's pre-training text.

    `per_tool` one-step ones for each of the 13 operations, and half as many again from the whole mix, which holds
    longer ones.
    """
    rng = Random(f"demonstrations {seed}")
    problems = [one_step(rng, operation) for operation in OPERATIONS for _ in range(per_tool)]
    problems += [some_problem(rng) for _ in range(len(problems) // 2)]
    return [as_demonstration(problem) for problem in problems]


def run_demo(console: Console, *, questions: int, per_tool: int, seed: int) -> list[Outcome]:
    """The whole demo, printed to `console` as it happens."""
    tools = load_tools(TOOLS)
    console.print(Rule("1  Tools"))
    console.print(f"{len(tools)} @tool functions from {TOOLS}: " + ", ".join(tool.name for tool in tools))
    console.print(Rule("2  Fit toolkens"))
    fitted = _fit(console, tools, per_tool, seed)
    console.print(Rule("3  Ask"))
    console.print("Names and number ranges are ones that the LM's pre-training text never shows.")
    pool = nano_questions(100, "numbers", seed)
    asked = Random(seed).sample(pool, min(questions, len(pool)))
    outcomes = _ask(console, fitted, tools, asked)
    console.print(Rule("4  With toolkens, and the same LM without tools"))
    console.print(_table(outcomes))
    return outcomes


def _fit(console: Console, tools: Sequence[BaseTool], per_tool: int, seed: int) -> FitResult:
    made = demonstrations(per_tool, seed)
    console.print(f"{len(made)} worked problems as demonstrations, such as:")
    console.print(Text(made[0].text, style="dim"))
    lm = shared_engine("nano").lm  # before the bars, which its own would run into
    with progress_bars(console) as progress:
        result = fit(lm, tools, made, progress=progress)
    console.print(
        f"{result.lm_passes} LM pass {result.pass_seconds:.1f} s, solve {result.solve_seconds:.1f} s: "
        f"{len(result.toolkens)} toolkens of {result.toolkens.hidden_size} numbers. No tool ever stands in a prompt."
    )
    return result


def _ask(
    console: Console, fitted: FitResult, tools: Sequence[BaseTool], questions: Sequence[Question]
) -> list[Outcome]:
    llm = ToolkenChat(model="nano", toolkens=fitted.toolkens)
    agent = create_toolken_agent(llm, tools)
    outcomes = []
    for question in questions:
        console.print(Text(f"\nQ: {question.text}", style="bold"))
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
    table = Table("question", "answer", "with toolkens", "without tools", show_lines=True)
    for outcome in outcomes:
        cells = [
            Text(f"{'✔' if right else '✘'} {said}", style="green" if right else "red")
            for said, right in (
                (outcome.with_toolkens, outcome.with_toolkens_right),
                (outcome.without_tools, outcome.without_tools_right),
            )
        ]
        table.add_row(Text(outcome.question), outcome.answer, *cells)
    total = len(outcomes)
    table.add_row(
        Text("right in the end", style="bold"),
        "",
        f"{sum(outcome.with_toolkens_right for outcome in outcomes)} of {total}",
        f"{sum(outcome.without_tools_right for outcome in outcomes)} of {total}",
    )
    return table
