"""Whether a schema has a value that comes to an end. Loads no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def has_finite_value(schema: Mapping[str, Any]) -> bool:
    """Return whether a value of a decodable schema can end: a node that requires a node, and so on, has none.

    Args:
        schema: A schema as `Decodable` makes it, whose references all go to its `$defs`.
    """
    definitions: Mapping[str, Any] = schema.get("$defs", {})
    ending: set[str] = set()
    found = True
    while found:  # at most once for each definition
        new = {name for name, one in definitions.items() if name not in ending and _ends(one, ending)}
        ending |= new
        found = bool(new)
    return _ends(schema, ending)


def _ends(schema: Any, ending: set[str]) -> bool:
    if not isinstance(schema, Mapping):
        return True
    if "$ref" in schema and schema["$ref"].rpartition("/")[2] not in ending:
        return False
    if not all(_ends(part, ending) for part in schema.get("allOf", ())):
        return False
    if schema.get("anyOf") and not any(_ends(branch, ending) for branch in schema["anyOf"]):
        return False
    kinds = schema.get("type")
    if kinds == "object":
        fields, required = schema.get("properties"), schema.get("required")
        if not isinstance(fields, Mapping) or not isinstance(required, list):
            return True
        return all(_ends(fields.get(name), ending) for name in required if isinstance(name, str))
    if kinds == "array":
        least, first = schema.get("minItems", 0), schema.get("prefixItems", ())
        if not isinstance(least, int) or not isinstance(first, list | tuple):
            return True
        return all(_ends(item, ending) for item in first[:least]) and (
            least <= len(first) or _ends(schema.get("items"), ending)
        )
    return True
