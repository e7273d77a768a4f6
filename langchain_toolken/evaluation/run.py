"""Answer tasks' questions by methods, and keep every answer: a run that is stopped goes on where it was.

The folder `out` holds, for each task, method and seed, one JSONL file of attempts (`attempts.AttemptFile`), the
toolkens and features that were fitted, and the header. A question that has an answer is not asked again; a method whose
questions are all answered is not prepared either. Several runs of one LM into one folder add up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path

from langchain_toolken.decoding.local.engine import LocalEngine
from langchain_toolken.errors import ToolkenError
from langchain_toolken.evaluation.attempts import Attempt
from langchain_toolken.evaluation.methods.method import Ablation, Bench, Method
from langchain_toolken.evaluation.results import Header, Results, Setting, compared, graded, row_of, settings_in
from langchain_toolken.evaluation.tasks import Task
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.progress import Progress


class EvaluationError(ToolkenError, ValueError):
    """A run can't go on in its folder, or a folder can't be tabulated."""


@dataclass(frozen=True)
class Plan:
    """What is run.

    Attributes:
        tasks: The tasks, with the questions that are asked and all demonstrations.
        methods: The methods; one that can't be asked a task is left out there (`left_out`).
        seeds: How many seeds of what is random.
        demonstrations: Numbers of demonstrations of each tool; None for all there are.
        ablations: What is changed; each is run.
        names: What the tools are called, in words; "" for their own names.
        max_tokens: Most tokens of one answer of the LM.
        max_calls: Most calls for one question.
        batch_size: Questions that run through the LM together.
    """

    tasks: Sequence[Task]
    methods: Sequence[Method]
    seeds: int = 1
    demonstrations: Sequence[int | None] = (None,)
    ablations: Sequence[Ablation] = (Ablation(),)
    names: str = ""
    max_tokens: int = 96
    max_calls: int = 6
    batch_size: int = 8

    def cells(self) -> Iterator[Cell]:
        """Yield everything that is to be run, in the order in which it is run: seed 0 of all before seed 1."""
        for seed in range(self.seeds):
            for whole in self.tasks:
                for count in self.demonstrations:
                    task = whole.shown(count)
                    for ablation in self.ablations:
                        for method in self.methods:
                            if why_left_out(method, task, ablation) is None and (seed == 0 or method.random):
                                what = ",".join(filter(None, (str(ablation), self.names)))
                                setting = Setting(
                                    task=task.name, method=method.name, demonstrations=count, ablation=what
                                )
                                yield Cell(setting, task, method, ablation, seed)

    def left_out(self) -> Iterator[str]:
        """Say which methods are left out of which tasks, and why."""
        found: dict[tuple[str, str], dict[str, None]] = {}
        for task, count, ablation, method in product(self.tasks, self.demonstrations, self.ablations, self.methods):
            why = why_left_out(method, task.shown(count), ablation)
            if why is not None:
                place = ", ".join(filter(None, (task.name, str(ablation))))
                found.setdefault((place, why), {})[method.name] = None
        for (place, why), names in found.items():
            yield f"{place}: without {', '.join(names)}, {why}"


def why_left_out(method: Method, task: Task, ablation: Ablation) -> str | None:
    """Say why a method is not asked a task; None if it is."""
    if task.kind not in method.kinds:
        return "which can't give what is asked for"
    if method.learns and not task.demonstrations:
        return "which need demonstrations"
    if not ablation.changes <= method.changed_by:
        return "which this does not change"
    return None


@dataclass(frozen=True, eq=False)
class Cell:
    """One method on one task with one seed."""

    setting: Setting
    task: Task
    method: Method
    ablation: Ablation
    seed: int


@dataclass
class _Meter:
    """Counts the LM's forward passes."""

    passes: int = 0
    began: float = field(default_factory=time.perf_counter)


def run(engine: LocalEngine, plan: Plan, out: Path, progress: Progress | None = None) -> None:
    """Answer what has no answer yet.

    Args:
        engine: The engine of the LM.
        plan: What is run.
        out: The folder of this LM's answers.
        progress: Called with (questions done, all questions, "questions"), and by fits.

    Raises:
        EvaluationError: The folder holds another LM's answers.
    """
    header = Header.here(engine.model_id, str(engine.lm.head.weight.dtype).removeprefix("torch."))
    old = Header.kept(out)
    if old is not None and (old.model, old.dtype) != (header.model, header.dtype):
        raise EvaluationError(
            f"{out} holds answers of {old.model} in {old.dtype}, not of {header.model} in {header.dtype}: give "
            "another folder with --out"
        )
    header.keep(out)
    cells = list(plan.cells())
    open_questions = {}
    for cell in cells:
        answered = cell.setting.file(out, cell.seed).read()
        open_questions[cell] = [each for each in cell.task.questions if each.id not in answered]
    total = sum(len(cell.task.questions) for cell in cells)
    done = total - sum(map(len, open_questions.values()))
    for cell, questions in open_questions.items():
        if progress is not None:
            progress(done, total, "questions")
        if not questions:
            continue
        bench = Bench(
            task=cell.task,
            engine=engine,
            seed=cell.seed,
            folder=out / "fits",
            max_tokens=plan.max_tokens,
            max_calls=plan.max_calls,
            batch_size=plan.batch_size,
            ablation=cell.ablation,
            progress=progress,
        )
        answer = cell.method.prepare(bench)
        for start in range(0, len(questions), plan.batch_size):
            some = questions[start : start + plan.batch_size]
            with metered(engine) as meter:
                attempts = answer(some)
            seconds = (time.perf_counter() - meter.began) / len(some)
            passes = meter.passes / len(some)
            cost = {"seconds": round(seconds, 4), "lm_passes": round(passes, 3)}
            kept: list[Attempt] = [attempt.model_copy(update=cost) for attempt in attempts]
            cell.setting.file(out, cell.seed).append(kept)
            done += len(some)
            if progress is not None:
                progress(done, total, "questions")


@contextmanager
def metered(engine: LocalEngine) -> Iterator[_Meter]:
    """Count forward passes; only LMs of transformers are counted."""
    meter = _Meter()
    if not isinstance(engine.lm, TransformersModel):
        yield meter
        return

    def count(*_: object) -> None:
        meter.passes += 1

    # The decoder that all passes go through; the head is apart from it.
    hook = engine.lm.model.get_decoder().register_forward_hook(count)
    try:
        yield meter
    finally:
        hook.remove()


def tabulate(out: Path, task_of: Callable[[Setting], Task]) -> Results:
    """Grade everything in a folder.

    Args:
        out: The folder.
        task_of: Returns the task of a setting, its tools with the names that they had there.

    Raises:
        EvaluationError: There is nothing in it.
    """
    settings, header = settings_in(out), Header.kept(out)
    if not settings or header is None:
        raise EvaluationError(f"{out} holds no answers, or no header.json: run `toolken eval` into it first")
    every = [graded(out, setting, task_of(setting)) for setting in settings]
    every = [one for one in every if one.runs]
    rows = tuple(row_of(one, task_of(one.setting)) for one in every)
    return Results(header=header, rows=rows, comparisons=tuple(compared(every)))
