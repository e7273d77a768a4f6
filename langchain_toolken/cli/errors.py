"""How errors and warnings reach the terminal."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from langchain_toolken.cli.terminal import escaped, shown, terminal
from langchain_toolken.disk.writing import FULL, WriteError
from langchain_toolken.errors import ToolkenError


def message_of(error: ToolkenError | OSError) -> str:
    """Return what to tell of an error: what it says itself if it is ours, else the file and what the system says."""
    if isinstance(error, ToolkenError):
        return str(error)
    if error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    # Writes to files name them (`disk.writing`), so what is left is what the command prints.
    return str(WriteError("standard output", error)) if error.errno in FULL else str(error)


class Commands(TyperGroup):
    """The commands, which end with an error if what they print can't be written."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command, as click does."""
        try:
            try:
                return super().main(*args, **options)
            finally:
                sys.stdout.flush()
        except OSError as error:
            if error.filename is not None or error.errno not in FULL:
                raise
            # Python writes what is left of the output when it ends, and would fail again.
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(escaped(f"error: {message_of(error)}"))


@contextmanager
def reported(console: Console | None = None) -> Iterator[None]:
    """Show warnings as notes, and end the command with exit code 1 on an error that the user can fix.

    Other exceptions pass through. Messages are not wrapped, because they contain file names.

    Args:
        console: Where messages go, for commands that draw progress there. Default: standard error, so that piped
            output stays clean.
    """
    console = terminal(stderr=True) if console is None else console

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        console.print(shown(f"note: {message}", style="yellow"), soft_wrap=True)

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = note
        try:
            yield
        except (ToolkenError, OSError) as error:
            console.print(shown(f"error: {message_of(error)}", style="bold red"), soft_wrap=True)
            raise typer.Exit(1) from error
