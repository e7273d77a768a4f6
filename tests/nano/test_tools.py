"""The 13 FuncQA operations: exact, rounded as in the papers, and bounded."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
import sympy
from hypothesis import given
from hypothesis import strategies as st

from langchain_toolken.nano.operations import MathToolError, round_result
from langchain_toolken.nano.tools import MATH_TOOLS, compute
from langchain_toolken.tools.spec import tool_specs

NAMES = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "power",
    "sqrt",
    "log",
    "ln",
    "lcm",
    "gcd",
    "remainder",
    "choose",
    "permutate",
]


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("remainder", ["5572", "3241"], "2331"),
        ("multiply", ["123", "125.14"], "15392.22"),
        ("divide", ["4073.28", "4049.47"], "1.01"),
        ("subtract", ["399.63", "319.68"], "79.95"),
        ("add", [0.1, 0.2], "0.3"),
        ("add", ["9.8", "132.23", 1], "143.03"),
        ("lcm", ["451", "762", "416"], "71481696"),
        ("gcd", [66, 34, 54, 32], "2"),
        ("power", ["8", "10"], "1073741824"),
        ("power", ["4", "-1"], "0.25"),
        ("power", ["2", "8/5"], "3.03"),
        ("power", ["0.92", "7"], "0.56"),
        ("power", [4, 0.5], "2"),
        ("power", [-2, 3], "-8"),
        ("power", [-2, -3], "-0.12"),
        ("power", [0, 0], "1"),
        ("power", ["1.0000000001", 10**12], "26881171283755497738294515689407855463755568.31"),
        ("sqrt", ["5967.88"], "77.25"),
        ("sqrt", [16], "4"),
        ("sqrt", ["0.0000000049"], "0.00007"),
        ("log", ["5905.01"], "3.77"),
        ("log", [1000], "3"),
        ("log", [8, 2], "3"),
        ("log", ["0.00008342"], "-4.08"),
        ("ln", ["570"], "6.35"),
        ("ln", [1], "0"),
        ("ln", ["1.00000000000000000000001"], "0.00000000000000000000001"),
        ("choose", [45, 7], "45379620"),
        ("choose", [5, 5.0], "1"),
        ("permutate", [14, 14], "87178291200"),
        ("permutate", ["23", Decimal(7)], "1235591280"),
        ("remainder", [-7, 3], "2"),
        ("remainder", [7.5, 2], "1.5"),
        ("divide", [1, 35], "0.029"),
        ("divide", [-1, 300], "-0.0033"),
        ("divide", [1, 3 * 10**12], "0.00000000000033"),
        ("subtract", [1e22, 1], "9999999999999999999999"),
    ],
)
def test_results_are_the_papers(name: str, arguments: list[Any], result: str) -> None:
    assert compute(name, arguments) == result


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("52.3523", "52.35"),
        ("52.0011", "52"),
        ("0.00000233", "0.0000023"),
        ("0.0999", "0.1"),
        ("0.09876", "0.099"),
        ("0.125", "0.12"),
        ("0.135", "0.14"),
        ("0.1", "0.1"),
        ("0.01", "0.01"),
        ("-0.001", "-0.001"),
        ("99.999", "100"),
        ("0", "0"),
        ("-1200", "-1200"),
    ],
)
def test_rounding_keeps_two_decimals_or_two_after_the_leading_zeros(value: str, text: str) -> None:
    assert round_result(sympy.Rational(value)) == text


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("divide", [1, 0], "divide: cannot divide by zero"),
        ("remainder", [1, 0], "remainder: cannot divide by zero"),
        ("power", [9, 9**9], "power: the result has more than 1000 digits"),
        ("power", [10**999, 10**999], "power: the result has more than 1000 digits"),
        ("power", ["1.0000001", 10**999], "power: the result has more than 1000 digits"),
        ("power", [2, -(10**6)], "power: the result is closer to zero"),
        ("power", [0, -1], "power: zero has no negative power"),
        ("power", [-2, 0.5], "power: a negative number has no real power"),
        ("sqrt", [-1], "sqrt: a negative number has no real square root"),
        ("log", [0], "log: only numbers above zero have a logarithm"),
        ("log", [5, 1], "log: a logarithm's base"),
        ("ln", [-3], "ln: only numbers above zero"),
        ("choose", [10**9, 10**8], "choose: the result has more than 1000 digits"),
        ("choose", [3, 4], "choose: cannot take 4 of 3 items"),
        ("choose", [5.5, 2], "choose: needs whole numbers, not 5.5"),
        ("permutate", [10**6, 10**5], "permutate: the result has more than 1000 digits"),
        ("permutate", [-3, 1], "permutate: needs numbers of items that are not negative"),
        ("multiply", [10**999] * 3, "multiply: the result has more than 1000 digits"),
        ("lcm", [10**999 + 1, 10**999 + 3], "lcm: the result has more than 1000 digits"),
        ("gcd", [1.5, 2], "gcd: needs whole numbers, not 1.5"),
        ("add", [float("nan"), 1], "add: 'nan' is not a finite number"),
        ("add", [float("inf"), 1], "add: 'inf' is not a finite number"),
        ("add", ["1e99999999999", 1], "add: .* is not a finite number"),
        ("add", ["__import__('os')", 1], "is not a finite number"),
        ("add", [True, 1], "is not a finite number"),
        ("add", ["1/0", 1], "cannot divide by zero"),
        ("add", [10**1000, 1], "a number has more than 1000 digits"),
        ("add", [1], r"add takes at least 2 number\(s\), not 1"),
        ("sqrt", [1, 2], r"sqrt takes 1 number\(s\), not 2"),
        ("cube", [1], "there is no operation 'cube'; choose one of add, "),
    ],
)
def test_what_has_no_result_says_why(name: str, arguments: list[Any], message: str) -> None:
    with pytest.raises(MathToolError, match=message):
        compute(name, arguments)


@given(st.fractions(), st.fractions())
def test_addition_is_exact_before_it_is_rounded(a: Fraction, b: Fraction) -> None:
    total = a + b
    assert compute("add", [str(a), str(b)]) == round_result(sympy.Rational(total.numerator, total.denominator))


@given(st.integers(1, 10**40), st.integers(1, 10**40))
def test_a_rounded_quotient_is_within_half_a_step_of_the_true_one(p: int, q: int) -> None:
    shown = compute("divide", [p, q])
    decimals = len(shown.partition(".")[2])
    assert abs(Fraction(shown) - Fraction(p, q)) <= Fraction(1, 2 * 10 ** max(decimals, 2))
    assert Fraction(shown) > 0


@given(st.decimals(min_value="0.001", max_value=10**9, places=3))
def test_roots_and_logarithms_agree_with_floats(x: Decimal) -> None:
    assert math.isclose(float(compute("sqrt", [x])), math.sqrt(x), rel_tol=0.05, abs_tol=0.005001)
    assert math.isclose(float(compute("ln", [x])), math.log(x), rel_tol=0.05, abs_tol=0.005001)
    assert math.isclose(float(compute("log", [x])), math.log10(x), rel_tol=0.05, abs_tol=0.005001)


@given(
    st.sampled_from(NAMES),
    st.lists(st.integers() | st.floats() | st.decimals() | st.fractions().map(str) | st.text(max_size=8), max_size=4),
)
def test_any_arguments_give_a_number_or_a_plain_error(name: str, arguments: list[Any]) -> None:
    try:
        result = compute(name, arguments)
    except MathToolError as error:
        assert str(error).startswith(name)
    else:
        Fraction(result)


def test_the_tools_are_the_thirteen_operations_with_typed_arguments() -> None:
    specs = {spec.name: spec for spec in tool_specs(MATH_TOOLS)}
    assert " ".join(specs) == "add subtract multiply divide power sqrt log ln lcm gcd remainder choose permutate"
    assert specs["add"].signature == "add(numbers: list[number])"
    assert specs["power"].signature == "power(base: number, exponent: number)"
    assert specs["log"].signature == "log(x: number, base?: number)"
    assert specs["choose"].signature == "choose(n: integer, k: integer)"
    assert all(spec.summary == spec.description for spec in specs.values())


def test_a_tool_keeps_every_digit_of_an_integer() -> None:
    add = MATH_TOOLS[0]
    assert add.invoke({"numbers": [12345678901234567890, 0.1]}) == "12345678901234567890.1"


def test_a_failing_tool_call_is_an_error_message_that_an_agent_can_report() -> None:
    divide = next(tool for tool in MATH_TOOLS if tool.name == "divide")
    message = divide.invoke({"type": "tool_call", "id": "call_1", "name": "divide", "args": {"a": 1, "b": 0}})
    assert message.status == "error"
    assert message.content == "divide: cannot divide by zero"
