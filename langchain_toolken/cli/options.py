"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]
Model = Annotated[str, typer.Option(help='"nano" (the bundled LM), a folder, or a Hugging Face Hub id.')]
