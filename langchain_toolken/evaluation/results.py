"""`Results`: what the predictions in a folder come to, in one table; it is computed from them anew every time."""

from __future__ import annotations

import platform
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from langchain_toolken.disk.writing import writing
from langchain_toolken.evaluation.attempts import Attempt, AttemptFile
from langchain_toolken.evaluation.other_names import Naming
from langchain_toolken.evaluation.statistics import Interval, bootstrap, paired_p
from langchain_toolken.evaluation.tasks import Grade, Task, TaskQuestion

PREDICTIONS = "predictions"
_HEADER = "header.json"


class Setting(BaseModel):
    """One cell of a comparison: a method on a task, with as many demonstrations, and with an ablation.

    Attributes:
        task: The task.
        method: The method.
        demonstrations: Demonstrations of each tool; None for all there are.
        ablation: What was changed, in words, with commas between them; "" for nothing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    method: str
    demonstrations: int | None = None
    ablation: str = ""

    @property
    def naming(self) -> Naming:
        """What the tools are called."""
        parts = self.ablation.split(",")
        return next((naming for naming in get_args(Naming) if f"names={naming}" in parts), "own")

    @property
    def label(self) -> str:
        """The method, and what was changed."""
        return ", ".join(filter(None, (self.method, self.ablation)))

    @property
    def shown(self) -> str:
        """How many demonstrations, in words."""
        if self.demonstrations is None:
            return "all demonstrations"
        return f"{self.demonstrations} demonstration{'' if self.demonstrations == 1 else 's'} a tool"

    def folder(self, out: Path) -> Path:
        """Return the folder of its predictions."""
        shown = "all" if self.demonstrations is None else str(self.demonstrations)
        return (
            out
            / PREDICTIONS
            / self.task
            / self.method
            / ",".join(filter(None, (f"demonstrations={shown}", self.ablation)))
        )

    def file(self, out: Path, seed: int) -> AttemptFile:
        """Return the file of its predictions with one seed."""
        return AttemptFile(self.folder(out) / f"seed-{seed}.jsonl")

    @classmethod
    def of(cls, folder: Path) -> Setting:
        """Read a setting from the name of its folder."""
        shown, _, ablation = folder.name.removeprefix("demonstrations=").partition(",")
        return cls(
            task=folder.parent.parent.name,
            method=folder.parent.name,
            demonstrations=None if shown == "all" else int(shown),
            ablation=ablation,
        )


@dataclass(frozen=True, eq=False)
class Graded:
    """A setting's attempts, graded.

    Attributes:
        setting: The setting.
        runs: For each seed, the attempts and grades by question.
    """

    setting: Setting
    runs: dict[int, dict[str, tuple[Attempt, Grade]]]

    def scores(self, questions: Sequence[str]) -> list[float]:
        """Return each question's share of seeds that got it right."""
        return [statistics.fmean(run[each][1].right for run in self.runs.values() if each in run) for each in questions]

    def of_seeds(self, seeds: Collection[int]) -> Graded:
        """Keep only these seeds."""
        return Graded(self.setting, {seed: run for seed, run in self.runs.items() if seed in seeds})

    @property
    def questions(self) -> list[str]:
        """The questions that any seed answered."""
        return list(dict.fromkeys(each for run in self.runs.values() for each in run))


class Row(BaseModel):
    """A line of the table.

    Attributes:
        setting: What was measured.
        tools: How many tools the task has.
        questions: How many questions were answered.
        seeds: How many seeds answered them.
        right: The share that is right, with its interval over questions.
        by_seed: The share for each seed.
        right_tool: The share of the questions that need a tool whose first tool is right; None, as for the next two,
            where the method chose none at any question.
        right_arguments: The share whose first call is right in its arguments too; None where the data don't tell.
        called: The share of the questions that need a tool in which one was called.
        false_calls: The share of the questions that need no tool in which one was called; None if there are none.
        marks: Further shares by name.
        prompt_tokens: Mean prompt tokens of a question.
        generated_tokens: Mean tokens that the LM wrote.
        lm_passes: Mean forward passes.
        seconds: Mean wall clock.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    setting: Setting
    tools: int
    questions: int
    seeds: int
    right: Interval
    by_seed: tuple[float, ...]
    right_tool: float | None
    right_arguments: float | None
    called: float | None
    false_calls: float | None
    marks: dict[str, float]
    prompt_tokens: float
    generated_tokens: float
    lm_passes: float
    seconds: float


class Comparison(BaseModel):
    """Two methods on the same questions of a task.

    Attributes:
        one: A method, and what was changed.
        other: Another one, with the same changes, or the same one with nothing changed.
        questions: How many questions both answered.
        difference: How much more of them the first got right.
        p: Of the paired permutation test.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    one: Setting
    other: Setting
    questions: int
    difference: float
    p: float


class Header(BaseModel):
    """Where and with what something was measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    dtype: str
    machine: str
    versions: dict[str, str]
    day: str

    @classmethod
    def here(cls, model: str, dtype: str) -> Header:
        """Describe this machine and the versions on it."""
        names = ("langchain-toolken", "torch", "transformers", "langchain-core", "langgraph", "llguidance")
        threads = torch.get_num_threads()
        machine = f"{platform.machine()}, {platform.system()}, {threads} thread{'' if threads == 1 else 's'}"
        versions = {"python": platform.python_version(), **{name: version(name) for name in names}}
        return cls(model=model, dtype=dtype, machine=machine, versions=versions, day=date.today().isoformat())

    @classmethod
    def kept(cls, out: Path) -> Header | None:
        """Read the header of a folder of answers; None if it has none, or what is there is none."""
        try:
            return cls.model_validate_json((out / _HEADER).read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def keep(self, out: Path) -> None:
        """Write the header into a folder of answers, as a whole or not at all."""
        file, made = out / _HEADER, out / f".{_HEADER}.new"
        with writing(file):
            out.mkdir(parents=True, exist_ok=True)
            made.write_text(self.model_dump_json(indent=1), encoding="utf-8")
            made.replace(file)


class Results(BaseModel):
    """The table, with its header.

    Attributes:
        header: Where it was measured.
        rows: The lines.
        comparisons: Every other method against `ours`, the papers' methods against those that they build on, and each
            method with something changed against itself with nothing changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    header: Header
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...]


def settings_in(out: Path) -> list[Setting]:
    """Return the settings that a folder holds predictions of."""
    files = sorted((out / PREDICTIONS).glob("*/*/*/seed-*.jsonl"))
    return list(dict.fromkeys(Setting.of(file.parent) for file in files))


def graded(out: Path, setting: Setting, task: Task) -> Graded:
    """Grade a setting's predictions; questions that the task no longer has are left out."""
    known: dict[str, TaskQuestion] = {each.id: each for each in task.questions}
    runs = {}
    for file in sorted(setting.folder(out).glob("seed-*.jsonl"), key=lambda each: int(each.stem[5:])):
        attempts = AttemptFile(file).read()
        # In the questions' order, not in that of a run that was stopped and went on.
        runs[int(file.stem[5:])] = {
            name: (attempts[name], task.grader(question, attempts[name]))
            for name, question in known.items()
            if name in attempts
        }
    return Graded(setting, {seed: run for seed, run in runs.items() if run})


def row_of(one: Graded, task: Task) -> Row:
    """Return a setting's line."""
    grades = [(name, grade) for run in one.runs.values() for name, (_, grade) in run.items()]
    attempts = [attempt for run in one.runs.values() for attempt, _ in run.values()]
    due = [(name, grade) for name, grade in grades if grade.right_tool is not None]
    plain = [(name, grade) for name, grade in grades if grade.right_tool is None]
    marks: dict[str, list[tuple[str, bool]]] = {}
    for question, grade in grades:
        for name, mark in grade.marks:
            marks.setdefault(name, []).append((question, mark))
    scores = one.scores(one.questions)
    tools = any(attempt.first_tool for attempt in attempts)
    return Row(
        setting=one.setting,
        tools=len(task.tools),
        questions=len(scores),
        seeds=len(one.runs),
        right=bootstrap(scores),
        by_seed=tuple(statistics.fmean(grade.right for _, grade in run.values()) for run in one.runs.values()),
        right_tool=_share([(name, bool(grade.right_tool)) for name, grade in due]) if tools else None,
        right_arguments=_share([(name, bool(g.right_arguments)) for name, g in due if g.right_arguments is not None])
        if tools
        else None,
        called=_share([(name, grade.called) for name, grade in due]) if tools else None,
        false_calls=_share([(name, grade.called) for name, grade in plain]) if task.kind == "tool" else None,
        marks={name: _share(values) or 0.0 for name, values in marks.items()},
        prompt_tokens=statistics.fmean(attempt.prompt_tokens for attempt in attempts),
        generated_tokens=statistics.fmean(attempt.generated_tokens for attempt in attempts),
        lm_passes=statistics.fmean(attempt.lm_passes for attempt in attempts),
        seconds=statistics.fmean(attempt.seconds for attempt in attempts),
    )


def compared(every: Sequence[Graded]) -> list[Comparison]:
    """Compare every other method of the same task with `ours`, and what `Results.comparisons` says besides."""
    found = []
    for one in every:
        for other in every:
            if not _wanted(one.setting, other.setting):
                continue
            # What a change is worth is seen with the same seeds.
            seeds = one.runs.keys() & other.runs.keys() if one.setting.method == other.setting.method else None
            first_of, second_of = (each if seeds is None else each.of_seeds(seeds) for each in (one, other))
            both = [each for each in first_of.questions if each in set(second_of.questions)]
            if not both:
                continue
            first, second = first_of.scores(both), second_of.scores(both)
            found.append(
                Comparison(
                    one=one.setting,
                    other=other.setting,
                    questions=len(both),
                    difference=statistics.fmean(first) - statistics.fmean(second),
                    p=paired_p(first, second),
                )
            )
    return found


_BUILD_ON = (("react_toolkens", "react"), ("tokenlearning", "toolkengpt"), ("toolken_plus", "toolkengpt"))


def _wanted(one: Setting, other: Setting) -> bool:
    if (one.task, one.demonstrations) != (other.task, other.demonstrations):
        return False
    if one.method == other.method:
        return bool(one.ablation) and not other.ablation
    return one.ablation == other.ablation and (other.method == "ours" or (one.method, other.method) in _BUILD_ON)


def _share(values: Sequence[tuple[str, bool]]) -> float | None:
    """Return the share that is so; a question that several seeds answered counts once, as in `right`."""
    found: dict[str, list[bool]] = {}
    for question, value in values:
        found.setdefault(question, []).append(value)
    return statistics.fmean(map(statistics.fmean, found.values())) if found else None
