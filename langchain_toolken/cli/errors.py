"""How errors and warnings reach the terminal."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.text import Text

from langchain_toolken.errors import ToolkenError


@contextmanager
def reported(console: Console | None = None) -> Iterator[None]:
    """Show warnings as notes, and end the command with exit code 1 on an error that the user can fix.

    Other exceptions pass through. Messages are not wrapped, because they contain file names.

    Args:
        console: Where messages go, for commands that draw progress there. Default: standard error, so that piped
            output stays clean.
    """
    console = Console(stderr=True) if console is None else console

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        console.print(Text(f"note: {message}", style="yellow"), soft_wrap=True)

    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = note
        try:
            yield
        except (ToolkenError, OSError) as error:
            message = str(error)
            if isinstance(error, OSError) and error.filename is not None and error.strerror:
                message = f"{error.filename}: {error.strerror}"
            console.print(Text(f"error: {message}", style="bold red"), soft_wrap=True)
            raise typer.Exit(1) from error
