"""`python -m langchain_toolken.cli`: what `torchrun -m` starts."""

from __future__ import annotations

from langchain_toolken.cli.app import app

app()
