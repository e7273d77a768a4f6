"""`toolken export`: one Hugging Face checkpoint of an LM with its toolkens."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from langchain_toolken.cli.errors import reported
from langchain_toolken.cli.options import Model, ModelArg, parse_model_args
from langchain_toolken.cli.terminal import facts_table, terminal


def export(
    toolkens: Annotated[Path, typer.Option(help="Folder that `toolken fit` wrote.")],
    out: Annotated[Path, typer.Option(help="New folder for the checkpoint.")],
    model: Model = None,
    model_arg: ModelArg = None,
    max_shard_size: Annotated[str, typer.Option(help="Most bytes of a file of weights.")] = "5GB",
) -> None:
    """Write the LM and its toolkens as one Hugging Face checkpoint, for engines that know nothing of toolkens."""
    arguments = parse_model_args(model_arg, taken={"model"})
    console = terminal()
    with reported():
        from langchain_toolken.decoding import export as exporting

        tokens = exporting.export(toolkens, out, model=model, max_shard_size=max_shard_size, **arguments)
    console.print(
        facts_table(
            [
                ("checkpoint", str(out)),
                ("toolkens", f"{len(tokens)}, with the ids {tokens[0].id} to {tokens[-1].id}"),
                ("which is which", str(out / exporting.TOKENS_FILE)),
                ("gate, evidence, demonstrations", str(out / exporting.TOOLKENS_FOLDER)),
            ]
        )
    )
