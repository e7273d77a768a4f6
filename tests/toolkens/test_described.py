"""Descriptions put as requests: how they are worded, and one request for each tool."""

from __future__ import annotations

import pytest
import torch

from langchain_toolken.toolkens.described import Described, task_of, wordings
from langchain_toolken.tools.spec import ToolSpec


def spec(description: str, name: str = "getHTTPStatus") -> ToolSpec:
    return ToolSpec(name=name, description=description, json_schema={"type": "object", "properties": {}})


@pytest.mark.parametrize(
    ("description", "task"),
    [
        ("Searches flights.", "search flights"),
        ("Get the weather in a city.", "get the weather in a city"),
        ("Tries again", "try again"),
        ("Passes a note on", "pass a note on"),
        ("AI-powered search", "AI-powered search"),
        ("天気を調べる", "天気を調べる"),
        ("Adds numbers.\n\nArgs:\n    a: one", "add numbers"),
        ("", "get http status"),
    ],
)
def test_a_description_is_worded_as_a_task(description: str, task: str) -> None:
    assert task_of(spec(description)) == task


def test_a_few_tools_get_several_wordings_and_many_one() -> None:
    few = wordings([spec("Adds.", "add"), spec("Books.", "book")])
    assert [number for number, _ in few] == [0, 1] * 5
    assert [text for number, text in few if number == 1][:2] == ["Can you Books?", "Books"]
    assert len(wordings([spec("Adds.", f"add{i}") for i in range(60)])) == 60


def test_a_tools_wordings_are_averaged_and_one_without_counts_as_the_average() -> None:
    rows = torch.tensor([[1.0], [3.0], [5.0]])
    mean = Described(rows, rows + 1, torch.tensor([0, 2, 0])).means(3)
    assert mean.states[:, 0].tolist() == [3.0, 3.0, 3.0]
    assert mean.requests[:, 0].tolist() == [4.0, 4.0, 4.0]


def test_of_very_many_tools_less_is_read() -> None:
    long = "Finds " + "one more word " * 20
    few, many = (wordings([spec(long, f"find{i}") for i in range(count)])[0][1] for count in (60, 300))
    assert len(many) < 100 < len(few)
    assert few.startswith(many.rstrip("?"))
    assert not many.rstrip("?").endswith(("on", "mor", "wor", " "))
