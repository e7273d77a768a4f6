"""What the values of a tool's parameters can be: text, numbers, lists, or one of a few choices.

A parameter that may be null is written in three ways: with `anyOf` (pydantic), with a list of types (TypeScript's MCP
servers), or with a `$ref` to either. All are read alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from langchain_toolken.tools.schemas import fields_of, resolve

if TYPE_CHECKING:
    from langchain_toolken.tools.spec import ToolSpec

ValueKind: TypeAlias = Literal["text", "number", "choice", "other"]

_DEEPEST = 8  # arrays and alternatives in each other, before a schema counts as "other"


def value_kinds(schema: Any, root: Mapping[str, Any]) -> set[ValueKind]:
    """Return what a value can be, or, of a list, each of its items.

    Args:
        schema: The value's schema.
        root: The schema that references in it start from.

    Returns:
        "choice" for enums, constants, truth values and null; "other" for objects and where the schema does not say.
    """
    return {kind for one in alternatives(schema, root) for kind in _kinds(one, root, _DEEPEST)}


def json_types(schema: Any, root: Mapping[str, Any]) -> set[str]:
    """Return the JSON types that a value can have, but for null; "" where the schema names none."""
    types = [one.get("type", "") for one in alternatives(schema, root)]
    return {str(kind) for each in types for kind in (each if isinstance(each, list) else [each])} - {"null"}


def fixed_choices(spec: ToolSpec) -> dict[str, tuple[str, ...]]:
    """Return the parameters of a tool that take one of a few values, with these as JSON; null where it is one."""
    root = spec.json_schema
    found: dict[str, list[str]] = {}
    for name, field in fields_of(root, root).schemas.items():
        each = [_choices(one) for one in alternatives(field, root)]
        found[name] = [choice for choices in each for choice in choices] if all(each) else []
    return {name: tuple(choices) for name, choices in found.items() if len(choices) > 1}


def alternatives(schema: Any, root: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the schemas of which a value meets one, each with one type at most: `schema` itself where it is the only.

    Args:
        schema: The value's schema.
        root: The schema that references in it start from.
    """
    return _alternatives(schema, root, _DEEPEST)


def _alternatives(schema: Any, root: Mapping[str, Any], left: int) -> list[Mapping[str, Any]]:
    schema = resolve(schema, root)
    if not isinstance(schema, Mapping) or not left:
        return [{}]
    if isinstance(types := schema.get("type"), list) and "enum" not in schema:
        return [{**schema, "type": kind} for kind in types]
    parts = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(parts, list) and "enum" not in schema and "const" not in schema:
        return [one for part in parts for one in _alternatives(part, root, left - 1)]
    return [schema]


def _kinds(schema: Mapping[str, Any], root: Mapping[str, Any], left: int) -> set[ValueKind]:
    if "enum" in schema or "const" in schema:
        return {"choice"}
    match schema.get("type"):
        case "array" if left:
            items = _alternatives(schema.get("items"), root, left - 1)
            return {kind for one in items for kind in _kinds(one, root, left - 1)}
        case "string":
            return {"text"}
        case "number" | "integer":
            return {"number"}
        case "boolean" | "null":
            return {"choice"}
        case _:
            return {"other"}


def _choices(schema: Mapping[str, Any]) -> tuple[str, ...]:
    if isinstance(values := schema.get("enum"), list):
        return tuple(json.dumps(value, ensure_ascii=False) for value in values)
    return {"boolean": ("true", "false"), "null": ("null",)}.get(str(schema.get("type")), ())
