"""tools.value_kinds: what the values of parameters can be, and the choices of those that take one of a few."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_toolken.tools.value_kinds import fixed_choices, value_kinds
from tests.support.tools import spec


def test_enums_truth_values_and_null_are_choices_and_nothing_else_is() -> None:
    tool = spec(
        unit={"enum": ["m", "km"]},
        level={"enum": [1, 2]},
        urgent={"type": "boolean"},
        mode={"anyOf": [{"enum": ["on", "off"]}, {"type": "null"}]},
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
