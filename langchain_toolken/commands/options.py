"""What the commands share: options, and how errors and warnings reach the terminal."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Model = Annotated[str, typer.Option(help='"nano" (the bundled LM), a folder, or a Hugging Face Hub id.')]
PromptStyle = Literal["completion", "chat"]


@contextmanager
def reported(console: Console) -> Iterator[None]:
    """Errors that a user can mend end the command with their message and exit code 1; warnings are shown as notes."""
    from langchain_toolken.decoding.lm import ModelNotFoundError, UnsupportedModelError
    from langchain_toolken.toolkens import ToolkenSetError
    from langchain_toolken.tools import ToolError
    from langchain_toolken.training.demonstrations import DemonstrationError
    from langchain_toolken.training.feature_store import FeatureStoreError
    from langchain_toolken.training.objective import SolveError
    from langchain_toolken.training.report import ReportError
    from langchain_toolken.training.synthesis_writers import SynthesisError

    def note(message: Warning | str, *_: Any, **__: Any) -> None:
        console.print(Text(f"note: {message}", style="yellow"))

    mendable = (
        *(ToolError, ToolkenSetError, DemonstrationError, SolveError),
        *(ModelNotFoundError, UnsupportedModelError, ReportError, FeatureStoreError, SynthesisError),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("default", UserWarning)
        warnings.showwarning = note
        try:
            yield
        except (*mendable, OSError) as error:
            console.print(Text(f"error: {error}", style="bold red"))
            raise typer.Exit(1) from error
