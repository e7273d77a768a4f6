"""Options that several commands share."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on standard output.")]
Model = Annotated[
    str | None,
    typer.Option(
        help='"nano" (the bundled LM), a folder, a .gguf file, a folder with a PEFT adapter, or a Hugging Face Hub id. '
        "Default: the LM that the toolkens were fitted for, and nano for new ones."
    ),
]
ModelArg = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE",
        help="Argument for loading the LM, such as device=cuda, revision=v1 or "
        """'quantization_config={"load_in_4bit": true}'. Values are read as JSON where they are. Repeatable.""",
    ),
]

McpServers = Annotated[
    Path, typer.Option(help='JSON file of MCP servers: {"mcpServers": {NAME: {"command": …} or {"url": …}}}.')
]

_TEXTS = frozenset({"cache_dir", "dtype", "gguf_file", "revision", "subfolder", "token", "tokenizer", "variant"})
"""Arguments whose value is text even if it looks like a number, such as a revision."""


def parse_model_args(given: Sequence[str] | None, taken: Collection[str] = ()) -> dict[str, Any]:
    """Parse the values of --model-arg.

    Args:
        given: What the user wrote.
        taken: Keys that the command has options of its own for.

    Raises:
        typer.BadParameter: One has no "=", comes twice, or is one of `taken`.
    """
    arguments: dict[str, Any] = {}
    for text in given or ():
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise typer.BadParameter(f"--model-arg {text!r}: write KEY=VALUE, such as device=cuda")
        if key in arguments:
            raise typer.BadParameter(f"--model-arg {key}=… is there twice: give it once")
        if key in taken:
            raise typer.BadParameter(f"--model-arg {key}=…: that is an option of this command, see --help")
        arguments[key] = value if key in _TEXTS else _as_json(value)
    return arguments


def _as_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
