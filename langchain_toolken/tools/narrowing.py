"""Decide of a tool's optional parameters, before its arguments are written, which of them one call has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_toolken.tools.spec import ToolSpec

# Keywords of a schema that puts no condition on which fields come together.
_PLAIN = {"type", "properties", "required", "additionalProperties", "description", "$defs"}
_NULL = {"type": "null"}


def narrowed(spec: ToolSpec, has: Mapping[str, bool]) -> ToolSpec:
    """Return a tool whose call has, or lacks, some parameters. Its arguments are valid for `spec` too.

    Only optional parameters that the schema names at its top level are decided; others, and those of a schema that puts
    conditions on which fields come together, stay as they are.

    Args:
        spec: The tool.
        has: Whether the call has a parameter. Those that are not named stay optional.
    """
    schema = spec.json_schema
    properties, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(properties, Mapping) or not set(schema) <= _PLAIN:
        return spec
    decided = {name: there for name, there in has.items() if name in properties and name not in required}
    if not decided:
        return spec
    kept = {
        name: _not_null(field) if decided.get(name) else field
        for name, field in properties.items()
        if decided.get(name, True)
    }
    needed = [name for name in kept if name in required or decided.get(name)]
    return spec.model_copy(update={"json_schema": {**schema, "properties": kept, "required": needed}})


def _not_null(field: Any) -> Any:
    """Take null out of a field's types and alternatives: it is another way to leave the field out."""
    if not isinstance(field, Mapping):
        return field
    field = dict(field)
    for key, null in (("type", "null"), ("anyOf", _NULL), ("oneOf", _NULL)):
        if isinstance(field.get(key), list):
            field[key] = [one for one in field[key] if one != null] or field[key]
    return field
