"""The states that the LM gives descriptions as requests, and where they are kept."""

from __future__ import annotations

from pathlib import Path

import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.evidence.described import described_states


def spec(description: str, name: str = "getHTTPStatus") -> ToolSpec:
    return ToolSpec(name=name, description=description, json_schema={"type": "object", "properties": {}})


def test_each_wording_has_states_and_other_descriptions_have_others(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    few = described_states(tiny_llama, [spec("Adds.", "add"), spec("Books.", "book")], "chat", folder=tmp_path)
    assert few.tool.tolist() == [0, 1] * 5
    again = described_states(tiny_llama, [spec("Adds.", "add"), spec("Cooks.", "book")], "chat", folder=tmp_path)
    torch.testing.assert_close(again.states[0], few.states[0], msg="another description has features of its own")
    assert not torch.equal(again.states[1], few.states[1])
    many = described_states(tiny_llama, [spec("Adds.", f"add{i}") for i in range(60)], "completion")
    assert many.tool.tolist() == list(range(60))


def test_a_tools_own_angle_brackets_are_part_of_its_name(tiny_llama: LanguageModel) -> None:
    found = described_states(tiny_llama, [spec("Adds.", "<add>"), spec("Books.", "book")], "chat")
    assert found.tool.tolist() == [0, 1] * 5
