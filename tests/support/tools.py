"""Tools that tests bind: two that compute, two of an enum, and any by its arguments."""

from __future__ import annotations

from typing import Any, Literal

from langchain_core.tools import tool

from langchain_toolken.tools.spec import ToolSpec


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


def spec(name: str = "calculate", **properties: Any) -> ToolSpec:
    """A tool with these arguments, all required except the ones marked `optional`."""
    required = [key for key, value in properties.items() if not value.pop("optional", False)]
    schema = {"type": "object", "properties": properties, "required": required}
    return ToolSpec(name=name, description="Do it.", json_schema=schema)
