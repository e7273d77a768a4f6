"""A small arithmetic task and an engine that keeps what it is asked, for tests of the methods that are compared."""

from __future__ import annotations

from pathlib import Path

from langchain_core.tools import BaseTool, tool

from langchain_toolken.decoding.local.engine import LocalEngine, TransformersEngine
from langchain_toolken.evaluation.attempts import Attempt
from langchain_toolken.evaluation.methods.method import Ablation, Bench
from langchain_toolken.evaluation.questions import ExpectedCall
from langchain_toolken.evaluation.task_loaders import grade_tool
from langchain_toolken.evaluation.tasks import Grade, Task, TaskKind, TaskQuestion
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.training.demonstrations.load import gather_demonstrations


@tool
def plus(a: int, b: int) -> str:
    """Sum of two."""
    return str(a + b)


@tool
def minus(a: int, b: int) -> str:
    """What is left."""
    if b > a:
        raise ValueError("nothing is left")
    return str(a - b)


TOOLS: list[BaseTool] = [plus, minus]
DESCRIPTIONS = ("Sum of two", "What is left")


def grade(question: TaskQuestion, attempt: Attempt) -> Grade:
    if question.answers and attempt.first_tool is None:
        return Grade(right=attempt.text.endswith(question.answers[0]), right_tool=False)
    return grade_tool(question, attempt)


def small_task(kind: TaskKind = "number", demonstrations: int = 6) -> Task:
    """A task of two tools, with demonstrations that call each in turn."""
    rows = []
    for a in range(5, 5 + demonstrations):
        sign, name, result = ("+", "plus", a + 2) if a % 2 else ("-", "minus", a - 2)
        text = f"Q: {a} {sign} 2?\nA: it is {a}{sign}2="
        call = {"start": len(text), "tool": name, "args": [str(a), "2"], "result": str(result)}
        rows.append({"text": f"{text}{result}.", "calls": [call]})
    shown = gather_demonstrations(rows, TOOLS, docstrings=False, strict=True).demonstrations if rows else ()
    questions = (
        TaskQuestion("0", "9 + 4?", ("13",), (ExpectedCall("plus", ("9", "4")),)),
        TaskQuestion("1", "9 - 4?", ("5",), (ExpectedCall("minus", ("9", "4")),)),
        TaskQuestion("2", "3 - 2?", ("1",), (ExpectedCall("minus", ("3", "2")),)),
    )
    return Task("small", kind, tuple(TOOLS), shown, questions, "Q: {question}\nA:", grade)


def small_bench(lm: TransformersModel, folder: Path, task: Task | None = None, seed: int = 0, **more: object) -> Bench:
    """A bench on a tiny LM."""
    ablation = more.pop("ablation", Ablation())
    assert isinstance(ablation, Ablation)
    engine = TransformersEngine(lm)
    return Bench(small_task() if task is None else task, engine, seed, folder, 12, 2, 4, ablation)


def prompts_of(engine: LocalEngine, monkeypatch: object) -> list[str]:
    """Keep the text of every prompt that the engine gets from here on."""
    kept: list[str] = []
    for name in ("reason", "stream", "complete", "rank"):
        real = getattr(engine, name)

        def call(prompts: list[list[int]], *others: object, _real: object = real, **settings: object) -> object:
            kept.extend(engine.tokenizer.decode(ids) for ids in ([prompts] if isinstance(prompts[0], int) else prompts))
            return _real(prompts, *others, **settings)  # type: ignore[operator]

        monkeypatch.setattr(engine, name, call)  # type: ignore[attr-defined]
    return kept
