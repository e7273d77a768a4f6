"""Read the everyday requests, and grade calls against the ones that they ask for.

A row of `test.jsonl` or `dev.jsonl` is one of four kinds:

- one call: `{"request": "...", "calls": [{"tool": "weather", "arguments": {"city": "Oslo"}}]}`
- plain, no tool is needed: `{"request": "...", "calls": []}`
- a follow-up: the same with `"after": {"request": "...", "call": {...}}`, the turn before it
- two requests in one message: two `calls`

Where more than one value is right, an argument is `{"any": [...]}`, and null in it means that the argument may be left
out. Letter case, spaces around and between words, the form of apostrophes and a full stop or question mark at the end
do not matter in texts; nothing else is forgiven. Lists may come in any order.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Literal

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool

Kind = Literal["call", "plain", "follow-up", "two"]
Outcome = Literal[
    "right", "no call", "cut off", "wrong tool", "wrong value", "missing argument", "extra argument", "second call"
]

HERE = Path(__file__).parent


@dataclass(frozen=True)
class ExpectedCall:
    """A call that a request asks for: the accepted values of each argument. None stands for "left out"."""

    tool: str
    arguments: Mapping[str, tuple[Any, ...]]


@dataclass(frozen=True)
class Request:
    """A message, the messages before it, and the calls that it asks for."""

    text: str
    expected: tuple[ExpectedCall, ...]
    before: tuple[BaseMessage, ...]
    kind: Kind

    @property
    def messages(self) -> list[BaseMessage]:
        return [*self.before, HumanMessage(self.text)]


def read_requests(split: str, tools: Sequence[BaseTool]) -> list[Request]:
    """Read `test.jsonl` or `dev.jsonl`. The tools make the results in the turns before follow-ups."""
    by_name = {tool.name: tool for tool in tools}
    requests = []
    for line in (HERE / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        expected = tuple(
            ExpectedCall(call["tool"], {name: _accepted(value) for name, value in call["arguments"].items()})
            for call in row["calls"]
        )
        before: tuple[BaseMessage, ...] = ()
        kind: Kind = "two" if len(expected) == 2 else "call" if expected else "plain"
        if "after" in row:
            kind, made = "follow-up", row["after"]["call"]
            result = by_name[made["tool"]].invoke(made["arguments"])
            before = (
                HumanMessage(row["after"]["request"]),
                AIMessage("", tool_calls=[{"name": made["tool"], "args": made["arguments"], "id": "call_0"}]),
                ToolMessage(result, tool_call_id="call_0"),
                AIMessage(f"Here you are: {result}"),
            )
        requests.append(Request(row["request"], expected, before, kind))
    return requests


def read_demonstrations(per_tool: int | None, no_call: int, seed: int) -> list[dict[str, Any]]:
    """Read the demonstrations.

    Args:
        per_tool: How many of each tool; None for all. Fewer than all are drawn by the seed.
        no_call: How many chats without a call.
        seed: Draws them.
    """
    rng = Random(seed)
    of_tool: dict[str, list[dict[str, Any]]] = {}
    for line in (HERE / "demonstrations.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        calls = row["messages"][1].get("tool_calls")
        of_tool.setdefault(calls[0]["function"]["name"] if calls else "", []).append(row)
    without = of_tool.pop("")
    rows = [row for own in of_tool.values() for row in (own if per_tool is None else rng.sample(own, per_tool))]
    return rows + (without if no_call >= len(without) else rng.sample(without, no_call))


def grade_call(given: AIMessage, expected: ExpectedCall, tools: Sequence[BaseTool]) -> Outcome:
    """Compare a message's call with the expected one. The first fault that is found names the outcome."""
    if not (calls := [*given.tool_calls, *given.invalid_tool_calls]):
        return "no call"
    if calls[0]["name"] != expected.tool:
        return "wrong tool"
    if len(calls) > 1:
        return "second call"
    if not given.tool_calls:
        return "cut off"
    call = given.tool_calls[0]
    fields = next(tool for tool in tools if tool.name == expected.tool).get_input_jsonschema()["properties"]
    left_out = [name for name, value in call["args"].items() if value is None or value == fields[name].get("default")]
    arguments = {name: value for name, value in call["args"].items() if name not in left_out}
    for name, accepted in expected.arguments.items():
        if name not in arguments and not any(
            value is None or value == fields[name].get("default") for value in accepted
        ):
            return "missing argument"
        if name in arguments and not any(_same(arguments[name], value) for value in accepted):
            return "extra argument" if accepted == (None,) else "wrong value"
    return "extra argument" if set(arguments) - set(expected.arguments) else "right"


def _accepted(value: Any) -> tuple[Any, ...]:
    return tuple(value["any"]) if isinstance(value, dict) else (value,)


def _same(given: Any, expected: Any) -> bool:
    if isinstance(expected, list):
        return isinstance(given, list) and len(given) == len(expected) and _same_items(given, expected)
    if isinstance(expected, str):
        return isinstance(given, str) and _plain(given) == _plain(expected)
    if isinstance(expected, bool) or isinstance(given, bool):
        return given is expected
    return isinstance(given, int | float) and expected is not None and abs(given - expected) <= 1e-9 * abs(expected)


def _same_items(given: Sequence[Any], expected: Sequence[Any]) -> bool:
    """Match each expected item with another given one."""
    rest = list(given)
    for item in expected:
        found = next((one for one in rest if any(_same(one, value) for value in _accepted(item))), None)
        if found is None:
            return False
        rest.remove(found)
    return True


def _plain(text: str) -> str:
    return re.sub(r"[.!?]+$", "", " ".join(text.replace("’", "'").casefold().split())).strip()
