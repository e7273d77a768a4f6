"""Tools as typed calls, which LMs read: `divide(a: number, b: number, digits?: integer)`. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from langchain_toolken.tools.schemas import DEEPEST, fields_of, target

_LONGEST = 4000  # characters of a signature
_LONGEST_TYPE = 1000
_MOST_SCHEMAS = 2000  # visited for one signature
_DEEPEST_LIST = 8
_CUT = "…"


def signature(name: str, schema: Mapping[str, Any]) -> str:
    """Write a tool as a typed call; `?` marks an optional field, `…` what is left out for its length."""
    fields = fields_of(schema, schema)
    types = _Types(schema)
    parts: list[str] = []
    left = _LONGEST
    for field, field_schema in fields.schemas.items():
        shown = field if len(field) <= _LONGEST_TYPE else field[: _LONGEST_TYPE - 1] + _CUT
        part = f"{shown}{'' if field in fields.required else '?'}: {types.name(field_schema)}"
        left -= len(part) + 2
        if left < 0:
            parts.append(_CUT)
            break
        parts.append(part)
    return f"{name}({', '.join(parts)})"


def type_name(schema: Any, root: Mapping[str, Any]) -> str:
    """Name a field's type as a signature shows it: "list[string]", "'metre' | 'foot'", "any"."""
    return _Types(root).name(schema)


class _Types:
    """Names types. A type that holds itself is named where it comes again; all names together take bounded work."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = _MOST_SCHEMAS

    def name(self, schema: Any) -> str:
        return self._joined(self._alternatives(schema, (), 0))

    def _joined(self, alternatives: list[str]) -> str:
        parts: list[str] = []
        left = _LONGEST_TYPE
        for alternative in dict.fromkeys(alternatives):
            left -= len(alternative) + 3
            if left < 0 and alternative != _CUT:
                parts.append(_CUT)
                break
            parts.append(alternative)
        return " | ".join(parts)

    def _alternatives(self, schema: Any, references: tuple[str, ...], lists: int) -> list[str]:
        self._left -= 1
        if self._left < 0:
            return [_CUT]
        if not isinstance(schema, Mapping):
            return ["any"]
        reference = schema.get("$ref")
        if isinstance(reference, str):
            if reference in references or len(references) > DEEPEST:
                return [reference.rpartition("/")[2].strip("#") or "object"]
            return self._alternatives(target(reference, self._root), (*references, reference), lists)
        if "const" in schema:
            return [_literal(schema["const"])]
        if isinstance(schema.get("enum"), list):
            return [_literal(value) for value in schema["enum"][:_LONGEST_TYPE]]
        for key in ("anyOf", "oneOf"):
            if isinstance(schema.get(key), list) and schema[key]:
                found: list[str] = []
                for alternative in schema[key]:
                    found += self._alternatives(alternative, references, lists)
                    if len(found) > _LONGEST_TYPE:
                        return [*dict.fromkeys(found)][:_LONGEST_TYPE]
                return list(dict.fromkeys(found))
        parts = schema.get("allOf")
        if isinstance(parts, list) and len(parts) == 1 and "type" not in schema:
            return self._alternatives(parts[0], references, lists)
        kind = schema.get("type")
        if isinstance(kind, list):
            return [one for each in kind for one in self._alternatives({**schema, "type": each}, references, lists)]
        if kind == "array":
            if not isinstance(schema.get("items"), Mapping):
                return ["list"]
            if lists == _DEEPEST_LIST:
                return [f"list[{_CUT}]"]
            return [f"list[{self._joined(self._alternatives(schema['items'], references, lists + 1))}]"]
        if isinstance(kind, str):
            return [kind]
        return ["object" if "properties" in schema or "allOf" in schema else "any"]


def _literal(value: object) -> str:
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _LONGEST_TYPE else text[: _LONGEST_TYPE - 1] + _CUT
