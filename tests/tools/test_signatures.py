"""Signatures: short, whatever the schema, and without writing a long one first."""

from __future__ import annotations

from typing import Any

from langchain_toolken.tools.signatures import signature, type_name


def test_a_type_that_holds_itself_is_named_where_it_comes_again() -> None:
    tree = {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"$ref": "#/$defs/Tree"}}]}
    assert type_name({"$ref": "#/$defs/Tree"}, {"$defs": {"Tree": tree}}) == "integer | list[Tree]"


def test_alternatives_that_multiply_are_named_once() -> None:
    def step(i: int) -> dict[str, Any]:
        return {"anyOf": [{"$ref": f"#/$defs/d{i}"}, {"type": "array", "items": {"$ref": f"#/$defs/d{i}"}}]}

    definitions = {f"d{i + 1}": step(i) for i in range(25)} | {"d0": {"type": "integer"}}
    text = signature("f", {"properties": {"x": {"$ref": "#/$defs/d25"}}, "$defs": definitions})
    assert text.startswith("f(x?: ")
    assert len(text) <= 1100


def test_long_signatures_are_cut_between_their_parts() -> None:
    many = {f"field_{i}": {"type": "integer"} for i in range(1000)}
    text = signature("f", {"properties": many})
    assert 3900 < len(text) <= 4010
    assert text.endswith("?: integer, …)")
    assert signature("f", {"properties": {"x" * 5000: {}}}) == f"f({'x' * 999}…?: any)"
    values = signature("f", {"properties": {"x": {"enum": [f"value {i}" for i in range(500)]}}})
    assert values.endswith(" | …)")
    assert len(values) <= 1100


def test_fields_are_shown_wherever_the_schema_states_them() -> None:
    one, two = ({"properties": {name: {"type": "integer"}}, "required": [name]} for name in "ab")
    assert signature("f", {"allOf": [one, two]}) == "f(a: integer, b: integer)"
    assert signature("f", {"anyOf": [one, two]}) == "f(a?: integer, b?: integer)"
    assert signature("f", {"$defs": {"A": one}, "$ref": "#/$defs/A", "required": ["c"]}) == "f(a: integer, c: any)"
