"""Measure what a user of an MCP server gets at once: 20 tools, with no demonstrations and with 2 a tool.

    python benchmarks/mcp_trial.py --model MODEL
    python benchmarks/mcp_trial.py --model MODEL --only 2 --show

The server is `integrations/mcp/server.py`, run for real; its demonstrations are beside it. The 20 requests and 10 plain
ones are in `mcp_trial.jsonl`. They share no wording or value with the demonstrations, and no setting was chosen by
them.

Printed are, of the requests that need a tool: the right call (the first call names the right tool), all arguments right
as well (strings without regard to case and outer punctuation), and the right tool among the first three of
`rank_tools`; and the plain requests that got a call.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from shares import Share

from langchain_toolken import ToolkenChat, fit_toolkens, load_language_model, mcp

ROOT = Path(__file__).parents[1]
SERVER = ROOT / "integrations" / "mcp" / "server.py"
DEMONSTRATIONS = SERVER.with_name("demos.jsonl")
REQUESTS = [json.loads(line) for line in Path(__file__).with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()]


def plain(value: Any) -> Any:
    return value.strip(" .!?'\"").lower() if isinstance(value, str) else value


def same(given: dict[str, Any], wanted: dict[str, Any]) -> bool:
    return {key: plain(value) for key, value in given.items()} == {key: plain(value) for key, value in wanted.items()}


def trial(llm: ToolkenChat, tools: list[Any], console: Console | None) -> list[Share]:
    calling = llm.bind_tools(tools)
    right = exact = near = false = 0
    for row in REQUESTS:
        message = calling.invoke(row["request"])
        call = message.tool_calls[0] if message.tool_calls else None
        name = call["name"] if call else (message.invalid_tool_calls or [{"name": None}])[0]["name"]
        ranked = [each.tool for each in llm.rank_tools(row["request"], k=3, tools=tools)]
        if row["tool"] is None:
            false += name is not None
        else:
            right += name == row["tool"]
            exact += name == row["tool"] and call is not None and same(call["args"], row["args"])
            near += row["tool"] in ranked
        if console is not None:
            said = f"{name}({call['args'] if call else ''})" if name else message.text[:70]
            mark = "+" if name == row["tool"] else "-"
            console.print(escape(f"{mark} {row['request']}  ->  {said}   [wanted {row['tool']}; ranked {ranked}]"))
    needing = sum(row["tool"] is not None for row in REQUESTS)
    return [Share(right, needing), Share(exact, needing), Share(near, needing), Share(false, len(REQUESTS) - needing)]


def main(
    model: Annotated[str, typer.Option(help="The LM, as `toolken fit --model` takes it.")],
    dtype: Annotated[str | None, typer.Option(help="The weights' dtype. Default: float32 on a CPU.")] = None,
    only: Annotated[int | None, typer.Option(help="Only with this many demonstrations a tool: 0 or 2.")] = None,
    show: Annotated[bool, typer.Option("--show", help="Print every answer.")] = False,
) -> None:
    """Run the trial with and without demonstrations."""
    console = Console()
    table = Table("demonstrations a tool", "right call", "all arguments", "right in first 3", "plain: a call", "fit, s")
    servers = {"mcpServers": {"office": {"command": sys.executable, "args": [str(SERVER)]}}}
    warnings.simplefilter("ignore")
    lm = load_language_model(model, dtype=dtype)
    with mcp(servers) as tools:
        for count, demonstrations in ((0, None), (2, DEMONSTRATIONS)):
            if only not in (None, count):
                continue
            started = time.perf_counter()
            toolkens = fit_toolkens(lm, tools=tools, demonstrations=demonstrations)
            seconds = time.perf_counter() - started
            if show:
                console.print(f"{count} demonstrations a tool")
            llm = ToolkenChat(model=lm, toolkens=toolkens, max_tokens=40)
            shares = trial(llm, list(tools), console if show else None)
            table.add_row(str(count), *map(str, shares), f"{seconds:.0f}")
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
