"""Run the command line with `python -m langchain_toolken.cli`, for example under `torchrun -m`."""

from __future__ import annotations

from langchain_toolken.cli.app import app

app()
