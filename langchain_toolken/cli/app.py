"""The command `toolken` and its subcommands."""

from __future__ import annotations

import typer

from langchain_toolken.cli.chat import chat
from langchain_toolken.cli.demo import demo
from langchain_toolken.cli.errors import Commands
from langchain_toolken.cli.eval import evaluate
from langchain_toolken.cli.export import export
from langchain_toolken.cli.fit import fit
from langchain_toolken.cli.inspect import inspect
from langchain_toolken.cli.serve import serve
from langchain_toolken.cli.sync import sync
from langchain_toolken.cli.why import why

app = typer.Typer(
    name="toolken",
    cls=Commands,
    help="Tool calls through toolkens: one learned output row per tool on a frozen local LM, no tool in the prompt.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
for command in (demo, fit, sync, chat, inspect, why, serve, export):
    app.command()(command)
app.command("eval")(evaluate)
