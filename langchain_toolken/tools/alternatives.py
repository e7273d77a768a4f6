"""Whether a `oneOf` can be decoded as an `anyOf`, since no value is valid under two branches. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from langchain_toolken.tools.schemas import Fields, resolve

MOST_BRANCHES = 40  # compared in pairs
_TYPES = frozenset({"null", "boolean", "number", "string", "array", "object"})


@dataclass(frozen=True)
class _Branch:
    schema: Any
    around: frozenset[str] | None
    fields: Fields


def apart(
    branches: Sequence[Any],
    root: Mapping[str, Any],
    arounds: Sequence[frozenset[str] | None],
    fields_of: Callable[[Any], Fields],
) -> bool:
    """Return whether what is decoded under one branch is never valid under another.

    Args:
        branches: The branches.
        root: The schema that their references resolve in.
        arounds: For each branch, the fields that objects may have besides the branch's own, if it is closed; None if
            they may have any others.
        fields_of: Finds the fields of a branch.
    """
    if len(branches) > MOST_BRANCHES:
        return False
    found = [
        _Branch(resolve(branch, root), around, fields_of(branch))
        for branch, around in zip(branches, arounds, strict=True)
    ]
    return all(_apart(one, other, root) for one, other in combinations(found, 2))


def _apart(branch: _Branch, another: _Branch, root: Mapping[str, Any]) -> bool:
    one, other = branch.schema, another.schema
    if not isinstance(one, Mapping) or not isinstance(other, Mapping):
        return False
    if _unlike(one, other):
        return True
    if _types(one) & _types(other) != {"object"}:
        return False
    mine, theirs = branch.fields, another.fields
    for name in mine.required & theirs.required:
        here, there = (resolve(fields.schemas[name], root) for fields in (mine, theirs))
        if isinstance(here, Mapping) and isinstance(there, Mapping) and _unlike(here, there):
            return True
    # In a closed object, a field that the other branch requires can't be there.
    if branch.around is None or another.around is None or mine.open_ended or theirs.open_ended:
        return False
    missing_there = mine.required - set(theirs.schemas) - another.around
    missing_here = theirs.required - set(mine.schemas) - branch.around
    return bool(missing_there) and bool(missing_here)


def _unlike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two schemas want values of different types, or different ones of a few values."""
    values, others = _values(one), _values(other)
    return not _types(one) & _types(other) or (values is not None and others is not None and not values & others)


def _types(schema: Mapping[str, Any]) -> set[str]:
    values = _values(schema)
    if values is not None:
        return {_type_of(json.loads(value)) for value in values}
    kinds = schema.get("type")
    if kinds is None:
        return {"object"} if {"properties", "required"} & set(schema) else set(_TYPES)
    return {"number" if kind == "integer" else str(kind) for kind in (kinds if isinstance(kinds, list) else [kinds])}


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {type(None): "null", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


def _values(schema: Any) -> set[str] | None:
    """Return the values that `const` or `enum` names, as JSON; None if there is neither."""
    if not isinstance(schema, Mapping):
        return None
    if "const" in schema:
        return {_json(schema["const"])}
    return {_json(value) for value in schema["enum"]} if isinstance(schema.get("enum"), list) else None


def _json(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole else value, sort_keys=True)
