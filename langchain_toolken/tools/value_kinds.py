"""What the values of a tool's parameters can be: text, numbers, or one of a few choices."""

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
    return _kinds(schema, root, 0)


def fixed_choices(spec: ToolSpec) -> dict[str, tuple[str, ...]]:
    """Return the parameters of a tool that take one of a few values, with these as JSON; null where it is one."""
    root = spec.json_schema
    found = {name: _choices(field, root) for name, field in fields_of(root, root).schemas.items()}
    return {name: choices for name, choices in found.items() if len(choices) > 1}


def _kinds(schema: Any, root: Mapping[str, Any], depth: int) -> set[ValueKind]:
    schema = resolve(schema, root)
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return {"other"}
    if "enum" in schema or "const" in schema:
        return {"choice"}
    if schema.get("type") == "array":
        return _kinds(schema.get("items"), root, depth + 1)
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return {kind for alternative in alternatives for kind in _kinds(alternative, root, depth + 1)}
    match schema.get("type"):
        case "string":
            return {"text"}
        case "number" | "integer":
            return {"number"}
        case "boolean" | "null":
            return {"choice"}
        case _:
            return {"other"}


def _choices(field: Any, root: Mapping[str, Any]) -> tuple[str, ...]:
    field = resolve(field, root)
    if not isinstance(field, Mapping):
        return ()
    if isinstance(values := field.get("enum"), list):
        return tuple(json.dumps(value, ensure_ascii=False) for value in values)
    if isinstance(parts := field.get("anyOf") or field.get("oneOf"), list):
        each = [_choices(part, root) for part in parts]
        return tuple(choice for choices in each for choice in choices) if all(each) else ()
    return {"boolean": ("true", "false"), "null": ("null",)}.get(str(field.get("type")), ())
