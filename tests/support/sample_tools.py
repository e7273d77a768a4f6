"""The tools that tests of the chat model bind: two that compute, and two of an enum."""

from __future__ import annotations

from typing import Literal

from langchain_core.tools import tool


@tool
def multiply(a: int, b: int) -> int:
    """Multiply a by b."""
    return a * b


@tool
def divide(a: int, b: int) -> float:
    """Divide a by b."""
    return a / b


@tool
def lamp(state: Literal["on", "off"]) -> str:
    """Turn the lamp on or off."""
    return f"the lamp is {state}"


@tool
def door(way: Literal["open", "shut"]) -> str:
    """Open or shut the door."""
    return f"the door is {way}"
