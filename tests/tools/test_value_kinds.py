"""tools.value_kinds: what the values of parameters can be, and the choices of those that take one of a few."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from langchain_toolken.tools.value_kinds import fixed_choices, json_types, value_kinds
from tests.support.tools import spec


def test_enums_truth_values_and_null_are_choices_and_nothing_else_is() -> None:
    tool = spec(
        unit={"enum": ["m", "km"]},
        level={"enum": [1, 2]},
        urgent={"type": "boolean"},
        mode={"anyOf": [{"enum": ["on", "off"]}, {"type": "null"}]},
        silent={"type": ["boolean", "null"]},
        one={"enum": ["m"]},
        text={"type": "string"},
        either={"anyOf": [{"enum": ["on"]}, {"type": "string"}]},
        listed={"type": "array", "items": {"enum": ["a", "b"]}},
    )
    assert fixed_choices(tool) == {
        "unit": ('"m"', '"km"'),
        "level": ("1", "2"),
        "urgent": ("true", "false"),
        "mode": ('"on"', '"off"', "null"),
        "silent": ("true", "false", "null"),
    }


@pytest.mark.parametrize(
    ("schema", "kinds"),
    [
        ({"type": "string"}, {"text"}),
        ({"type": "integer"}, {"number"}),
        ({"enum": ["m", "km"]}, {"choice"}),
        ({"type": "string", "enum": ["m"]}, {"choice"}),
        ({"const": 1}, {"choice"}),
        ({"type": "boolean"}, {"choice"}),
        ({"type": "array", "items": {"type": "number"}}, {"number"}),
        ({"type": "array"}, {"other"}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, {"text", "choice"}),
        ({"type": ["string", "null"]}, {"text", "choice"}),
        ({"type": ["array", "null"], "items": {"type": "number"}}, {"number", "choice"}),
        ({"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "number"}]}, {"text", "number"}),
        ({"type": "object"}, {"other"}),
        ({"$ref": "#/$defs/Amount"}, {"number"}),
        ({"$ref": "#/$defs/Tree"}, {"number", "other"}),
        ({}, {"other"}),
        (True, {"other"}),
    ],
)
def test_kinds_of_a_value_are_those_of_its_alternatives_and_items(schema: Any, kinds: set[str]) -> None:
    root = {
        "$defs": {
            "Amount": {"type": "number"},
            "Tree": {"anyOf": [{"type": "number"}, {"type": "array", "items": {"$ref": "#/$defs/Tree"}}]},
        }
    }
    assert value_kinds(schema, root) == kinds


@pytest.mark.parametrize(
    "nullable",
    [
        lambda kind: {"type": kind},
        lambda kind: {"type": [kind, "null"]},
        lambda kind: {"anyOf": [{"type": kind}, {"type": "null"}], "default": None},
        lambda kind: {"oneOf": [{"type": "null"}, {"$ref": f"#/$defs/{kind}"}]},
    ],
)
def test_a_parameter_that_may_be_null_takes_the_same_values_however_it_is_written(
    nullable: Callable[[str], dict[str, Any]],
) -> None:
    root = {"$defs": {kind: {"type": kind} for kind in ("array", "number", "string")}}
    for kind in ("array", "number", "string"):
        assert json_types(nullable(kind), root) == {kind}


def test_types_are_those_of_all_alternatives_and_unnamed_where_a_schema_names_none() -> None:
    assert json_types({"anyOf": [{"type": "string"}, {"type": "array"}]}, {}) == {"string", "array"}
    assert json_types({"type": "null"}, {}) == set()
    assert json_types({}, {}) == json_types(None, {}) == {""}
    assert json_types({"type": ["string", "null"], "enum": ["a", None]}, {}) == {"string"}
