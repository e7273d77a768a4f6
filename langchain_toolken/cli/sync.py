"""`toolken sync`: keep a toolken set in sync with MCP servers."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_toolken.cli.errors import message_of, reported
from langchain_toolken.cli.options import AsJson, McpServers, Model, ModelArg, parse_model_args
from langchain_toolken.cli.terminal import as_json as written
from langchain_toolken.cli.terminal import facts_table, shown, terminal

if TYPE_CHECKING:
    from rich.console import Console

    from langchain_toolken.errors import ToolkenError
    from langchain_toolken.training.sync import SyncResult


def sync(
    toolkens: Annotated[Path, typer.Option(help="Folder that `toolken fit` wrote. It is brought up to date.")],
    mcp: McpServers,
    demos: Annotated[
        Path | None, typer.Option(help="JSONL or JSON file with demonstrations of the tools that are new.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until Ctrl-C: sync again whenever a server says its tools changed.")
    ] = False,
    model: Model = None,
    model_arg: ModelArg = None,
    as_json: AsJson = False,
) -> None:
    """Add, update, rename and drop the toolkens of tools that changed on their MCP servers, and nothing else."""
    load = parse_model_args(model_arg, taken={"toolkens", "folder", "tools", "demonstrations", "model"})
    with reported():
        from langchain_toolken.tools.mcp import mcp as connect
        from langchain_toolken.training.sync import keep_in_sync, sync_folder

        console = terminal()

        def show(done: SyncResult) -> None:
            _show(console, done, as_json)

        def tell(error: ToolkenError) -> None:
            terminal(stderr=True).print(shown(f"error: {message_of(error)}", style="bold red"), soft_wrap=True)

        with connect(mcp) as tools:
            if not watch:
                show(sync_folder(toolkens, tools, demos, model=model, **load))
                return
            show(keep_in_sync(toolkens, tools, demos, model=model, synced=show, failed=tell, **load))
            console.print("watching; Ctrl-C ends", style="dim")
            threading.Event().wait()


def _show(console: Console, done: SyncResult, as_json: bool) -> None:
    changes = done.changes
    lists = {"added": list(changes.added), "updated": list(changes.updated), "dropped": list(changes.dropped)}
    if as_json:
        renamed = [{"old": old, "new": new} for old, new in changes.renamed]
        print(written({"toolkens": len(done.toolkens), **lists, "renamed": renamed}), flush=True)
        return
    lists["renamed"] = [f"{old} → {new}" for old, new in changes.renamed]
    rows = [(name, ", ".join(what) or "–") for name, what in lists.items()]
    console.print(facts_table([("toolkens", str(len(done.toolkens))), *rows]))
