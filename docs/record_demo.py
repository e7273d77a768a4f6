"""Run the demo and save what it prints as a picture: `python docs/record_demo.py docs/demo.svg`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.terminal_theme import MONOKAI

from langchain_toolken.cli.demo_run import run_demo


def main(
    out: Annotated[Path, typer.Argument(help="The SVG file to write.")],
    questions: Annotated[int, typer.Option(help="Number of word problems to ask.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of demonstrations and questions, as in `toolken demo`.")] = 7,
) -> None:
    """Run the demo and write the SVG file."""
    # Not a terminal, so that each progress bar is recorded once, when it ends, and not at every refresh.
    console = Console(record=True, width=118, force_terminal=False, color_system="truecolor", file=io.StringIO())
    run_demo(console, questions=questions, per_tool=25, seed=seed)
    console.save_svg(str(out), title="toolken demo", theme=MONOKAI)


if __name__ == "__main__":
    typer.run(main)
