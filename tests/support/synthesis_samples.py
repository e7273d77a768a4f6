"""Two tools, and a script that writes good demonstrations of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.tools import BaseTool, tool

from langchain_toolken.training.synthesis.writers import (
    ChatModelWriter,
)
from tests.support.scripted_generator import Example, ScriptedGenerator

RUN: list[tuple[str, dict[str, Any]]] = []


@tool
def add(a: float, b: float) -> str:
    """Add two numbers."""
    RUN.append(("add", {"a": a, "b": b}))
    if a < 0:
        raise ValueError("a must not be negative")
    return f"{a + b:g}"


@tool
def weather(city: str) -> str:
    """Look up the weather in a city."""
    RUN.append(("weather", {"city": city}))
    return "rainy"


TOOLS: list[BaseTool] = [add, weather]
# fmt: off
ANIMALS = (
    "horses", "cows", "dogs", "cats", "sheep", "goats", "ducks", "geese", "hens", "pigs", "mules", "llamas", "foxes",
)
CITIES = ("Oslo", "Lima", "Cairo", "Quito", "Accra", "Dakar", "Hanoi", "Seoul", "Turin", "Basel", "Kyoto", "Perth")
CHAT = (
    "Why is the sky blue?", "Tell me a joke!", "Who was Ada Lovelace?", "What does rainy mean?", "I am bored.", "Hello",
)
# fmt: on


def good(tool_name: str, before: int) -> list[Example]:
    if tool_name == "add":
        names = ANIMALS[2 * before : 2 * before + 2]
        return [
            {
                "request": f"Farmer {n.title()} has {before + 3} {n} and buys {i + 20} more {n}: how many {n} is that?",
                "answer": f"There are {before + 3}+{i + 20}= {{result}} {n}. ",
                "arguments": {"a": before + 3, "b": i + 20},
            }
            for i, n in enumerate(names)
        ]
    if tool_name == "weather":
        names = CITIES[2 * before : 2 * before + 2]
        return [
            {"request": f"{n}, {n}: sunny {n}?", "answer": "It is {result}", "arguments": {"city": n}} for n in names
        ]
    return [{"request": r, "answer": "Well, that is easy."} for r in CHAT[2 * before : 2 * before + 2]]


def chosen(request: str) -> str:
    if "how many" in request:
        return "add"
    return "weather" if "sunny" in request else "none"


def writer(
    examples: Callable[[str, int], list[Example]] = good, choose: Callable[[str], str] = chosen, batch: int = 2
) -> ChatModelWriter:
    return ChatModelWriter(ScriptedGenerator(examples=examples, choose=choose), batch=batch)
