"""evaluation.tasks: the same sample of questions every time, demonstrations a tool, and other names for all tools."""

from __future__ import annotations

from collections import Counter

import pytest

from langchain_toolken.evaluation.task_loaders import load_task
from langchain_toolken.evaluation.tasks import Task


@pytest.fixture(scope="module")
def nano() -> Task:
    return load_task("nano", None)


def test_a_sample_of_questions_is_the_same_every_time_and_spread_over_the_file(nano: Task) -> None:
    some = nano.sampled(20)
    assert some.questions == nano.sampled(20).questions
    assert [int(each.id) for each in some.questions] == sorted(int(each.id) for each in some.questions)
    assert len(some.questions) == 20
    assert max(int(each.id) for each in some.questions) > 100
    assert set(some.questions) < set(nano.sampled(50).questions)
    assert nano.sampled(None).questions == nano.questions


def test_few_demonstrations_are_as_many_of_each_tool(nano: Task) -> None:
    counts = Counter(one.calls[0].tool for one in nano.shown(2).demonstrations)
    assert counts == dict.fromkeys((tool.name for tool in nano.tools), 2)
    assert nano.shown(0).demonstrations == ()
    assert nano.shown(2, seed=1).demonstrations != nano.shown(2).demonstrations


def test_other_names_reach_tools_demonstrations_and_questions(nano: Task) -> None:
    names = {tool.name: f"func_{number}" for number, tool in enumerate(nano.tools)}
    other = nano.renamed(names, dict.fromkeys(names, "A function."))
    assert [spec.name for spec in other.specs] == list(names.values())
    assert {spec.description for spec in other.specs} == {"A function."}
    called = {call.tool for one in other.demonstrations for call in one.calls}
    asked = {call.tool for each in other.questions for call in each.calls}
    assert called | asked == set(names.values())
    assert other.tools[0].invoke({"numbers": [1, 2]}) == "3"
