"""`toolken demo`: watch toolkens being fitted and used."""

from __future__ import annotations

from typing import Annotated

import typer

from langchain_toolken.cli.errors import reported
from langchain_toolken.cli.options import AsJson, ModelArg, parse_model_args
from langchain_toolken.cli.terminal import as_json as written
from langchain_toolken.cli.terminal import terminal

_PER_TOOL, _SEED = 25, 7


def demo(
    questions: Annotated[
        int, typer.Option(min=1, max=100, help="Number of questions to ask; there are 8 everyday requests.")
    ] = 6,
    per_tool: Annotated[
        int | None,
        typer.Option(min=1, help=f"Number of demonstrations per tool to fit on; only for nano. Default: {_PER_TOOL}."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help=f"Seed of the demonstrations and the questions; only for nano. Default: {_SEED}."),
    ] = None,
    model: Annotated[
        str, typer.Option(help='"nano" solves word problems. Any other LM, named as in fit, gets everyday requests.')
    ] = "nano",
    model_arg: ModelArg = None,
    as_json: AsJson = False,
) -> None:
    """Fit toolkens on the bundled LM or another one, ask it something, and compare with the same LM without tools."""
    arguments = parse_model_args(model_arg, taken={"model"})
    on_nano = model == "nano" and not arguments
    if not on_nano and (per_tool is not None or seed is not None):
        raise typer.BadParameter("--per-tool and --seed are for nano's word problems: leave them out with --model")
    console = terminal(stderr=as_json)
    with reported():
        if on_nano:
            from langchain_toolken.cli.demo_run import run_demo

            solved = run_demo(
                console,
                questions=questions,
                per_tool=_PER_TOOL if per_tool is None else per_tool,
                seed=_SEED if seed is None else seed,
            )
            found = [outcome.model_dump() for outcome in solved]
        else:
            from langchain_toolken.cli.demo_everyday import run_everyday_demo

            found = [o.model_dump() for o in run_everyday_demo(console, model, arguments, questions=questions)]
    if as_json:
        print(written(found, indent=2))
