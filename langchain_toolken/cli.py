"""The command `toolken`: thin over functions that Python users call too."""

from __future__ import annotations

import typer

from langchain_toolken.commands.chat import chat
from langchain_toolken.commands.demo import demo
from langchain_toolken.commands.fit import fit
from langchain_toolken.commands.inspect import inspect

app = typer.Typer(
    name="toolken",
    help="Tool calls through toolkens: one learned output row per tool on a frozen local LM, no tool in the prompt.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
for command in (demo, fit, chat, inspect):
    app.command()(command)

if __name__ == "__main__":
    app()
