"""Other names for a task's tools, to measure what a name is worth to a prior."""

from __future__ import annotations

from typing import Literal

from langchain_toolken.evaluation.tasks import Task

Naming = Literal["own", "meaningless", "irrelevant"]

# Words that say nothing about arithmetic, look-ups or housework, and begin differently.
_IRRELEVANT = ("harbour", "violin", "meadow", "lantern", "pepper", "glacier", "saddle", "orchid", "pebble", "trumpet")


def renamed(task: Task, naming: Naming) -> Task:
    """Call a task's tools by their own names, by `func_42`, or by words of other things; descriptions stay."""
    if naming == "own":
        return task
    made = {}
    for number, tool in enumerate(task.tools):
        round_, place = divmod(number, len(_IRRELEVANT))
        word = _IRRELEVANT[place] if not round_ else f"{_IRRELEVANT[place]}_{_IRRELEVANT[round_ % 10]}_{round_}"
        made[tool.name] = f"func_{number}" if naming == "meaningless" else word
    return task.renamed(made, {tool.name: tool.description for tool in task.tools})
