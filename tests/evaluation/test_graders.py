"""Which numbers and calls are graded as right."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_toolken.evaluation.graders import final_number, same_call, same_number
from langchain_toolken.evaluation.questions import ExpectedCall
from langchain_toolken.nano.tools import MATH_TOOLS
from langchain_toolken.tools.spec import tool_spec

SPECS = {tool.name: tool_spec(tool) for tool in MATH_TOOLS}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 boxes of 4.\n#### 12", "12"),
        ("The answer is 1,234.5 dollars, not 7.", "1234.5"),
        ("#### 5\n#### -6.25", "-6.25"),
        ("There are 17 left.", "17"),
        ("In 1999 there were 8", "8"),
        ("12.", "12"),
    ],
)
def test_the_final_number_stands_behind_the_mark_or_last(text: str, number: str) -> None:
    assert final_number(text) == Decimal(number)


def test_a_text_without_numbers_has_no_final_number_and_is_never_right() -> None:
    assert final_number("no idea") is None
    assert not same_number(final_number("no idea"), "0")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_a_number_is_found_again_however_it_is_written(number: Decimal) -> None:
    assert final_number(f"5 and 7\n#### {number:,}") == number
    assert same_number(number, str(number))


def test_the_papers_tolerance_is_a_thousandth_of_the_answer() -> None:
    assert same_number(Decimal("100.1"), "100", "0.001")
    assert not same_number(Decimal("100.11"), "100", "0.001")
    assert not same_number(Decimal("100.0001"), "100")


@pytest.mark.parametrize(
    ("tool", "arguments", "expected", "same"),
    [
        ("add", {"numbers": [3, 12.5]}, ("12.50", "3"), True),
        ("subtract", {"a": 3, "b": 12}, ("12", "3"), False),
        ("subtract", {"a": 12, "b": 3}, ("12", "3"), True),
        ("log", {"x": 123.2, "base": 10}, ("123.2",), True),
        ("log", {"x": 123.2, "base": 2}, ("123.2",), False),
        ("multiply", {"numbers": [4, 4]}, ("4", "4", "4"), False),
        ("power", {"base": 2, "exponent": 1.8}, ("2", "9/5"), False),
        ("sqrt", {"x": 12345678.0}, ("12,345,678",), True),
    ],
)
def test_arguments_are_right_if_the_numbers_are(
    tool: str, arguments: dict[str, Any], expected: tuple[str, ...], same: bool
) -> None:
    assert same_call(SPECS[tool], arguments, ExpectedCall(tool, expected)) is same


def test_another_tool_is_never_the_same_call() -> None:
    assert not same_call(SPECS["lcm"], {"numbers": [4, 6]}, ExpectedCall("gcd", ("4", "6")))
