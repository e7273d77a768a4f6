"""Tasks and plans as VirtualHome's data write them, and their grades."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langchain_toolken.evaluation.datasets import DatasetError
from langchain_toolken.evaluation.worlds.household_plans import (
    HouseholdTask,
    Step,
    grade_plan,
    parse_plan,
    read_household_task,
    read_household_tasks,
    start_of,
)
from langchain_toolken.evaluation.worlds.household_scene import APARTMENT
from tests.support.benchmarks import benchmark_folder

GOLD = "[FIND] <couch>\n[SIT] <couch>\n[FIND] <television>\n[SWITCHON] <television>\n[END]"
TEXT = (
    "Task 1:\nI am in ['bathroom']. The objects I can manipulate are ['mail'].\nGoal:\nRead\nHint:\nRead it.\nPlan:\n"
    "[FIND] <mail>\n[END]\n\nTask 2:\nI am in ['dining_room']. The objects I can manipulate are "
    f"{[*APARTMENT, 'bedroom']}.\nGoal:\nWatch TV\nHint:\nSit down.\nAnd watch.\nPlan:\n{GOLD}"
)


@pytest.fixture
def task() -> HouseholdTask:
    return read_household_task(TEXT)


def test_the_last_task_is_read_and_the_prompt_ends_where_its_plan_begins(task: HouseholdTask) -> None:
    assert (task.room, task.goal, task.hint) == ("dining_room", "Watch TV", "Sit down.\nAnd watch.")
    assert task.prompt + GOLD == TEXT
    assert [step.line for step in task.plan] == GOLD.splitlines()[:-1]


def test_steps_are_read_however_they_are_spaced_and_other_lines_are_kept_as_they_are() -> None:
    text = "[WALK]<bed>\n [SIT] <chair> (1)\n\nthen sleep\n[PUTBACK] <mail> <desk>\n[STANDUP]\n[END]\n[RUN] <bed>"
    assert parse_plan(text) == (
        Step("WALK", ("bed",), "[WALK]<bed>"),
        Step("SIT", ("chair",), "[SIT] <chair> (1)"),
        Step("", (), "then sleep"),
        Step("PUTBACK", ("mail", "desk"), "[PUTBACK] <mail> <desk>"),
        Step("STANDUP", (), "[STANDUP]"),
    )


def test_the_gold_plan_is_successful(task: HouseholdTask) -> None:
    grade = grade_plan(task, task.plan)
    assert (grade.grounded, grade.executable, grade.successful, grade.reached) == (True,) * 4
    assert "OFF" in grade.start.states("television")
    assert "ON" in grade.end.states("television")


@pytest.mark.parametrize(
    ("plan", "grade", "reason"),
    [
        # Another way to the same states.
        ("[WALK] <television>\n[SWITCHON] <television>\n[FIND] <chair>\n[SIT] <chair>", (1, 1, 1, 1), ""),
        # Reached, but not how it ends.
        (f"{GOLD[:-6]}\n[SWITCHOFF] <television>\n[END]", (1, 1, 0, 1), "television should be ON PLUGGED_IN"),
        (f"{GOLD[:-6]}\n[WALK] <bed>\n[END]", (1, 0, 0, 1), "stand up first"),
        ("[FIND] <couch>\n[SIT] <couch>", (1, 1, 0, 0), "television should be ON"),
        ("[SIT] <couch>", (1, 0, 0, 0), "has not been found"),
        ("[FLY] <couch>", (0, 0, 0, 0), "not an action"),
        ("I would sit down.", (0, 0, 0, 0), "not an action"),
        ("[FIND] <dragon>", (0, 0, 0, 0), "there is no dragon"),
        ("[FIND]", (0, 0, 0, 0), r"takes 1 object"),
        ("[FIND] <couch> <couch>", (0, 0, 0, 0), r"takes 1 object"),
        ("", (1, 1, 0, 0), "television should be ON"),
    ],
)
def test_a_plan_is_grounded_executable_successful_or_reaches_the_goal_on_its_way(
    task: HouseholdTask, plan: str, grade: tuple[int, ...], reason: str
) -> None:
    found = grade_plan(task, plan)
    assert (found.grounded, found.executable, found.successful, found.reached) == tuple(map(bool, grade))
    assert reason in found.reason


def task_with(plan: str) -> HouseholdTask:
    return read_household_task(TEXT.replace(GOLD, plan))


def test_what_the_gold_plan_switches_off_is_on_at_first_and_what_it_plugs_in_is_not() -> None:
    scene = start_of(task_with("[FIND] <light>\n[SWITCHOFF] <light>\n[FIND] <phone>\n[PLUGIN] <phone>\n[CLOSE] <mail>"))
    assert "ON" in scene.states("light")
    assert "PLUGGED_OUT" in scene.states("phone")
    assert "OPEN" in scene.states("mail")
    assert "OFF" in start_of(task_with("[SWITCHON] <light>\n[SWITCHOFF] <light>")).states("light")


def test_a_gold_plan_that_changes_no_state_asks_for_what_it_holds_or_puts() -> None:
    task = task_with("[FIND] <novel>\n[GRAB] <novel>\n[READ] <novel>")
    assert grade_plan(task, "[WALK] <novel>\n[GRAB] <novel>").successful
    dropped = grade_plan(task, "[WALK] <novel>\n[GRAB] <novel>\n[DROP] <novel>")
    assert (dropped.successful, dropped.reached) == (False, True)
    assert "character HOLDS novel" in dropped.reason


def test_a_gold_plan_that_changes_nothing_asks_only_for_a_plan_that_runs() -> None:
    task = task_with("[FIND] <cat>\n[TOUCH] <cat>")
    assert grade_plan(task, "[FIND] <cat>").successful
    assert not grade_plan(task, "").successful
    assert not grade_plan(task, "[TOUCH] <cat>").successful


def test_a_file_is_read_row_by_row_and_a_row_without_a_task_is_named(tmp_path: Path) -> None:
    file = tmp_path / "dev.jsonl"
    file.write_text(f"{json.dumps({'text': TEXT})}\n{json.dumps({'text': TEXT})}\n", encoding="utf-8")
    assert len(read_household_tasks(file)) == 2
    file.write_text(f"{json.dumps({'text': TEXT})}\n{json.dumps({'text': 'Task 1:'})}\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"dev.jsonl, line 2: no task"):
        read_household_tasks(file)


@pytest.mark.parametrize(("file", "plans", "executable"), [("train.jsonl", 200, 198), ("dev.jsonl", 47, 45)])
def test_nearly_all_gold_plans_of_the_papers_data_can_be_executed(file: str, plans: int, executable: int) -> None:
    tasks = read_household_tasks(benchmark_folder("virtualhome") / file)
    grades = [grade_plan(task, task.plan) for task in tasks]
    assert len(grades) == sum(grade.grounded for grade in grades) == plans
    assert sum(grade.executable for grade in grades) == sum(grade.successful for grade in grades) == executable
