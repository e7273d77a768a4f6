"""`Method`: a way to answer a task's questions; and `Bench`: what every method gets, the same LM in the same engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from langchain_toolken.decoding.local.engine import LocalEngine
from langchain_toolken.evaluation.attempts import Attempt
from langchain_toolken.evaluation.tasks import Task, TaskKind, TaskQuestion
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import Style
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.features.compute import Features, compute_features

Answerer = Callable[[Sequence[TaskQuestion]], list[Attempt]]
"""Answers some questions, which may run through the LM together. It fills in no seconds and no passes."""


Change = Literal["lam", "prior", "random prior"]
"""What an ablation changes."""


@dataclass(frozen=True)
class Ablation:
    """What a run changes about the methods that fit toolkens; None or False leaves it as it is.

    Attributes:
        lam: λ of the pull to the prior.
        prior: The prior; "random" draws rows in its place, which only the papers' recipes can.
    """

    lam: float | None = None
    prior: PriorConfig | Literal["random"] | None = None

    @property
    def changes(self) -> frozenset[Change]:
        """What of a method it is about."""
        prior: Change = "random prior" if self.prior == "random" else "prior"
        return frozenset({*(("lam",) if self.lam is not None else ()), *((prior,) if self.prior is not None else ())})

    def __str__(self) -> str:
        prior = None if self.prior is None else str(self.prior).replace("/", "-")
        named = (("lam", None if self.lam is None else f"{self.lam:g}"), ("prior", prior))
        return ",".join(f"{name}={value}" for name, value in named if value is not None)


@dataclass(frozen=True, eq=False)
class Bench:
    """What a method is prepared with.

    Attributes:
        task: The task.
        engine: The engine of the LM.
        seed: Of everything that the method draws.
        folder: Where fitted toolkens and features are kept, so that a run that was stopped fits nothing twice.
        max_tokens: Most tokens of one answer of the LM.
        max_calls: Most calls for one question.
        batch_size: Questions that run through the LM together.
        ablation: What is changed about fits.
        progress: Called with (done, total, what).
    """

    task: Task
    engine: LocalEngine
    seed: int
    folder: Path
    max_tokens: int = 96
    max_calls: int = 6
    batch_size: int = 8
    ablation: Ablation = Ablation()
    progress: Progress | None = None

    @property
    def prior(self) -> PriorConfig | Literal["auto"]:
        """The prior that `fit` is asked for, which has no random rows."""
        assert self.ablation.prior != "random"
        return self.ablation.prior or "auto"

    @property
    def lam(self) -> float | Literal["auto"]:
        """The λ that `fit` is asked for."""
        return "auto" if self.ablation.lam is None else self.ablation.lam

    def kept_set(self, name: str, make: Callable[[], ToolkenSet], *parts: object) -> ToolkenSet:
        """Return the set kept under `name` for the same LM, demonstrations and `parts`, or make and keep it."""
        folder = self.place(f"set {name}", self.ablation, *parts)
        if folder.exists():
            return ToolkenSet.load(folder)
        made = make()
        made.save(folder)
        return made

    def features(
        self, demonstrations: Sequence[Demonstration], *, words_per_demonstration: int | None = None
    ) -> Features:
        """Return the features of demonstrations in completion style or, for chats, in chat style.

        Args:
            demonstrations: What to compute them of.
            words_per_demonstration: Word positions kept of each; None for all, as the papers train.
        """
        style: Style = "chat" if demonstrations[0].before else "completion"
        rows = [one.model_dump_json(exclude={"line", "source"}) for one in demonstrations]
        return compute_features(
            self.engine.lm,
            demonstrations,
            [spec.name for spec in self.task.specs],
            style,
            negatives_per_demonstration=words_per_demonstration,
            seed=self.seed if words_per_demonstration else 0,
            folder=self.place("features", style, words_per_demonstration, rows),
            progress=self.progress,
        )

    def place(self, name: str, *parts: object) -> Path:
        """Return where something is kept that was made of this LM, these demonstrations and `parts`.

        Tasks with the same demonstrations share it, as FuncQA's two tests do.
        """
        named = [spec.model_dump_json() for spec in self.task.specs]
        shown = [one.model_dump_json(exclude={"line", "source"}) for one in self.task.demonstrations]
        key = [str(self.engine.lm.identity), named, shown, *map(str, parts)]
        digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:12]
        return self.folder / f"{name.replace(' ', '-')}-{digest}"


class Method(Protocol):
    """A way to answer questions."""

    @property
    def name(self) -> str:
        """Its name on the command line and in tables."""
        ...

    @property
    def says(self) -> str:
        """What it does, in one line."""
        ...

    @property
    def kinds(self) -> frozenset[TaskKind]:
        """The kinds of tasks that it can be asked."""
        ...

    @property
    def random(self) -> bool:
        """Whether another seed gives other answers."""
        ...

    @property
    def learns(self) -> bool:
        """Whether there is nothing it could do without demonstrations."""
        ...

    @property
    def changed_by(self) -> frozenset[Change]:
        """What an ablation can change about it."""
        ...

    def prepare(self, bench: Bench) -> Answerer:
        """Get ready for a task: draw examples for the prompt, fit toolkens, and the like."""
        ...
