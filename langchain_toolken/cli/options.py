"""What the commands share: options, and how errors and warnings reach the terminal."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from langchain_toolken.errors import ToolkenError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output, and nothing else there.")]
Model = Annotated[str, typer.Option(help='"nano" (the bundled LM), a folder, or a Hugging Face Hub id.')]


@contextmanager
def reported(console: Console | None = None) -> Iterator[None]:
    """Errors that a user can mend end the command with their message and exit code 1; warnings are shown as notes.

    console: where both go, for commands that draw progress there; by default to standard error, which is not what a
    command is piped for. They are not broken into lines, since they name files.
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
            told = str(error)
            if isinstance(error, OSError) and error.filename is not None and error.strerror:
                told = f"{error.filename}: {error.strerror}"
            console.print(Text(f"error: {told}", style="bold red"), soft_wrap=True)
            raise typer.Exit(1) from error
