"""prompts.format: results join as prose does, and a format that contradicts itself is refused."""

from __future__ import annotations

import pytest

from langchain_toolken.prompts.format import PromptFormat, join_result
from langchain_toolken.prompts.tool_cards import tool_card
from langchain_toolken.tools.spec import tool_spec


@pytest.mark.parametrize(
    ("text", "result", "joined"),
    [
        ("", "5", "5"),
        ("4096*27=", "110592", "4096*27=110592"),
        ("4096 * 27 =", "110592", "4096 * 27 = 110592"),
        ("It is ", "5", "It is 5"),
        ("It is", "5", "It is 5"),
        ("It costs $", "5", "It costs $5"),
        ("(", "5", "(5"),
        ('"', "Paris", '"Paris'),
        ("=", "5", "=5"),
    ],
)
def test_results_join_as_prose_does(text: str, result: str, joined: str) -> None:
    assert join_result(text, result) == joined


def test_formats_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(ValueError, match="turn"):
        PromptFormat("completion", "turn")
    with pytest.raises(ValueError, match="few_shot"):
        PromptFormat("chat", few_shot="Q: a")


def test_the_tool_card_is_signature_summary_and_an_open_json() -> None:
    def divide(a: float, b: float) -> float:
        """Divide a by b.

        More that the LM need not read.
        """
        return a / b

    assert tool_card(tool_spec(divide)) == "\nTool: divide(a: number, b: number)\nDivide a by b.\nArguments: "
