"""Descriptions as requests: how they are worded, and the states that the LM gives them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.evidence.described import Described, described_states, task_of


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


def test_a_few_tools_get_several_wordings_and_many_one(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    few = described_states(tiny_llama, [spec("Adds.", "add"), spec("Books.", "book")], "chat", folder=tmp_path)
    assert few.tool.tolist() == [0, 1] * 5
    again = described_states(tiny_llama, [spec("Adds.", "add"), spec("Cooks.", "book")], "chat", folder=tmp_path)
    torch.testing.assert_close(again.states[0], few.states[0], msg="another description has features of its own")
    assert not torch.equal(again.states[1], few.states[1])
    many = described_states(tiny_llama, [spec("Adds.", f"add{i}") for i in range(60)], "completion")
    assert many.tool.tolist() == list(range(60))


def test_a_tools_wordings_are_averaged_and_one_without_counts_as_the_average() -> None:
    rows = torch.tensor([[1.0], [3.0], [5.0]])
    mean = Described(rows, rows + 1, torch.tensor([0, 2, 0])).means(3)
    assert mean.states[:, 0].tolist() == [3.0, 3.0, 3.0]
    assert mean.requests[:, 0].tolist() == [4.0, 4.0, 4.0]
