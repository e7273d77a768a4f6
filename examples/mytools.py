"""Three tools, for `toolken fit --tools examples/mytools.py --demos examples/demos.jsonl --out my-toolkens`."""

from __future__ import annotations

from decimal import Decimal

from langchain_core.tools import tool


def _exact(number: float) -> Decimal:
    return Decimal(str(number))


def _plain(number: Decimal) -> str:
    return f"{round(number, 2).normalize():f}"


@tool
def total_price(price: float, count: float) -> str:
    """Multiplies the price of one piece by the number of pieces."""
    return _plain(_exact(price) * _exact(count))


@tool
def what_is_left(amount: float, taken: float) -> str:
    """Subtracts what was taken from the amount that was there."""
    return _plain(_exact(amount) - _exact(taken))


@tool
def fair_share(amount: float, people: float) -> str:
    """Divides an amount by a number of people."""
    if people == 0:
        raise ValueError("nothing can be shared among nobody")
    return _plain(_exact(amount) / _exact(people))
