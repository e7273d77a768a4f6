"""JSON schemas as pydantic, LangChain and users write them: walking them, and naming their types. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

# Where a JSON schema holds further schemas. Everything else (default, const, enum, examples) is data and left alone.
_SCHEMA_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties", "not", "contains", "propertyNames")


def map_schemas(schema: Mapping[str, Any], change: Callable[[Any, str], Any]) -> dict[str, Any]:
    """Copy `schema` with `change(subschema, keyword)` in place of every schema directly inside it."""
    copy = dict(schema)
    for key in _SCHEMA_MAPS:
        if isinstance(copy.get(key), Mapping):
            copy[key] = {name: change(inner, key) for name, inner in copy[key].items()}
    for key in _SCHEMA_LISTS:
        if isinstance(copy.get(key), list):
            copy[key] = [change(inner, key) for inner in copy[key]]
    for key in _SCHEMAS:
        if isinstance(copy.get(key), Mapping):
            copy[key] = change(copy[key], key)
    return copy


def without_titles(schema: Any, _keyword: str = "") -> Any:
    """Copy `schema` without the titles that pydantic adds. Fields named "title" stay."""
    if not isinstance(schema, Mapping):
        return schema
    copy = map_schemas(schema, without_titles)
    copy.pop("title", None)
    return copy


def resolve(schema: Any, root: Mapping[str, Any]) -> Any:
    """Follow a local `$ref`.

    Returns:
        What it points to; `schema` itself if it is no reference; `{}` (anything) if it points nowhere.
    """
    for _ in range(32):
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            break
        target: Any = root
        for part in schema["$ref"].removeprefix("#").strip("/").split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            target = target.get(key, {}) if isinstance(target, Mapping) else {}
        schema = target
    return schema


def type_name(schema: Any, root: Mapping[str, Any]) -> str:
    """Name a field's type as a tool's signature shows it: "list[string]", "'metre' | 'foot'", "any"."""
    schema = resolve(schema, root)
    if not isinstance(schema, Mapping):
        return "any"
    if "const" in schema:
        return _literal(schema["const"])
    if isinstance(schema.get("enum"), list):
        return " | ".join(_literal(value) for value in schema["enum"])
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(alternatives, list):
        return " | ".join(dict.fromkeys(type_name(alternative, root) for alternative in alternatives))
    if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1 and "type" not in schema:
        return type_name(schema["allOf"][0], root)
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(type_name({**schema, "type": one}, root) for one in kind)
    if kind == "array":
        return f"list[{type_name(schema['items'], root)}]" if isinstance(schema.get("items"), Mapping) else "list"
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema or "allOf" in schema else "any"


def _literal(value: object) -> str:
    return repr(value) if isinstance(value, str) else json.dumps(value)
