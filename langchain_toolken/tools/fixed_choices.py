"""Which parameters of a tool take one of a few values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_toolken.tools.schemas import fields_of, resolve

if TYPE_CHECKING:
    from langchain_toolken.tools.spec import ToolSpec


def fixed_choices(spec: ToolSpec) -> dict[str, tuple[str, ...]]:
    """Return the parameters of a tool that take one of a few values, with these as JSON; null where it is one."""
    root = spec.json_schema
    found = {name: _choices(field, root) for name, field in fields_of(root, root).schemas.items()}
    return {name: choices for name, choices in found.items() if len(choices) > 1}


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
