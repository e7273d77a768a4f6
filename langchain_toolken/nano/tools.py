"""The 13 FuncQA operations as LangChain tools, and by name for other code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from langchain_core.tools import BaseTool, tool
from pydantic import Field, WithJsonSchema

from langchain_toolken.nano.operations import OPERATIONS, MathToolError, ReadableNumber, exact, round_result

# int before float: as a float an integer would lose its digits after the sixteenth.
Number = Annotated[int | float, WithJsonSchema({"type": "number"})]
Numbers = Annotated[list[Number], Field(min_length=2)]


def compute(name: str, arguments: Sequence[ReadableNumber]) -> str:
    """Compute an operation and round the result as the papers do: `"2331"`, `"0.028"`, `"92.2"`.

    Args:
        name: One of the 13 operations.
        arguments: Operands in the order of the tool's fields; `add`, `multiply`, `lcm` and `gcd` take two or more. A
            float counts as the decimal number that its repr shows (0.1 is one tenth). Text may be an integer, a
            decimal with or without exponent, or a ratio such as "8/5".

    Raises:
        MathToolError: If there is no such operation, or no result for these operands; the message names both.
    """
    if name not in OPERATIONS:
        raise MathToolError(f"there is no operation {name!r}; choose one of {', '.join(OPERATIONS)}")
    operation, least, most = OPERATIONS[name]
    if len(arguments) < least or (most is not None and len(arguments) > most):
        wanted = f"{least}" if most == least else f"{least} to {most}" if most else f"at least {least}"
        raise MathToolError(f"{name} takes {wanted} number(s), not {len(arguments)}")
    try:
        return round_result(operation(*(exact(argument) for argument in arguments)))
    except MathToolError as error:
        raise MathToolError(f"{name}: {error}") from None


@tool
def add(numbers: Numbers) -> str:
    """Add numbers together: their sum, the total of all of them."""
    return compute("add", numbers)


@tool
def subtract(a: Number, b: Number) -> str:
    """Subtract the second number from the first: their difference, what is left."""
    return compute("subtract", [a, b])


@tool
def multiply(numbers: Numbers) -> str:
    """Multiply numbers together: their product."""
    return compute("multiply", numbers)


@tool
def divide(a: Number, b: Number) -> str:
    """Divide the first number by the second: their quotient, how much each part gets."""
    return compute("divide", [a, b])


@tool
def power(base: Number, exponent: Number) -> str:
    """Raise a base to an exponent: repeated multiplication, growth at a steady rate."""
    return compute("power", [base, exponent])


@tool
def sqrt(x: Number) -> str:
    """Take the square root of a number: the side of a square with that area."""
    return compute("sqrt", [x])


@tool
def log(x: Number, base: Number = 10) -> str:
    """Take the logarithm of a number to a base, which is 10 unless another is given."""
    return compute("log", [x, base])


@tool
def ln(x: Number) -> str:
    """Take the natural logarithm of a number, the one to base e."""
    return compute("ln", [x])


@tool
def lcm(numbers: Numbers) -> str:
    """Find the least common multiple of whole numbers: the smallest number that each of them divides."""
    return compute("lcm", numbers)


@tool
def gcd(numbers: Numbers) -> str:
    """Find the greatest common divisor of whole numbers: the largest number that divides each of them."""
    return compute("gcd", numbers)


@tool
def remainder(a: Number, b: Number) -> str:
    """Find the remainder of dividing the first number by the second: what is left over after whole groups."""
    return compute("remainder", [a, b])


@tool
def choose(n: int, k: int) -> str:
    """Count the ways to choose k of n items when their order does not matter: combinations."""
    return compute("choose", [n, k])


@tool
def permutate(n: int, k: int) -> str:
    """Count the ways to arrange k of n items when their order matters: permutations."""
    return compute("permutate", [n, k])


MATH_TOOLS: list[BaseTool] = [
    add,
    subtract,
    multiply,
    divide,
    power,
    sqrt,
    log,
    ln,
    lcm,
    gcd,
    remainder,
    choose,
    permutate,
]

for _tool in MATH_TOOLS:
    # Agents then answer 1/0 with a ToolMessage of status "error" and continue, instead of ending with an exception.
    _tool.handle_tool_error = True
