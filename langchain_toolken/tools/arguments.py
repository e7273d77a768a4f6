"""Check a demonstration's arguments against the tool's JSON schema."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_toolken.tools.checks import argument_fault
from langchain_toolken.tools.schemas import fields_of
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.tools.value_kinds import alternatives, json_types

# "5572", "-0.5", ".5", "1,234.5", "2e3" and "39/3", as the papers' data write numbers.
_NUMERAL = re.compile(
    r"\s*([+-]?(?:\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.\d*)?(?:[eE][+-]?\d{1,3})?)(?:/(\d{1,15}))?\s*", re.ASCII
)
_LONGEST_NUMERAL = 1000


def checked_arguments(spec: ToolSpec, args: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments by name, and numerals that were written as text as numbers where the schema wants numbers.

    Args:
        spec: The tool.
        args: The arguments by name, or in the order of the schema's properties. A tool whose only argument is an array
            also takes its items one by one: `lcm(4, 6, 9)`.

    Raises:
        ValueError: There are too many, one is unknown or missing, or one breaks the schema. The message names it.
    """
    fields = fields_of(spec.json_schema, spec.json_schema)
    named = dict(args) if isinstance(args, Mapping) else _by_position(spec, fields.schemas, list(args))
    unknown = [name for name in named if name not in fields.schemas]
    if unknown and not fields.open_ended:
        raise ValueError(f"'{spec.name}' has no argument {unknown[0]!r}; it reads {spec.signature}")
    named = {name: _numeral_read(value, fields.schemas.get(name), spec.json_schema) for name, value in named.items()}
    fault = argument_fault(spec.json_schema, named)
    if fault is not None:
        field, message = fault
        where = f"argument {field!r} of '{spec.name}'" if field else f"the arguments of '{spec.name}'"
        raise ValueError(f"{where}: {message}; it reads {spec.signature}")
    return named


def _by_position(spec: ToolSpec, properties: Mapping[str, Any], args: list[Any]) -> dict[str, Any]:
    if len(properties) == 1:
        ((name, schema),) = properties.items()
        one_by_one = args and not (len(args) == 1 and isinstance(args[0], list))
        if one_by_one and json_types(schema, spec.json_schema) == {"array"}:
            return {name: args}
    if len(args) > len(properties):
        raise ValueError(f"{len(args)} arguments are too many for '{spec.name}'; it reads {spec.signature}")
    return dict(zip(properties, args, strict=False))


def _numeral_read(value: Any, schema: Any, root: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        items = [one["items"] for one in alternatives(schema, root) if "items" in one]
        return [_numeral_read(item, items[0], root) for item in value] if len(items) == 1 else value
    if not isinstance(value, str) or len(value) > _LONGEST_NUMERAL:
        return value
    types = json_types(schema, root)
    match = _NUMERAL.fullmatch(value)
    if match is None or "string" in types or not types & {"number", "integer"}:
        return value
    numeral, divisor = match[1].replace(",", ""), int(match[2] or 1)
    if divisor == 0:
        return value
    try:
        whole = int(numeral)
    except ValueError:
        number = float(numeral) / divisor
        return number if math.isfinite(number) else value
    return whole / divisor if whole % divisor else whole // divisor
