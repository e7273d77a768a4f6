"""What follows a result, and what a later message calls: needless calls, and new requests after other turns.

    python benchmarks/conversation.py --model MODEL --toolkens everyday-set --dtype bfloat16
    python benchmarks/conversation.py --model MODEL --toolkens office-set --dtype bfloat16 --mcp

The set is one of the everyday tools (`benchmarks/everyday.py --kept everyday-set`), asked with the requests of the dev
split; with `--mcp` one of the server in `integrations/mcp`, asked with those of `mcp_trial.jsonl`.

- loops: each request through `create_toolken_agent`, to the end. A call after the first result is needless: each
  request asks for one.
- new request: after another request, its right call, result and an answer, the next request: is the right tool called?
- after a chat: the same after a question and an answer without a tool.
- plain: a message that needs no tool, after a request with its call: does it get one?

Everything that is said and called is printed with `--show`.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from everyday.requests import read_requests
from everyday.tools import TOOLS
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool
from rich.console import Console
from rich.table import Table
from shares import Share

from langchain_toolken import ToolkenChat, create_toolken_agent, load_language_model, mcp

SERVER = Path(__file__).parents[1] / "integrations" / "mcp" / "server.py"
TRIAL = Path(__file__).with_name("mcp_trial.jsonl")
CHATTED = "I am glad to help with that. There is a lot to say about it."


@dataclass(frozen=True)
class Asked:
    """A request, and the call that it asks for; no tool for a plain one."""

    text: str
    tool: str | None
    arguments: dict[str, Any]


def everyday() -> list[Asked]:
    found = []
    for row in read_requests("dev", TOOLS):
        if row.kind == "call":
            (call,) = row.expected
            first = {name: values[0] for name, values in call.arguments.items() if values[0] is not None}
            found.append(Asked(row.text, call.tool, first))
        elif row.kind == "plain":
            found.append(Asked(row.text, None, {}))
    return found


def trial() -> list[Asked]:
    rows = [json.loads(line) for line in TRIAL.read_text(encoding="utf-8").splitlines()]
    return [Asked(row["request"], row["tool"], row["args"]) for row in rows]


def told(messages: Sequence[BaseMessage]) -> str:
    """Write what was said and called in a line."""
    parts: list[str] = []
    for message in messages:
        if isinstance(message, AIMessage):
            parts += [repr(message.text.strip())] if message.text.strip() else []
            parts += [f"{call['name']}({', '.join(map(str, call['args'].values()))})" for call in message.tool_calls]
        elif isinstance(message, ToolMessage):
            parts.append(f"[{message.text[:60]}]")
    return " → ".join(parts)


def turn(asked: Asked, by_name: dict[str, BaseTool]) -> list[BaseMessage]:
    """A request with its right call, the tool's result, and an answer."""
    assert asked.tool is not None
    made: Any = {"name": asked.tool, "args": asked.arguments, "id": "call_0", "type": "tool_call"}
    result = by_name[asked.tool].invoke(made)
    said = AIMessage(f"Here you are: {result.text}")
    return [HumanMessage(asked.text), AIMessage("", tool_calls=[made]), result, said]


def main(
    model: Annotated[str, typer.Option(help="The LM: a folder or a Hub id.")],
    toolkens: Annotated[Path, typer.Option(help="The set's folder.")],
    dtype: Annotated[str | None, typer.Option(help="The weights' dtype. Default: float32 on a CPU.")] = None,
    of_server: Annotated[bool, typer.Option("--mcp", help="The set is of integrations/mcp's tools.")] = False,
    most: Annotated[int | None, typer.Option(help="Most requests of each kind.")] = None,
    together: Annotated[int, typer.Option(help="Requests that run through the LM together.")] = 8,
    show: Annotated[bool, typer.Option("--show", help="Print everything that is said and called.")] = False,
) -> None:
    """Ask, and count."""
    warnings.simplefilter("ignore")
    console = Console(width=200)
    chat = ToolkenChat(model=load_language_model(model, dtype=dtype), toolkens=toolkens, max_tokens=40)
    requests = trial() if of_server else everyday()
    calls = [one for one in requests if one.tool is not None][:most]
    plain = [one for one in requests if one.tool is None][:most]
    servers = {"mcpServers": {"office": {"command": sys.executable, "args": [str(SERVER)]}}}
    tools: list[BaseTool] = [*(mcp(servers) if of_server else TOOLS)]
    by_name = {tool.name: tool for tool in tools}
    table = Table("what", "share (95%)")

    agent = create_toolken_agent(chat, tools, max_calls=4)
    inputs = [{"messages": [HumanMessage(one.text)]} for one in calls]
    states = agent.batch(inputs, {"max_concurrency": together})  # type: ignore[arg-type]
    further = []
    for asked, state in zip(calls, states, strict=True):
        chosen = sum("tool" in step for step in state["steps"] if step["kind"] == "reason")
        if chosen:
            further.append(chosen > 1)
        if show:
            ended = f"{max(0, chosen - 1)} further, {state['ending']}"
            console.print(f"{ended} | {asked.text} → {told(state['messages'][1:])}", markup=False, highlight=False)
    table.add_row("loops with a needless call after a result", str(Share.of(further)))

    turns = [turn(one, by_name) for one in calls]
    chatted = [[HumanMessage(one.text), AIMessage(CHATTED)] for one in plain]
    later = [calls[(place + 7) % len(calls)] for place in range(len(calls))]
    parts = (
        ("new request after a call: right tool", later, turns),
        ("new request after a chat: right tool", later, [chatted[place % len(plain)] for place in range(len(calls))]),
        ("plain after a call: a call", plain, [turns[place % len(calls)] for place in range(len(plain))]),
    )
    calling = chat.bind_tools(tools)
    for name, asks, before in parts:
        histories = [[*said, HumanMessage(one.text)] for one, said in zip(asks, before, strict=True)]
        answers = calling.batch(histories, {"max_concurrency": together})
        named = [message.tool_calls[0]["name"] if message.tool_calls else None for message in answers]
        hits = [made is not None and one.tool in (None, made) for one, made in zip(asks, named, strict=True)]
        table.add_row(name, str(Share.of(hits)))
        for one, said, message in zip(asks, before, answers, strict=True):
            if show:
                console.print(
                    f"{name} | {said[0].text} … {one.text} → {told([message])}", markup=False, highlight=False
                )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
