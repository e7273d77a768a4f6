"""binding: what tool_choice, response_format and schemas are understood as, and what is refused."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from langchain_toolken.chat.settings import choice_among, read_call_options, schema_spec, spec_of, specs_of
from langchain_toolken.prompts.tool_cards import openai_tool
from langchain_toolken.tools.spec import ToolError, ToolSpec

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


class PointDict(TypedDict):
    x: int
    y: int


@pytest.mark.parametrize("schema", [Point, PointDict, {**Point.model_json_schema(), "title": "Point"}])
def test_a_schema_needs_no_description(schema: Any) -> None:
    spec = schema_spec(schema)
    assert set(spec.json_schema["properties"]) == {"x", "y"}
    assert spec.description


class NoteDict(TypedDict):
    """A note."""

    text: Annotated[str, ..., "what it says"]
    by: Annotated[str | None, None, "who wrote it"]
    lines: Annotated[int, 1, "how many"]


def test_a_typed_dicts_field_that_may_be_none_may_be_null() -> None:
    for spec in (schema_spec(NoteDict), spec_of(NoteDict)):
        fields = spec.json_schema["properties"]
        nullable = {name for name in fields if {"type": "null"} in fields[name].get("anyOf", ())}
        assert nullable == {"by"}
        assert fields["by"]["description"] == "who wrote it"
        assert spec.json_schema["required"] == ["text"]


@pytest.mark.parametrize(
    "schema", [{"type": "object", "properties": {}}, {"title": "Points", "type": "array"}, "Point", 3]
)
def test_what_is_no_schema_of_an_object_is_refused_with_what_to_give(schema: object) -> None:
    with pytest.raises(ValueError, match="pydantic model, a TypedDict, or a JSON schema"):
        schema_spec(schema)


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


class Callable:
    """Not a function."""

    def __call__(self, number: int) -> int:
        return number


@pytest.mark.parametrize("thing", [5, "multiply", Callable(), {"type": "web_search"}])
def test_what_is_no_tool_is_a_tool_error_that_says_what_to_give(thing: object) -> None:
    with pytest.raises(ToolError, match=r"give .*(@tool|\"name\")"):
        specs_of([thing])


def test_a_tool_given_twice_is_one_and_two_of_one_name_are_refused() -> None:
    other = {**TOOLS[0], "function": {**TOOLS[0]["function"], "description": "Something else."}}
    assert [spec.name for spec in specs_of([*TOOLS, TOOLS[0]])] == NAMES
    with pytest.raises(ToolError, match=f"Two tools are named '{NAMES[0]}'"):
        specs_of([*TOOLS, other])
