"""`toolken demo`: watch toolkens being fitted and used."""

from __future__ import annotations

from typing import Annotated

import typer

from langchain_toolken.cli.errors import reported
from langchain_toolken.cli.options import AsJson
from langchain_toolken.cli.terminal import as_json as written
from langchain_toolken.cli.terminal import terminal


def demo(
    questions: Annotated[int, typer.Option(min=1, max=100, help="Number of word problems to ask.")] = 6,
    per_tool: Annotated[int, typer.Option(min=1, help="Number of demonstrations per tool to fit on.")] = 25,
    seed: Annotated[int, typer.Option(help="Seed of the demonstrations and the questions.")] = 7,
    as_json: AsJson = False,
) -> None:
    """Fit toolkens on the bundled LM, ask word problems, and compare with the same LM without tools."""
    console = terminal(stderr=as_json)
    with reported():
        from langchain_toolken.cli.demo_run import run_demo

        outcomes = run_demo(console, questions=questions, per_tool=per_tool, seed=seed)
    if as_json:
        print(written([outcome.model_dump() for outcome in outcomes], indent=2))
