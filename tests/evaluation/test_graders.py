"""Which numbers and calls are graded as right."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_toolken.evaluation.graders import (
    final_number,
    names_answer,
    right_first_tool,
    same_call,
    same_number,
)
from langchain_toolken.evaluation.questions import ExpectedCall
from langchain_toolken.nano.tools import MATH_TOOLS
from langchain_toolken.tools.spec import tool_spec

SPECS = {tool.name: tool_spec(tool) for tool in MATH_TOOLS}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3 boxes of 4.\n#### 12", "12"),
        ("The answer is 1,234.5 dollars.", "1234.5"),
        ("#### 5\n#### -6.25", "-6.25"),
        ("There are 17 left.", "17"),
        ("In 1999 there were 8", "8"),
        ("12.", "12"),
        ("#### 1,234", "1234"),
        ("#### 12,345,678.9", "12345678.9"),
        ("He pays $5.00", "5"),
        ("He pays $1,234.50.", "1234.5"),
        ("a loss of -$5.00", "-5"),
        ("a loss of $-5.00", "-5"),
        ("It falls to -12", "-12"),
        ("It falls to −12 °C", "-12"),
        ("the range 7-3", "3"),
        ("#### .25", "0.25"),
        ("#### 50%", "50"),
        ("#### 1.5e3", "1500"),
        ("#### 2.5E-4.", "0.00025"),
        ("that is 2.82 x 10^11 bacteria", "282000000000"),
        ("that is 2.82 × 10^{-3}", "0.00282"),
        ("#### 3 * 4 = 12", "12"),
        ("#### 12 of 20", "20"),
        ("#### 12\nQ: There are 99 more.", "12"),
        ("The answer is:\n12 apples\nand 3 pears", "12"),
        ("the numbers 1, 2, 3", "3"),
        ("#### 1234,567", "1234567"),
    ],
)
def test_the_final_number_is_the_last_one_of_the_line_after_the_mark_or_of_the_text(text: str, number: str) -> None:
    assert final_number(text) == Decimal(number)


@pytest.mark.parametrize("text", ["no idea", "", "There were 12, then 8.\n#### None", "so 3 * 4\n####", "#### "])
def test_without_a_number_after_the_mark_there_is_none_and_none_is_never_right(text: str) -> None:
    assert final_number(text) is None
    assert not same_number(final_number(text), "0")
    assert not same_number(final_number(text), "0", "0.001")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9))
def test_a_number_is_found_again_however_it_is_written(number: Decimal) -> None:
    assert final_number(f"5 and 7\n#### {number:,}") == number
    assert final_number(f"it is {number:e}") == number
    assert final_number(f"It costs ${number:,}!") == number
    assert same_number(number, str(number))


@given(
    st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=1, max_value=10**9),
    st.decimals(allow_nan=False, allow_infinity=False, places=7, min_value=-2, max_value=2),
)
def test_a_number_is_right_exactly_within_a_thousandth_of_the_answer(answer: Decimal, off: Decimal) -> None:
    given = answer + answer * off / 1000
    assert same_number(given, str(answer), "0.001") == (abs(off) <= 1)


@given(st.text())
def test_any_text_is_graded(text: str) -> None:
    number = final_number(text)
    assert number is None or number.is_finite()


def test_the_papers_tolerance_is_a_thousandth_of_the_answer() -> None:
    assert same_number(Decimal("100.1"), "100", "0.001")
    assert not same_number(Decimal("100.11"), "100", "0.001")
    assert not same_number(Decimal("100.0001"), "100")
    assert same_number(final_number("It travels 32.3833 km."), "32.38", "0.001")
    assert same_number(final_number("It travels 32.38 km."), "32.383333", "0.001")
    assert not same_number(final_number("It travels 32.3 km."), "32.38", "0.001")
    assert not same_number(final_number("#### 12"), "-12", "0.001")


def test_only_the_first_tool_counts() -> None:
    assert right_first_tool(["P17", "P27"], "P17")
    assert not right_first_tool(["P27", "P17"], "P17")
    assert not right_first_tool([], "P17")


@pytest.mark.parametrize(
    ("text", "answers", "right"),
    [
        ("It was discovered at the vienna observatory.", ["Vienna Observatory"], True),
        ("Sweden and Canada", ["ca", "Canada"], True),
        ("He moved to Africa", ["ca"], False),
        ("It ended in 1935.", ["18 December 1935", "1935"], True),
        ("It ended in 19351", ["1935"], False),
        ("S. W. R. D. Bandaranaike", ["S.W.R.D. Bandaranaike", "S. W. R. D. Bandaranaike"], True),
        ("He plays the C++ song", ["C++"], True),
        ("He plays the C song", ["C++"], False),
        ("anything", ["", "  "], False),
        ("anything", [], False),
        ("None", ["None"], True),
    ],
)
def test_an_answer_is_named_by_whole_words(text: str, answers: list[str], right: bool) -> None:
    assert names_answer(text, answers) is right


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
