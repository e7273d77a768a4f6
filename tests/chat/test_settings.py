"""binding: what tool_choice, response_format and schemas are understood as, and what is refused."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from langchain_toolken.chat.settings import (
    GenerationSettings,
    InvalidRequestError,
    choice_among,
    read_call_options,
    sampling_of,
)
from langchain_toolken.prompts.tool_cards import openai_tool
from langchain_toolken.tools.spec import ToolSpec

NAMES = ["add", "divide"]
ADD, DIVIDE = (ToolSpec(name=name, description="Do it.", json_schema={"type": "object"}) for name in NAMES)
TOOLS = [openai_tool(ADD), openai_tool(DIVIDE)]


@pytest.mark.parametrize("choice", [None, "auto", "none", False])
def test_nothing_is_forced_by(choice: object) -> None:
    assert choice_among(choice, NAMES) is None


@pytest.mark.parametrize("choice", ["any", "required", True])
def test_any_tool_is_forced_by(choice: object) -> None:
    assert choice_among(choice, NAMES) == ("add", "divide")


@pytest.mark.parametrize("choice", ["divide", {"type": "function", "function": {"name": "divide"}}])
def test_one_tool_is_forced_by(choice: object) -> None:
    assert choice_among(choice, NAMES) == ("divide",)


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("root", r"'root' names a tool that is not bound \(bound: 'add', 'divide'\)"),
        ({"type": "function", "function": {"name": "root"}}, "not bound"),
        ({"type": "tool", "name": "add"}, "not understood"),
        (3, "not understood"),
    ],
)
def test_a_choice_that_can_not_be_met_is_refused(choice: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        choice_among(choice, NAMES)


def test_a_forced_call_without_tools_is_refused() -> None:
    with pytest.raises(ValueError, match="no tools are bound"):
        read_call_options({"tool_choice": "any"})


def test_a_choice_leaves_the_tools_that_may_be_called() -> None:
    options = read_call_options({"tools": TOOLS, "tool_choice": "divide"})
    assert ([spec.name for spec in options.tools], options.forced) == (["divide"], True)
    options = read_call_options({"tools": TOOLS, "tool_choice": "none", "temperature": 1.0})
    assert (options.tools, options.forced, options.changes) == ((), False, {"temperature": 1.0})


class Point(BaseModel):
    x: int
    y: int


def test_a_response_format_is_a_schema_and_nothing_looser() -> None:
    given = {"type": "json_schema", "json_schema": {"name": "point", "schema": Point.model_json_schema()}}
    answer = read_call_options({"response_format": given}).answer
    assert answer is not None
    assert answer.name == "point"
    assert read_call_options({"response_format": {"type": "text"}}).answer is None
    with pytest.raises(ValueError, match="json_object.*not supported"):
        read_call_options({"response_format": {"type": "json_object"}})
    with pytest.raises(ValueError, match="one of them"):
        read_call_options({"response_format": given, "tools": TOOLS, "tool_choice": "any"})
    array = {"type": "json_schema", "json_schema": {"name": "points", "schema": {"type": "array"}}}
    with pytest.raises(InvalidRequestError, match="not the schema of an object"):
        read_call_options({"response_format": array})


def test_a_temperature_that_would_overflow_the_logits_is_greedy() -> None:
    assert sampling_of(GenerationSettings(temperature=1e-300)).temperature == 0
    assert sampling_of(GenerationSettings(temperature=0.01)).temperature == 0.01
