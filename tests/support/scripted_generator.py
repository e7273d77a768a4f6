"""A chat model that plays a generator of demonstrations by a script, and two tools with good demonstrations of them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool, tool
from pydantic import Field

from langchain_toolken.training.synthesis.writers import ChatModelWriter

Example = dict[str, Any]


class ScriptedGenerator(BaseChatModel):
    """Gives `examples(tool, how often it was asked before)`, and chooses by `choose(request)`.

    tool is "" where requests without a tool are asked for.
    """

    examples: Callable[[str, int], list[Example]]
    choose: Callable[[str], str]
    prompts: list[str] = Field(default_factory=list)
    asked: dict[str, int] = Field(default_factory=dict)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        prompt = messages[-1].text
        self.prompts.append(prompt)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self._answer(prompt)))])

    def _answer(self, prompt: str) -> str:
        if "Which one does it need" in prompt:
            requests = re.findall(r"^\d+\. (.*)$", prompt, re.MULTILINE)
            return json.dumps({"choices": [{"tool": self.choose(request)} for request in requests]})
        named = re.search(r"^Tool: (\w+)\(", prompt, re.MULTILINE)
        tool = named[1] if named else ""
        before = self.asked.get(tool, 0)
        self.asked[tool] = before + 1
        written = json.dumps({"examples": self.examples(tool, before)}, ensure_ascii=False)
        return f"Here they are:\n```json\n{written}\n```"

    @property
    def _llm_type(self) -> str:
        return "scripted"


class ScriptedToolCaller(ScriptedGenerator):
    """The same for a model that is given a schema as a tool, as `with_structured_output` does it."""

    schemas: list[dict[str, Any]] = Field(default_factory=list)

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        self.schemas.append(tools[0])
        return self.bind(schema_name=tools[0]["title"])

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        prompt = messages[-1].text
        self.prompts.append(prompt)
        args_given = json.loads(self._answer(prompt).removeprefix("Here they are:\n```json\n").removesuffix("\n```"))
        call = {"name": kwargs["schema_name"], "args": args_given, "id": "1", "type": "tool_call"}
        return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])


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
