"""Graders of final numbers, of calls, and of looked-up answers: the rules of ToolkenGPT's evaluation/*.ipynb.

Where the papers' code trips over what an LM writes, we read the number as it was meant: their pattern loses the sign of
a negative integer and the exponent of 1.5e3, and takes a missing number for 0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from langchain_toolken.evaluation.questions import ExpectedCall
from langchain_toolken.tools.spec import ToolSpec

_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)\]])[-+−] ?)?"  # not the minus of 7-3
    r"[$€£]?(?P<sign_after>(?<=[$€£])[-+−])?"
    r"(?P<digits>\d+(?:,\d{3}(?!\d))*(?:\.\d+)?|\.\d+)"
    r"(?:[eE](?P<exponent>[-+]?\d{1,4})(?!\w)|\s?[×x*·]\s?10\^\{?(?P<power>[-+−]?\d{1,4})\}?)?",
    re.ASCII,
)
_MARK = re.compile(r"####|answer is", re.IGNORECASE)

# The order of the operands does not matter for these.
_COMMUTATIVE = frozenset({"add", "multiply", "lcm", "gcd"})


def final_number(text: str) -> Decimal | None:
    """Return the number that a text ends with, or None.

    It is the last number of the line after the last "####" or "answer is", as in the papers, whose generation ends with
    the line. Without such a mark it is the last number of the text; a mark without a number ("#### None") gives None.
    """
    marks = list(_MARK.finditer(text))
    if marks:
        # "The answer is:" may have its number in the next line.
        text = next((line for line in text[marks[-1].end() :].splitlines() if re.search(r"\w", line)), "")
    numbers = list(_NUMBER.finditer(text))
    return _value(numbers[-1]) if numbers else None


def _value(match: re.Match[str]) -> Decimal:
    sign = (match["sign"] or match["sign_after"] or "").strip().replace("−", "-")
    exponent = (match["exponent"] or match["power"] or "0").replace("−", "-")
    return Decimal(f"{sign}{match['digits'].replace(',', '')}e{exponent}")


def same_number(given: Decimal | None, expected: str, tolerance: str = "0") -> bool:
    """Tell whether two numbers agree within a relative tolerance. The papers use "0.001"; "0" demands equality."""
    if given is None:
        return False
    wanted = Decimal(expected.replace(",", ""))
    return abs(given - wanted) <= abs(wanted) * Decimal(tolerance)


def right_first_tool(called: Sequence[str], expected: str) -> bool:
    """Tell whether the first tool called is the expected one: how the papers grade KAMEL and SimpleToolQuestions.

    Args:
        called: Names of the tools called, in order; later ones do not count.
        expected: The name of the question's tool.
    """
    return called[:1] == [expected]


def names_answer(text: str, answers: Sequence[str]) -> bool:
    """Tell whether a text contains one of the answers as whole words, whatever the case.

    ToolkenGPT's KAMEL grader takes any substring; among KAMEL's alternatives of Canada is "ca".
    """
    folded = _folded(text)
    return any(_folded(answer) and f" {_folded(answer)} " in f" {folded} " for answer in answers)


def _folded(text: str) -> str:
    return " ".join(re.findall(r"\w+|[^\w\s]+(?<![.,;:!?\"'])", text.casefold()))


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
