"""Graders of final numbers and of calls."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from langchain_toolken.evaluation.questions import ExpectedCall
from langchain_toolken.tools.spec import ToolSpec

_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?")
_MARK = re.compile(r"####|answer is", re.IGNORECASE)

# The order of the operands does not matter for these.
_COMMUTATIVE = frozenset({"add", "multiply", "lcm", "gcd"})


def final_number(text: str) -> Decimal | None:
    """Return the first number after the last "####" or "answer is" (the papers' rule), else the last number."""
    *_, last = _MARK.split(text)
    marked = last is not text and _NUMBER.search(last)
    if marked:
        return Decimal(marked[0].replace(",", ""))
    numbers = _NUMBER.findall(text)
    return Decimal(numbers[-1].replace(",", "")) if numbers else None


def same_number(given: Decimal | None, expected: str, tolerance: str = "0") -> bool:
    """Tell whether two numbers agree within a relative tolerance. The papers use "0.001"; "0" demands equality."""
    if given is None:
        return False
    wanted = Decimal(expected.replace(",", ""))
    return abs(given - wanted) <= abs(wanted) * Decimal(tolerance)


def operands_of(spec: ToolSpec, arguments: Mapping[str, Any]) -> list[Decimal] | None:
    """Return a call's numbers in the order of the parameters, without defaults, or None if one is not a number.

    Lists are flattened.
    """
    properties: Mapping[str, Any] = spec.json_schema.get("properties", {})
    values: list[Any] = []
    for name, schema in properties.items():
        value = arguments.get(name)
        if value is None or value == schema.get("default"):
            continue
        values += value if isinstance(value, list) else [value]
    try:
        return [Decimal(str(value)) for value in values]
    except InvalidOperation:
        return None


def same_call(spec: ToolSpec, arguments: Mapping[str, Any], expected: ExpectedCall) -> bool:
    """Tell whether a call has the expected tool and exactly the expected numbers.

    The order of the numbers matters unless the operation is commutative.
    """
    if spec.name != expected.tool:
        return False
    given = operands_of(spec, arguments)
    try:
        wanted = [Decimal(operand.replace(",", "")) for operand in expected.operands]
    except InvalidOperation:
        return False
    if given is None:
        return False
    return sorted(given) == sorted(wanted) if spec.name in _COMMUTATIVE else given == wanted
