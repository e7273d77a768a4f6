r"""The tasks that methods are compared on: tools, demonstrations, questions, how they are worded, how they are graded.

| task | tools | graded by |
|---|---|---|
| nano | 13 | the final number, exactly; needs no data |
| funcqa_one_hop, funcqa_multi_hop | 13 | the final number, within 0.1% as in the papers |
| gsm8k_xl | 4 | the final number, within 0.1% |
| kamel_30, kamel_60, kamel_100, kamel_234 | as named | the first tool chosen |
| stquestions_seen, stquestions_unseen | 1,836 and 837 | the first tool chosen |
| metatool | 199 | the first tool chosen; of the requests that need none, whether one is called |
| virtualhome | 58 | the plan: what its gold plan changes must end changed; see `worlds.household_plans` |

The data are read from `--data-dir`, in the form that `evaluation.datasets` describes; the package holds none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from random import Random
from typing import Literal

from langchain_core.tools import BaseTool

from langchain_toolken.evaluation.attempts import Attempt
from langchain_toolken.evaluation.questions import ExpectedCall
from langchain_toolken.tools.spec import ToolSpec, tool_specs
from langchain_toolken.training.demonstrations.demonstration import Demonstration

TaskKind = Literal["number", "tool", "plan"]
"""What is asked for: a number that tools compute, the right tool, or a plan of many tools in a row."""


@dataclass(frozen=True)
class TaskQuestion:
    """A question of a task.

    Attributes:
        id: Its name within the task, from the place in its file: it stays the same for any number of questions.
        text: What is asked. For a plan, all the text before it.
        answers: Texts of which any is right: a plain number, alternatives of a name, or the plan.
        calls: The calls that lead to the answer, in order; the first one's tool is the right tool. None where no tool
            is needed.
    """

    id: str
    text: str
    answers: tuple[str, ...] = ()
    calls: tuple[ExpectedCall, ...] = ()

    @property
    def tool(self) -> str | None:
        """The tool that is called first; None if none is needed."""
        return self.calls[0].tool if self.calls else None


@dataclass(frozen=True)
class Grade:
    """How an attempt did.

    Attributes:
        right: Whether it counts as right in the task's table.
        right_tool: Whether the first tool is the right one; None where the question needs none.
        right_arguments: Whether the first call has the right arguments too; None where the data don't tell.
        called: Whether any tool was called.
        marks: Further marks by name, such as "executable" for a plan.
    """

    right: bool
    right_tool: bool | None = None
    right_arguments: bool | None = None
    called: bool = False
    marks: tuple[tuple[str, bool], ...] = ()


@dataclass(frozen=True, eq=False)
class Task:
    r"""Something to compare methods on.

    Attributes:
        name: Its name in the registry.
        kind: What is asked for.
        tools: The tools, which methods call.
        demonstrations: What methods may learn from and show in prompts.
        questions: What is asked of them.
        layout: How a question is worded for an LM that completes text; it contains "{question}" and ends where the
            answer begins.
        grader: Grades an attempt at a question.
        dev: Questions to choose settings by; empty where the data have none.
        written: For a plan, how each tool is written in it, by name: `[WALK]`.
        published: How many demonstrations the data have, before some were left out; 0 for as many as there are.
    """

    name: str
    kind: TaskKind
    tools: tuple[BaseTool, ...]
    demonstrations: tuple[Demonstration, ...]
    questions: tuple[TaskQuestion, ...]
    layout: str
    grader: Callable[[TaskQuestion, Attempt], Grade]
    dev: tuple[TaskQuestion, ...] = ()
    written: Mapping[str, str] | None = None
    published: int = 0

    @cached_property
    def specs(self) -> tuple[ToolSpec, ...]:
        """The tools as specs."""
        return tuple(tool_specs(self.tools))

    def prompt(self, question: TaskQuestion) -> str:
        """Word a question for an LM that completes text."""
        return self.layout.replace("{question}", question.text)

    def sampled(self, count: int | None) -> Task:
        """Keep `count` questions, the same ones every time, in their order; None keeps all.

        They are drawn, because some files are sorted by tool; fewer questions are some of those of more.
        """
        if count is None or count >= len(self.questions):
            return self
        order = Random(f"questions of {self.name}").sample(range(len(self.questions)), len(self.questions))
        chosen = sorted(order[:count])
        return replace(self, questions=tuple(self.questions[place] for place in chosen))

    def shown(self, per_tool: int | None, seed: int = 0) -> Task:
        """Keep at most `per_tool` demonstrations of each tool, counted by their first call; None keeps all."""
        if per_tool is None:
            return self
        order = Random(f"demonstrations of {self.name} {seed}").sample(
            range(len(self.demonstrations)), len(self.demonstrations)
        )
        counts: dict[str | None, int] = {}
        kept = []
        for place in order:
            calls = self.demonstrations[place].calls
            first = calls[0].tool if calls else None
            if counts.get(first, 0) < per_tool:
                counts[first] = counts.get(first, 0) + 1
                kept.append(place)
        shown = tuple(self.demonstrations[place] for place in sorted(kept))
        return replace(self, demonstrations=shown, published=self.published or len(self.demonstrations))

    def renamed(self, names: Mapping[str, str], descriptions: Mapping[str, str]) -> Task:
        """Give the tools other names and descriptions, everywhere, to see what names are worth.

        Args:
            names: The new names by the old ones; of all tools.
            descriptions: The new descriptions by the old names.
        """
        tools = []
        for tool in self.tools:
            made = tool.model_copy(update={"name": names[tool.name], "description": descriptions[tool.name]})
            tools.append(made)
        demonstrations = tuple(
            one.model_copy(
                update={"calls": tuple(call.model_copy(update={"tool": names[call.tool]}) for call in one.calls)}
            )
            for one in self.demonstrations
        )

        def asked(questions: Sequence[TaskQuestion]) -> tuple[TaskQuestion, ...]:
            return tuple(
                replace(each, calls=tuple(replace(call, tool=names[call.tool]) for call in each.calls))
                for each in questions
            )

        return replace(
            self,
            tools=tuple(tools),
            demonstrations=demonstrations,
            questions=asked(self.questions),
            dev=asked(self.dev),
            written=None if self.written is None else {names[old]: text for old, text in self.written.items()},
        )


Loader = Callable[[Path], Task]
"""Reads a task from the folder with all datasets."""
