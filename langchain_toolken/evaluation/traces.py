"""The steps by which methods came to their answers, to be read next to each other, question by question."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter

from langchain_toolken.evaluation.attempts import TraceStep
from langchain_toolken.evaluation.results import Setting, graded, settings_in
from langchain_toolken.evaluation.tasks import Task, TaskQuestion

_TRACED = 12  # questions of each task
_LAST = 600  # characters of a question: plans have their whole prompt for one


class Trace(BaseModel):
    """How a method came to an answer.

    Attributes:
        right: Whether the answer is right.
        tokens: Prompt tokens of all the LM's answers and calls together.
        answer: The whole answer, with results in place.
        steps: The steps, without what the LM read first.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    right: bool
    tokens: int
    answer: str
    steps: tuple[TraceStep, ...]


class TracedQuestion(BaseModel):
    """A question, what is right, and each method's trace, by the method and what was changed about it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    answer: str
    methods: dict[str, Trace]


Traces = dict[str, dict[str, TracedQuestion]]
"""Questions by the task, with the demonstrations that were shown, and by the question's id."""

_TRACES = TypeAdapter(Traces)


def traces_of(out: Path, task_of: Callable[[Setting], Task]) -> Traces:
    """Gather the traces of a folder of answers, of the first seed of each setting."""
    found: Traces = {}
    for setting in settings_in(out):
        task = task_of(setting)
        shown = "" if setting.demonstrations is None else f", {setting.shown}"
        asked = {each.id: each for each in task.questions}
        for run in list(graded(out, setting, task).runs.values())[:1]:
            of_task = found.setdefault(setting.task + shown, {})
            for question in list(run)[:_TRACED]:
                attempt, grade = run[question]
                entry = of_task.setdefault(question, _untraced(asked[question]))
                entry.methods[setting.method + (f" ({setting.ablation})" if setting.ablation else "")] = Trace(
                    right=grade.right,
                    tokens=attempt.prompt_tokens,
                    answer=attempt.text,
                    steps=tuple(step for step in attempt.trace if step.kind != "prompt"),
                )
    return found


def as_json(traces: Traces) -> str:
    """Write traces as JSON."""
    return _TRACES.dump_json(traces).decode()


def _untraced(question: TaskQuestion) -> TracedQuestion:
    answer = "; ".join(question.answers[:3]) or question.tool or "no tool"
    return TracedQuestion(text=question.text[-_LAST:], answer=answer, methods={})
