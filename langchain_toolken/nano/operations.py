"""The 13 FuncQA operations on SymPy's exact rationals, with the papers' rounding of results.

Text is never evaluated: a number must match one pattern and becomes a `sympy.Rational`. Every result's size is
estimated before it is computed, so 9^9^9 is an error and does not hang.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from decimal import Context, Decimal
from math import isqrt, log10

import mpmath
import sympy
from langchain_core.tools import ToolException

MAX_DIGITS = 1000
"""Most digits before or after the decimal point of an operand or a result. No word problem needs
more, and up to this size every operation takes well under a millisecond."""

_NUMBER = re.compile(r"(?P<mantissa>[+-]?(\d+(\.\d*)?|\.\d+))([eE](?P<exponent>[+-]?\d{1,4}))?", re.ASCII)
_RATIO = re.compile(r"[+-]?\d+/\d+", re.ASCII)
# Irrational results are computed to _GUARD digits and then cut to _SIGNIFICANT, so that an exact result of an inexact
# computation (4^0.5, log of 2 to base 256) becomes that exact number again before it is rounded.
_GUARD = 60
_SIGNIFICANT = 45
_BIG = 10**MAX_DIGITS
_FINE = _BIG**4
# mpmath at a fixed precision is much faster than building a SymPy expression and evaluating its digits.
_MPMATH = mpmath.MPContext()
_MPMATH.dps = _GUARD

ReadableNumber = int | str | Decimal | float


class MathToolError(ToolException, ValueError):
    """An operation has no result, or none within `MAX_DIGITS`. The message is plain text that an agent can report."""


def exact(number: ReadableNumber) -> sympy.Rational:
    """Convert a number to an exact rational.

    Raises:
        MathToolError: If it is not a finite number of at most `MAX_DIGITS` digits.
    """
    if isinstance(number, int) and not isinstance(number, bool):
        if abs(number) >= _BIG:
            raise MathToolError(f"a number has more than {MAX_DIGITS} digits")
        return sympy.Integer(number)
    text = number.strip() if isinstance(number, str) else repr(number) if isinstance(number, float) else str(number)
    if len(text) > 2 * MAX_DIGITS:
        raise MathToolError(f"a number has more than {MAX_DIGITS} digits")
    if _RATIO.fullmatch(text):
        p, q = text.split("/")
        if int(q) == 0:
            raise MathToolError("cannot divide by zero")
        return sympy.Rational(int(p), int(q))
    match = _NUMBER.fullmatch(text)
    if match is None or isinstance(number, bool):
        raise MathToolError(f"{text[:40]!r} is not a finite number")
    exponent = int(match["exponent"] or 0)
    if abs(exponent) > MAX_DIGITS:
        raise MathToolError(f"a number has more than {MAX_DIGITS} digits")
    whole, _, decimals = match["mantissa"].partition(".")
    shift = exponent - len(decimals)
    digits = int(whole + decimals)
    return sympy.Integer(digits * 10**shift) if shift >= 0 else sympy.Rational(digits, 10**-shift)


def round_result(value: sympy.Rational) -> str:
    """Round as ToolkenGPT's `custom_round` does, but exactly, and return plain text.

    The result has two decimals; a number below 0.1 keeps two after its leading zeros (0.02841 becomes 0.028). Ties go
    to the even digit, as in Python's `round`. Trailing zeros are dropped, so an integer has no ".0".

    Raises:
        MathToolError: If the result is too large or too close to zero for `MAX_DIGITS`.
    """
    p, q = abs(int(value.p)), int(value.q)
    if p >= _BIG * q:
        raise MathToolError(f"the result has more than {MAX_DIGITS} digits")
    places = 2
    if 0 < 10 * p < q:
        # 10^-(zeros+1) <= p/q < 10^-zeros. The digit counts give `zeros` to within one; the comparison decides.
        zeros = _digits(q) - _digits(p) - 1
        if 10 ** (zeros + 1) * p < q:
            zeros += 1
        places = zeros + 2
        if places > MAX_DIGITS:
            raise MathToolError(f"the result is closer to zero than {MAX_DIGITS} decimals can show")
    scaled, rest = divmod(p * 10**places, q)
    if 2 * rest > q or (2 * rest == q and scaled % 2):
        scaled += 1
    whole, decimals = divmod(scaled, 10**places)
    text = f"{whole}.{decimals:0{places}d}".rstrip("0").rstrip(".") if decimals else str(whole)
    return f"-{text}" if value.p < 0 and scaled else text


def _digits(positive: int) -> int:
    """Count the decimal digits of a positive integer."""
    guess = max(int(positive.bit_length() * 0.30102999566398) - 1, 0)
    power = 10**guess
    while power <= positive:
        power *= 10
        guess += 1
    return guess


def _magnitude(value: sympy.Rational) -> float:
    """Return log10 |value|, for estimates. `math.log10` takes integers of any size."""
    return log10(abs(int(value.p))) - log10(int(value.q))


def _rational(value: sympy.Expr | mpmath.mpf, integer_digits: float = 0) -> sympy.Rational:
    """Return the rational that a real number's first digits spell out; see `_GUARD`."""
    extra = max(int(integer_digits), 0)
    digits = _MPMATH.nstr(value, _GUARD) if isinstance(value, _MPMATH.mpf) else str(value.evalf(_GUARD + extra))
    decimal = Context(prec=_SIGNIFICANT + extra).create_decimal(digits)
    return sympy.Rational(*decimal.as_integer_ratio())


def _bounded(value: sympy.Rational) -> sympy.Rational:
    if abs(int(value.p)) >= _BIG * int(value.q) or int(value.q) >= _FINE:
        raise MathToolError(f"the result has more than {MAX_DIGITS} digits")
    return value


def _integers(numbers: Sequence[sympy.Rational]) -> list[int]:
    for number in numbers:
        if number.q != 1:
            raise MathToolError(f"needs whole numbers, not {round_result(number)}")
    return [int(number) for number in numbers]


def _add(*numbers: sympy.Rational) -> sympy.Rational:
    total = sympy.S.Zero
    for number in numbers:
        total = _bounded(total + number)
    return total


def _multiply(*numbers: sympy.Rational) -> sympy.Rational:
    product = sympy.S.One
    for number in numbers:
        product = _bounded(product * number)
    return product


def _subtract(a: sympy.Rational, b: sympy.Rational) -> sympy.Rational:
    return a - b


def _divide(a: sympy.Rational, b: sympy.Rational) -> sympy.Rational:
    if b == 0:
        raise MathToolError("cannot divide by zero")
    return a / b


def _power(base: sympy.Rational, exponent: sympy.Rational) -> sympy.Rational:
    if base == 0:
        if exponent < 0:
            raise MathToolError("zero has no negative power (it would divide by zero)")
        return sympy.S.One if exponent == 0 else sympy.S.Zero
    if base < 0 and exponent.q != 1:
        raise MathToolError("a negative number has no real power with a fractional exponent")
    p, q = abs(int(base.p)), int(base.q)
    negative = base.p < 0 and int(exponent) % 2 == 1
    if p == q:
        return sympy.Integer(-1 if negative else 1)
    if exponent.q == 1 and (p.bit_length() + q.bit_length()) * abs(int(exponent)) <= 20_000:
        return _bounded(
            sympy.Rational(int(base.p) ** int(exponent), q ** int(exponent)) if exponent > 0 else base**exponent
        )
    # (1 + 1e-10)^(1e12) is of ordinary size, but its logarithm needs as many digits as SymPy finds necessary.
    near_one = abs(p - q) * 10**6 < q
    logarithm = sympy.log(abs(base)).evalf(2 * _GUARD + MAX_DIGITS) if near_one else None
    digits = (
        float(exponent * logarithm / sympy.log(10).evalf())
        if logarithm is not None
        else _float(exponent) * _magnitude(base)
    )
    if abs(digits) > MAX_DIGITS:
        kind = "has more than" if digits > 0 else "is closer to zero than can be shown with"
        raise MathToolError(f"the result {kind} {MAX_DIGITS} digits")
    if logarithm is None:
        logarithm = sympy.log(abs(base)).evalf(2 * _GUARD + max(int(digits), 0))
    root = _rational(sympy.exp(exponent * logarithm), digits)
    return -root if negative else root


def _float(exponent: sympy.Rational) -> float:
    """Return `exponent` as a float, infinite if it is too large for one; every size check refuses infinity."""
    if abs(int(exponent.p)) >= 10**300 * int(exponent.q):
        return float("inf") if exponent > 0 else float("-inf")
    return int(exponent.p) / int(exponent.q)


def _sqrt(x: sympy.Rational) -> sympy.Rational:
    if x.p < 0:
        raise MathToolError("a negative number has no real square root")
    p, q = int(x.p), int(x.q)
    root = isqrt(p), isqrt(q)
    if root[0] ** 2 == p and root[1] ** 2 == q:
        return sympy.Rational(*root)
    # evaluate=False: otherwise SymPy looks for square factors, which takes longer than computing the digits.
    return _rational(sympy.Pow(x, sympy.S.Half, evaluate=False), _magnitude(x) / 2)


def _natural_logarithm(x: sympy.Rational) -> mpmath.mpf:
    if x.p <= 0:
        raise MathToolError("only numbers above zero have a logarithm")
    p, q = int(x.p), int(x.q)
    if abs(p - q) * 10**6 < q:
        # This close to 1, a fixed precision may not distinguish x from 1; SymPy takes as many digits as it needs.
        return _MPMATH.mpf(str(sympy.log(x).evalf(_GUARD)))
    return _MPMATH.log(_MPMATH.mpf(p) / q)


def _ln(x: sympy.Rational) -> sympy.Rational:
    return _rational(_natural_logarithm(x))


def _log(x: sympy.Rational, base: sympy.Rational = sympy.Integer(10)) -> sympy.Rational:  # noqa: B008 - immutable
    if base.p <= 0 or base == 1:
        raise MathToolError("a logarithm's base must be above zero and not 1")
    return _rational(_natural_logarithm(x) / _natural_logarithm(base))


def _lcm(*numbers: sympy.Rational) -> sympy.Rational:
    multiple = 1
    for number in _integers(numbers):
        multiple = int(_bounded(sympy.Integer(sympy.ilcm(multiple, number))))
    return sympy.Integer(abs(multiple))


def _gcd(*numbers: sympy.Rational) -> sympy.Rational:
    return sympy.Integer(sympy.igcd(*_integers(numbers)))


def _remainder(a: sympy.Rational, b: sympy.Rational) -> sympy.Rational:
    if b == 0:
        raise MathToolError("cannot divide by zero")
    return a - b * sympy.floor(a / b)


def _items(n: sympy.Rational, k: sympy.Rational) -> tuple[int, int]:
    items, taken = _integers((n, k))
    if taken < 0 or items < 0:
        raise MathToolError("needs numbers of items that are not negative")
    if taken > items:
        raise MathToolError(f"cannot take {taken} of {items} items")
    return items, taken


def _choose(n: sympy.Rational, k: sympy.Rational) -> sympy.Rational:
    items, taken = _items(n, k)
    taken = min(taken, items - taken)
    # C(n, k) >= (n/k)^k. A lower bound refuses only what is too large, and keeps k small.
    if taken and taken * (log10(items) - log10(taken)) > MAX_DIGITS:
        raise MathToolError(f"the result has more than {MAX_DIGITS} digits")
    return sympy.binomial(items, taken)


def _permutate(n: sympy.Rational, k: sympy.Rational) -> sympy.Rational:
    items, taken = _items(n, k)
    # n!/(n-k)! >= k! >= (k/e)^k, and >= (n-k+1)^k
    least = taken * max(log10(items - taken + 1), log10(taken) - 0.4343) if taken else 0.0
    if least > MAX_DIGITS:
        raise MathToolError(f"the result has more than {MAX_DIGITS} digits")
    return sympy.ff(items, taken)


# name -> (the operation, the fewest and the most numbers it takes)
OPERATIONS: dict[str, tuple[Callable[..., sympy.Rational], int, int | None]] = {
    "add": (_add, 2, None),
    "subtract": (_subtract, 2, 2),
    "multiply": (_multiply, 2, None),
    "divide": (_divide, 2, 2),
    "power": (_power, 2, 2),
    "sqrt": (_sqrt, 1, 1),
    "log": (_log, 1, 2),
    "ln": (_ln, 1, 1),
    "lcm": (_lcm, 2, None),
    "gcd": (_gcd, 2, None),
    "remainder": (_remainder, 2, 2),
    "choose": (_choose, 2, 2),
    "permutate": (_permutate, 2, 2),
}
