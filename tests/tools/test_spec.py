"""Specs, signatures and grammars."""

from __future__ import annotations

import json
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import InjectedToolCallId, StructuredTool, tool
from langgraph.prebuilt import InjectedState
from llguidance import LLMatcher, LLTokenizer
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from langchain_toolken.tools.spec import (
    ToolError,
    ToolSpec,
    _warn_of_description,
    argument_grammar,
    schema_spec,
    tool_spec,
    tool_specs,
)


class Unit(Enum):
    METRE = "metre"
    FOOT = "foot"


class Address(BaseModel):
    street: str
    number: int | None = None


class Person(BaseModel):
    """Someone."""

    name: str
    title: str = "none"
    addresses: list[Address] = []


class Node(BaseModel):
    """A tree."""

    value: int
    children: list[Node] = []


def plain(a: float, b: float, digits: int = 2) -> str:
    """Divide two numbers.

    The second must not be 0.
    """
    return str(round(a / b, digits))


@tool
def greet(
    person: Person,
    unit: Unit,
    mood: Literal["kind", "curt"],
    tags: list[str],
    config: RunnableConfig,
    state: Annotated[dict[str, Any], InjectedState],
    call_id: Annotated[str, InjectedToolCallId],
    loud: bool = False,
    limit: int | str | None = None,
) -> str:
    """Greet a person."""
    return person.name


@tool
def now() -> str:
    """Tell the time."""
    return "12:00"


def accepts(spec: ToolSpec, text: str) -> bool:
    tokens = list(text.encode())
    matcher = LLMatcher(LLTokenizer("byte"), argument_grammar(spec))
    return matcher.try_consume_tokens(tokens) == len(tokens) and bool(matcher.is_accepting())


# --- specs -----------------------------------------------------------------------------------------------------------


def test_a_plain_function_and_its_tool_have_the_same_spec() -> None:
    spec = tool_spec(plain)
    assert spec == tool_spec(tool(plain))
    assert spec.name == "plain"
    assert spec.signature == "plain(a: number, b: number, digits?: integer)"
    assert spec.summary == "Divide two numbers."
    assert spec.description.endswith("must not be 0.")


def test_signature_shows_lists_enums_objects_and_unions_and_no_injected_argument() -> None:
    assert tool_spec(greet).signature == (
        "greet(person: object, unit: 'metre' | 'foot', mood: 'kind' | 'curt', tags: list[string], loud?: boolean, "
        "limit?: integer | string | null)"
    )


def test_titles_are_dropped_but_not_a_field_or_a_default_of_that_name() -> None:
    schema = tool_spec(greet).json_schema
    assert schema["$defs"]["Person"]["properties"]["title"] == {"default": "none", "type": "string"}
    assert "title" not in schema["$defs"]["Person"]
    spec = tool_spec(
        {
            "name": "f",
            "description": "F.",
            "parameters": {"type": "object", "properties": {"x": {"title": "X", "default": {"title": "kept"}}}},
        }
    )
    assert spec.json_schema["properties"]["x"] == {"default": {"title": "kept"}}


def test_outer_and_inner_dict_pydantic_model_and_spec_all_give_a_spec() -> None:
    inner = {
        "name": "find",
        "description": "Find a thing.",
        "parameters": {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]},
    }
    spec = tool_spec(inner)
    assert spec.signature == "find(what: string)"
    assert tool_spec({"type": "function", "function": inner}) == spec
    assert tool_spec(spec) is spec
    assert tool_spec(Person).signature == "Person(name: string, title?: string, addresses?: list[object])"
    assert tool_spec({"name": "ping", "description": "Ping."}).signature == "ping()"


@pytest.mark.parametrize("form", ["inner", "outer", "responses", "anthropic", "bedrock", "titled"])
def test_every_dict_that_langchain_binds_gives_the_spec(form: str) -> None:
    schema = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}
    head = {"name": "find", "description": "Find a thing."}
    forms: dict[str, dict[str, Any]] = {
        "inner": {**head, "parameters": schema},
        "outer": {"type": "function", "function": {**head, "parameters": schema, "strict": True}},
        "responses": {"type": "function", **head, "parameters": schema},
        "anthropic": {**head, "input_schema": schema},
        "bedrock": {"toolSpec": {**head, "inputSchema": {"json": schema}}},
        "titled": {"title": "find", "description": "Find a thing.", **schema},
    }
    assert tool_spec(forms[form]) == ToolSpec(name="find", description="Find a thing.", json_schema=schema)


def test_a_spec_survives_json() -> None:
    spec = tool_spec(greet)
    assert ToolSpec.model_validate_json(spec.model_dump_json()) == spec


def test_a_function_without_docstring_is_refused_by_name() -> None:
    def bare(x: int) -> int:
        return x

    with pytest.raises(ToolError, match="'bare' has no description: give its function a docstring"):
        tool_spec(bare)


@pytest.mark.parametrize(
    "thing",
    [
        {"name": "ping_7"},
        {"name": "ping_7", "description": None},
        {"name": "ping_7", "description": " "},
        {"name": "ping_7", "inputSchema": {"type": "object"}},
        StructuredTool(name="ping_7", description="", args_schema={"type": "object"}, func=lambda: None),
    ],
)
def test_a_tool_without_description_is_described_by_its_name_with_a_warning(thing: Any) -> None:
    _warn_of_description.cache_clear()
    with pytest.warns(UserWarning, match="'ping_7' has no description and is described by its name"):
        assert tool_spec(thing).description == "ping_7"
    assert tool_spec(thing).summary == "ping_7"  # warned of once


@pytest.mark.parametrize("thing", [3, {}, {"type": "function"}, {"name": 3, "description": "x"}, None])
def test_what_is_no_tool_is_refused(thing: Any) -> None:
    with pytest.raises(ToolError):
        tool_spec(thing)


def test_arguments_that_are_no_object_are_refused() -> None:
    with pytest.raises(ToolError, match="'f': its arguments are of type 'array'"):
        tool_spec({"name": "f", "description": "F.", "parameters": {"type": "array"}})


class Counter:
    """Not a function."""

    def __call__(self, number: int) -> int:
        return number


@pytest.mark.parametrize("thing", [5, "multiply", Counter(), {"type": "web_search"}])
def test_what_is_no_tool_is_a_tool_error_that_says_what_to_give(thing: Any) -> None:
    with pytest.raises(ToolError, match=r"give .*(@tool|\"name\")"):
        tool_spec(thing)


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ToolError, match="two tools are named 'now'"):
        tool_specs([now, plain, tool("now", description="Again.")(plain)])


def test_a_tool_given_twice_is_one_where_repeats_are_allowed_and_two_of_one_name_are_refused() -> None:
    assert [spec.name for spec in tool_specs([now, plain, now], allow_repeats=True)] == ["now", "plain"]
    with pytest.raises(ToolError, match="two tools are named 'now'"):
        tool_specs([now, plain, now])
    with pytest.raises(ToolError, match="two tools are named 'now'"):
        tool_specs([now, tool("now", description="Again.")(plain)], allow_repeats=True)


def test_a_structured_tool_with_a_json_schema_gives_that_schema() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}
    made = StructuredTool(name="j", description="J.", args_schema=schema, func=lambda x: x)
    assert tool_spec(made).signature == "j(x: integer)"


# --- schemas of answers ----------------------------------------------------------------------------------------------


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
    for spec in (schema_spec(NoteDict), tool_spec(NoteDict)):
        fields = spec.json_schema["properties"]
        nullable = {name for name in fields if {"type": "null"} in fields[name].get("anyOf", ())}
        assert nullable == {"by"}
        assert fields["by"]["description"] == "who wrote it"
        assert spec.json_schema["required"] == ["text"]


def test_an_answer_that_contains_itself_keeps_to_its_schema_all_the_way_down() -> None:
    spec = schema_spec(Node)
    assert accepts(spec, '{"value":1,"children":[{"value":2}]}')
    assert not accepts(spec, '{"value":1,"children":[{"value":"2"}]}')


@pytest.mark.parametrize(
    "schema", [{"type": "object", "properties": {}}, {"title": "Points", "type": "array"}, "Point", 3]
)
def test_what_is_no_schema_of_an_object_is_refused_with_what_to_give(schema: object) -> None:
    with pytest.raises(ValueError, match="pydantic model, a TypedDict, or a JSON schema"):
        schema_spec(schema)


# --- grammars --------------------------------------------------------------------------------------------------------


def test_grammar_takes_compact_valid_arguments_and_nothing_else() -> None:
    spec = tool_spec(plain)
    assert accepts(spec, '{"a":4096,"b":2.5}')
    assert accepts(spec, '{"a":1,"b":2,"digits":3}')
    assert not accepts(spec, '{"a": 1,"b":2}')
    assert not accepts(spec, '{"a":1}')
    assert not accepts(spec, '{"a":1,"b":"2"}')
    assert not accepts(spec, '{"a":1,"b":2,"c":3}')


def test_grammar_follows_references_to_nested_models() -> None:
    spec = tool_spec(greet)
    person = {"name": "Ann", "addresses": [{"street": "Elm", "number": None}]}
    arguments = {"person": person, "unit": "foot", "mood": "kind", "tags": ["a"], "limit": 3}
    assert accepts(spec, json.dumps(arguments, separators=(",", ":")))
    assert not accepts(spec, json.dumps({**arguments, "unit": "mile"}, separators=(",", ":")))
    assert not accepts(spec, json.dumps({**arguments, "state": {}}, separators=(",", ":")))


def test_a_model_that_contains_itself_works() -> None:
    spec = tool_spec(Node)
    assert spec.signature == "Node(value: integer, children?: list[object])"
    assert accepts(spec, '{"value":1,"children":[{"value":2,"children":[{"value":3}]}]}')
    assert not accepts(spec, '{"children":[]}')


def test_zero_arguments_are_the_empty_object() -> None:
    spec = tool_spec(now)
    assert spec.signature == "now()"
    assert accepts(spec, "{}")
    assert not accepts(spec, '{"a":1}')


def test_free_form_objects_stay_free() -> None:
    def store(data: dict[str, Any]) -> None:
        """Store data."""

    assert accepts(tool_spec(store), '{"data":{"any":["thing"]}}')


def test_an_argument_that_nothing_is_valid_for_is_named() -> None:
    def tagged(ok: int, tags: Annotated[list[int], Field(min_length=3, max_length=2)]) -> None:
        """Tag it."""

    with pytest.raises(ToolError, match=r"tool 'tagged': its argument 'tags' cannot be constrained.*unsatisfiable"):
        tool_spec(tagged)


def test_a_nested_argument_that_nothing_is_valid_for_is_named_by_its_path() -> None:
    class Inner(BaseModel):
        fine: str
        code: str = Field(min_length=3, max_length=2)

    class Outer(BaseModel):
        """Outer."""

        items: Annotated[list[Inner], Field(min_length=1)]

    with pytest.raises(ToolError, match=r"tool 'Outer': its argument 'items.code' cannot be constrained"):
        tool_spec(Outer)


def test_a_reference_that_points_nowhere_is_named() -> None:
    parameters = {"type": "object", "properties": {"x": {"$ref": "#/$defs/Gone"}}}
    with pytest.raises(ToolError, match="tool 'f': its argument 'x'.*Gone"):
        tool_spec({"name": "f", "description": "F.", "parameters": parameters})
