"""VirtualHome's tasks and plans as the papers have them, and their grades: grounded, executable, successful.

The grades follow ToolkenGPT's vh_eval.py and evaluation/eval_vh.ipynb (github.com/Ber666/ToolkenGPT).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from langchain_toolken.evaluation.datasets import DatasetError, read_rows
from langchain_toolken.evaluation.worlds.household_rules import BY_WORD, NotPossibleError
from langchain_toolken.evaluation.worlds.household_scene import CHARACTER, OPPOSITES, Relation, Scene, build_scene

END = "[END]"
_STEP = re.compile(r"\[(?P<word>\w+)\]\s*(?P<objects>(?:<[^<>]+>\s*(?:\(\d+\)\s*)?)*)")
_TASK = re.compile(
    r"I am in (?P<rooms>\[[^\]]*\])\. The objects I can manipulate are (?P<objects>\[[^\]]*\])\.\n"
    r"Goal:\n(?P<goal>.*?)\nHint:\n(?P<hint>.*?)\nPlan:\n(?P<plan>.*)",
    re.DOTALL,
)
# The state that an object's first action needs: VirtualHome prepares its scenes so that the gold plan can run
# (add_preconds.py).
_NEEDED = {
    "SWITCHON": "OFF",
    "SWITCHOFF": "ON",
    "OPEN": "CLOSED",
    "CLOSE": "OPEN",
    "PLUGIN": "PLUGGED_OUT",
    "PLUGOUT": "PLUGGED_IN",
    "WASH": "DIRTY",
    "RINSE": "DIRTY",
    "WIPE": "DIRTY",
}
_KIND = {state: kind for kind, pair in enumerate(OPPOSITES) for state in pair}


@dataclass(frozen=True)
class Step:
    """A line of a plan. `word` is empty where the line is not `[WORD] <object>`; `line` is the line itself."""

    word: str
    objects: tuple[str, ...]
    line: str


@dataclass(frozen=True)
class HouseholdTask:
    """A task of the papers' VirtualHome data.

    Attributes:
        prompt: The worked tasks and this one, up to where its plan begins.
        room: Where the character starts.
        objects: Which objects there are; the data lists rooms among them.
        goal: What to do: "Watch TV".
        hint: The same in a sentence or two.
        plan: The gold plan, without `[END]`.
    """

    prompt: str
    room: str
    objects: tuple[str, ...]
    goal: str
    hint: str
    plan: tuple[Step, ...]


@dataclass(frozen=True)
class Facts:
    """What is true in a scene and a plan can change: states, and what is on, in and in the hands of what."""

    states: dict[str, frozenset[str]]
    relations: frozenset[tuple[str, Relation, str]]


@dataclass(frozen=True)
class PlanGrade:
    """What a plan comes to.

    Attributes:
        grounded: Every line is an action with as many objects as it takes, and the objects are there.
        executable: It is grounded, and the rules allow every step.
        successful: It is executable, and ends with what the gold plan changes changed in the same way.
        reached: It is grounded, and was so after some step that the rules allow: the papers' relaxed success.
        failed_step: Index of the first step that is not grounded or not possible; None if there is none.
        reason: Why that step is not, or what is missing in the end; empty for a successful plan.
        start: The scene before the plan.
        end: The scene after its last possible step.
    """

    grounded: bool
    executable: bool
    successful: bool
    reached: bool
    failed_step: int | None
    reason: str
    start: Scene = field(repr=False)
    end: Scene = field(repr=False)


def parse_plan(text: str) -> tuple[Step, ...]:
    """Read a plan, one step a line, up to `[END]`. Numbers of instances are left out: `[SIT] <chair> (1)`."""
    steps = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if line.startswith(END):
            break
        match = _STEP.fullmatch(line)
        objects = tuple(re.findall(r"<([^<>]+)>", match["objects"])) if match else ()
        steps.append(Step(match["word"] if match else "", objects, line))
    return tuple(steps)


def read_household_tasks(file: Path) -> list[HouseholdTask]:
    """Read VirtualHome rows; a row holds worked tasks, and one more with its gold plan.

    Raises:
        DatasetError: If the file can't be read, or a row holds no task.
    """
    return [read_household_task(str(row.get("text")), f"{file}, line {n}") for n, row in enumerate(read_rows(file), 1)]


def read_household_task(text: str, where: str = "text") -> HouseholdTask:
    """Read the last task of a text.

    Args:
        text: One or more tasks: where the character is, the objects, goal, hint and plan.
        where: What an error names as its place.

    Raises:
        DatasetError: If the text holds no task.
    """
    start = text.rfind("I am in [")
    match = _TASK.match(text, start) if start >= 0 else None
    if match is None:
        raise DatasetError(f'{where}: no task of the form "I am in […]. The objects I can manipulate are […]. Goal: …"')
    rooms, objects = ast.literal_eval(match["rooms"]), ast.literal_eval(match["objects"])
    plan = parse_plan(match["plan"])
    return HouseholdTask(text[: match.start("plan")], rooms[0], tuple(objects), match["goal"], match["hint"], plan)


def start_of(task: HouseholdTask) -> Scene:
    """Build the scene that a task starts in.

    Objects are off, closed and plugged in, unless the gold plan's first action on them needs it otherwise.
    """
    scene = build_scene(task.room, task.objects)
    seen = set()
    for step in task.plan:
        need, name = _NEEDED.get(step.word), next(iter(step.objects), "")
        if need is None or name not in scene.graph or (name, _KIND[need]) in seen:
            continue
        seen.add((name, _KIND[need]))
        scene.set_state(name, need)
    return scene


def facts_of(scene: Scene) -> Facts:
    """Read the facts of a scene."""
    shown = (Relation.ON, Relation.INSIDE, Relation.HOLDS)
    # Where the character stands is no goal: the papers compare the nodes of the scene graph.
    edges = ((a, key, b) for a, b, key in scene.graph.edges(keys=True) if key in shown)
    kept = (edge for edge in edges if edge[:2] != (CHARACTER, Relation.INSIDE))
    return Facts({node: scene.states(node) for node in scene.graph}, frozenset(kept))


def _missing(start: Facts, goal: Facts, end: Facts) -> str:
    """What the gold plan changes and `end` has not: in states, or in relations where the gold plan changes no state."""
    changed = [node for node in goal.states if goal.states[node] != start.states[node]]
    if changed:
        wrong = [node for node in changed if end.states[node] != goal.states[node]]
        return "; ".join(f"{node} should be {' '.join(sorted(goal.states[node])) or 'as before'}" for node in wrong)
    missing = sorted((goal.relations - start.relations) - end.relations)
    kept = sorted((start.relations - goal.relations) & end.relations)
    return "; ".join([" ".join(edge) for edge in missing] + [f"not {' '.join(edge)}" for edge in kept])


def grade_plan(task: HouseholdTask, plan: str | Sequence[Step]) -> PlanGrade:
    """Grade a plan.

    A plan is successful if every node whose state the gold plan changes ends in the gold plan's state. Where the gold
    plan changes no state ("Read book", standing), what it puts or holds must be there instead; where it changes nothing
    at all, executing is enough.

    Args:
        task: The task. If its own gold plan can't be executed, the goal is what it had reached by then.
        plan: The plan, as text or as steps.
    """
    steps = parse_plan(plan) if isinstance(plan, str) else tuple(plan)
    start = start_of(task)
    for number, step in enumerate(steps):
        problem = _ungrounded(start, step)
        if problem:
            return PlanGrade(False, False, False, False, number, problem, start, start)
    _, (before, *_, goal), _ = _run(start, task.plan)
    end, after, failure = _run(start, steps)
    lacks = [_missing(before, goal, facts) for facts in after]
    return PlanGrade(
        grounded=True,
        executable=not failure,
        successful=not failure and bool(steps) and not lacks[-1],
        reached=any(not lack for lack in lacks[1:]),
        failed_step=len(after) - 1 if failure else None,
        reason=failure or lacks[-1] or ("" if steps else "the plan is empty"),
        start=start,
        end=end,
    )


def _ungrounded(scene: Scene, step: Step) -> str:
    action = BY_WORD.get(step.word)
    if action is None:
        return f"{step.line!r} is not an action"
    if len(step.objects) != action.objects:
        return f"{step.line!r}: {action.word} takes {action.objects} object(s)"
    absent = [name for name in step.objects if name not in scene.things()]
    return f"{step.line!r}: there is no {absent[0]}" if absent else ""


def _run(start: Scene, steps: Sequence[Step]) -> tuple[Scene, list[Facts], str]:
    """Run the steps until one is not possible.

    Returns:
        The last scene, the facts at the start and after each step, and why the step after those is not possible.
    """
    scene, facts = start.copy(), [facts_of(start)]
    for step in steps:
        try:
            BY_WORD[step.word].act(scene, *step.objects)
        except NotPossibleError as error:
            return scene, facts, f"{step.line}: {error}"
        facts.append(facts_of(scene))
    return scene, facts, ""
