"""Random numbers, with ranges that pre-training never sees.

Numbers whose three leading digits are in `HELD_OUT_LEADS` occur only in evaluation. That holds out a whole range at every
magnitude: 374, [3740, 3750), [37400, 37500), …. Holding out two leading digits was too much: nano then never saw a number
that begins with 37, and wrote another digit when it copied one.
"""

from __future__ import annotations

from decimal import Decimal
from random import Random

HELD_OUT_LEADS = frozenset({"162", "164", "167", "372", "374", "379", "581", "583", "586", "830", "836", "838"})


def is_held_out(number: str) -> bool:
    """Tell whether a plain decimal numeral is in a range held out of pre-training."""
    digits = number.lstrip("-").partition(".")[0].lstrip("0")
    return len(digits) >= 3 and digits[:3] in HELD_OUT_LEADS


class Numbers:
    """Draws numerals (plain decimal strings). With `held_out=True`, integers of three or more digits are from held-out ranges."""

    def __init__(self, rng: Random, *, held_out: bool = False) -> None:
        self.rng = rng
        self.held_out = held_out

    def integer(self, low_digits: int = 1, high_digits: int = 8) -> str:
        """Draw an integer whose number of digits is uniform between the two."""
        rng = self.rng
        digits = rng.randint(low_digits, high_digits)
        if digits <= 1:
            return str(rng.randint(2, 9))
        if self.held_out and digits >= 3:
            return rng.choice(sorted(HELD_OUT_LEADS)) + "".join(rng.choice("0123456789") for _ in range(digits - 3))
        while True:
            number = str(rng.randint(10 ** (digits - 1), 10**digits - 1))
            if rng.random() < 0.1:  # round numbers are common in real questions
                number = number[:2] + "0" * (digits - 2)
            if not is_held_out(number):
                return number

    def decimal(self, low_digits: int = 1, high_digits: int = 6) -> str:
        """Draw a number with one to four decimals, most often two, sometimes below one."""
        rng = self.rng
        places = rng.choice((1, 2, 2, 2, 2, 3, 4))
        whole = "0" if rng.random() < 0.15 else self.integer(low_digits, high_digits)
        fraction = "".join(rng.choice("0123456789") for _ in range(places - 1)) + rng.choice("123456789")
        return f"{whole}.{fraction}"

    def number(self, low_digits: int = 1, high_digits: int = 8, decimals: float = 0.3) -> str:
        """Draw an integer, or with probability `decimals` a decimal number."""
        if self.rng.random() < decimals:
            return self.decimal(low_digits, min(high_digits, 6))
        return self.integer(low_digits, high_digits)

    def between(self, low: int, high: int) -> str:
        """Draw an integer in [low, high], for counts that must stay small."""
        while True:
            number = str(self.rng.randint(low, high))
            if self.held_out or not is_held_out(number):
                return number

    def descending(self, low_digits: int = 1, high_digits: int = 8, decimals: float = 0.3) -> tuple[str, str]:
        """Draw two different numbers, the larger one first."""
        while True:
            one, two = (self.number(low_digits, high_digits, decimals) for _ in range(2))
            if Decimal(one) != Decimal(two):
                return (one, two) if Decimal(one) > Decimal(two) else (two, one)


def as_written(number: str, rng: Random, commas: float = 0.2) -> str:
    """Write a numeral as in a question: with probability `commas` with thousands separators."""
    whole, point, fraction = number.partition(".")
    if len(whole) > 3 and rng.random() < commas:
        return f"{int(whole):,}{point}{fraction}"
    return number
