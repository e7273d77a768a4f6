"""The options of `toolken fit`: their help texts, which of them exclude each other, and how they are parsed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from langchain_toolken.prompts.format import Style

if TYPE_CHECKING:
    from langchain_toolken.toolkens.priors import PriorConfig
    from langchain_toolken.training.negatives import Negatives

# What is fitted, and where it goes.
Tools = Annotated[
    str | None,
    typer.Option(
        help="A .py file or a module with @tool functions, whose code is executed; or a .json file of tool definitions."
    ),
]
McpServers = Annotated[
    Path | None,
    typer.Option(help='JSON file of MCP servers ("mcpServers"), whose tools get toolkens too. Commands in it are run.'),
]
Out = Annotated[Path, typer.Option(help="Folder for the toolkens. A set that is already there is replaced.")]

_DATA = "Demonstrations"
Demos = Annotated[
    Path | None,
    typer.Option(
        help="JSONL or JSON file with demonstrations. Without any, toolkens stay at their priors.",
        rich_help_panel=_DATA,
    ),
]
DocstringExamples = Annotated[
    bool, typer.Option(help="Also learn from the Examples: sections of the tools' docstrings.", rich_help_panel=_DATA)
]
KeepDemonstrations = Annotated[
    bool,
    typer.Option(
        help="Keep demonstrated requests and calls with the toolkens, for the LM to read before it writes arguments.",
        rich_help_panel=_DATA,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(help="Stop at demonstrations that can't be used, instead of skipping them.", rich_help_panel=_DATA),
]
StyleOption = Annotated[
    Style | None,
    typer.Option(help="Prompt style. Default: chosen by the form of the demonstrations.", rich_help_panel=_DATA),
]

CallsFromOption = Annotated[
    Literal["auto", "answer", "request"],
    typer.Option(
        help="Where calls of 'Q: … A: …' texts are learned: inside the answer, or right after the request.",
        rich_help_panel=_DATA,
    ),
]

WorkedAnswersOption = Annotated[
    str,
    typer.Option(
        help="How many whole demonstrations are put before a question, for calls inside the answer: a number, or auto.",
        rich_help_panel=_DATA,
    ),
]

_SYNTHESIS = "Made-up demonstrations"
Synthesize = Annotated[
    int | None,
    typer.Option(
        help="First make up this many demonstrations for each tool; no data needed.",
        min=1,
        rich_help_panel=_SYNTHESIS,
    ),
]
Generator = Annotated[
    str | None,
    typer.Option(
        help='The chat model that writes them, as LangChain names it: "provider:model". Default: the LM itself.',
        rich_help_panel=_SYNTHESIS,
    ),
]
Execute = Annotated[
    bool,
    typer.Option(
        "--execute",
        help="Run the tools on the made-up arguments. Only for tools without side effects.",
        rich_help_panel=_SYNTHESIS,
    ),
]
ExecuteTool = Annotated[
    list[str] | None,
    typer.Option(help="Run only this tool. Can be repeated.", rich_help_panel=_SYNTHESIS),
]
SynthesisOut = Annotated[
    Path | None,
    typer.Option(
        help="JSONL file for the made-up rows. Default: OUT.synthesized.jsonl. A later run continues from it.",
        rich_help_panel=_SYNTHESIS,
    ),
]
SynthesisSeed = Annotated[int, typer.Option(help="Seed of the generator's sampling.", rich_help_panel=_SYNTHESIS)]
GiveUpAfter = Annotated[
    int,
    typer.Option(help="Give up on a tool after this many unusable drafts in a row.", min=1, rich_help_panel=_SYNTHESIS),
]

_TRAINING = "Training"
Lam = Annotated[
    str,
    typer.Option(
        help="λ, how strongly toolkens are pulled to their priors, or auto: chosen by cross-validation.",
        rich_help_panel=_TRAINING,
    ),
]
Prior = Annotated[
    str | None,
    typer.Option(
        help="What priors are made of: head, input or hidden states, optionally followed by text and pooling, "
        "separated by slashes; for example description or hidden/both. Default: auto, chosen by cross-validation.",
        rich_help_panel=_TRAINING,
    ),
]
PriorText = Annotated[
    Literal["name", "description", "both"] | None,
    typer.Option(help="The text of a tool that its prior is made of. Default: name.", rich_help_panel=_TRAINING),
]
Pooling = Annotated[
    Literal["average", "max", "weighted"] | None,
    typer.Option(help="How the text's tokens become one row. Default: average.", rich_help_panel=_TRAINING),
]
Bias = Annotated[
    str,
    typer.Option(
        help="Added to every toolken's logit, or auto: chosen for the best calls on held-out data.",
        rich_help_panel=_TRAINING,
    ),
]
MaxFalseCallRate = Annotated[
    float | None,
    typer.Option(
        help="Largest share of positions without a call, and of requests that need no tool, that may get one.",
        min=0.0,
        max=0.999,
        rich_help_panel=_TRAINING,
    ),
]
NegativesOption = Annotated[
    str,
    typer.Option(
        help="Requests that need no tool: default (the package's), none, or a text file with one a line.",
        rich_help_panel=_TRAINING,
    ),
]
EmbeddingsOption = Annotated[
    str | None,
    typer.Option(
        help='Embeddings to compare requests and tools by too, as LangChain names them: "huggingface:NAME".',
        rich_help_panel=_TRAINING,
    ),
]
RecipeName = Annotated[
    Literal["toolkengpt", "tokenlearning"] | None,
    typer.Option(help="Train as this paper did, for comparison. Slow.", rich_help_panel=_TRAINING),
]
FeaturesDir = Annotated[
    Path | None,
    typer.Option(
        help="Folder that keeps the LM pass, so that a stopped fit continues and another fit needs no LM.",
        rich_help_panel=_TRAINING,
    ),
]
Precision = Annotated[
    Literal["float32", "bfloat16", "float16"] | None,
    typer.Option(
        help="Precision of the LM. Default: float32 on a CPU, else the checkpoint's own.", rich_help_panel=_TRAINING
    ),
]

_UPDATE = "Adding tools to a set"
Update = Annotated[
    Path | None,
    typer.Option(
        help="Folder of a saved set. Its toolkens stay as they are; toolkens for new tools are added.",
        rich_help_panel=_UPDATE,
    ),
]
DropMissing = Annotated[
    bool,
    typer.Option(help="With --update: remove tools that --tools no longer contains.", rich_help_panel=_UPDATE),
]


def check_combinations(
    *,
    tools: str | None,
    mcp: Path | None,
    bias: str,
    max_false_call_rate: float | None,
    style: Style | None,
    recipe: str | None,
    features: Path | None,
    update: Path | None,
    drop_missing: bool,
    synthesize: int | None,
    generator: str | None,
    execute: bool,
    execute_tool: list[str] | None,
    synthesis_out: Path | None,
    synthesis_seed: int,
    embeddings: str | None,
) -> None:
    """Refuse options that exclude each other, or that need another one.

    Raises:
        typer.BadParameter: Names the options and says what to do.
    """
    if tools is None and mcp is None:
        raise typer.BadParameter("name the tools: --tools FILE, or --mcp SERVERS for those of MCP servers, or both")
    if max_false_call_rate is not None and bias != "auto":
        raise typer.BadParameter("give only one of --bias and --max-false-call-rate")
    if recipe is not None and max_false_call_rate is not None:
        raise typer.BadParameter("a --recipe calibrates no bias: leave --max-false-call-rate out")
    if update is not None and (bias != "auto" or max_false_call_rate is not None or style or recipe or features):
        raise typer.BadParameter(
            "--update keeps the set's biases and style, and runs the LM anew: leave --bias, --max-false-call-rate, "
            "--style, --recipe and --features out"
        )
    if embeddings is not None and (recipe is not None or update is not None):
        raise typer.BadParameter(
            "--embeddings is for a fit of its own: a --recipe has no evidence, and --update keeps the set's embeddings"
        )
    if drop_missing and update is None:
        raise typer.BadParameter("--drop-missing removes tools from a saved set: name the set with --update")
    of_synthesis = (generator, execute or None, execute_tool, synthesis_out, synthesis_seed or None)
    if synthesize is None and any(option is not None for option in of_synthesis):
        raise typer.BadParameter("--generator, --execute and --synthesis-… have no effect without --synthesize N")
    if execute and execute_tool:
        raise typer.BadParameter("--execute runs all tools: give either it or --execute-tool")


def parse_prior(prior: str | None, text: str | None, pooling: str | None) -> PriorConfig | Literal["auto"]:
    """Combine --prior, --prior-text and --pooling.

    Raises:
        typer.BadParameter: If they contradict each other or are not settings of a prior.
    """
    from langchain_toolken.toolkens.priors import PriorConfig

    parts = [part for part in (prior, text, pooling) if part]
    if parts in ([], ["auto"]):
        return "auto"
    if parts[0] == "auto":
        raise typer.BadParameter("--prior auto chooses text and pooling too; name a source, or leave them out")
    try:
        return PriorConfig.parse("/".join(parts))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def parse_negatives(text: str) -> Negatives:
    """Parse --negatives: a word, or the name of a file."""
    return text if text in ("default", "none") else Path(text)  # type: ignore[return-value]


def parse_number(option: str, text: str, least: float = -float("inf")) -> float | Literal["auto"]:
    """Parse the value of an option that is a number of at least `least`, or "auto".

    Raises:
        typer.BadParameter: If it is neither.
    """
    if text == "auto":
        return "auto"
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not (math.isfinite(number) and number >= least):
        raise typer.BadParameter(
            f"{option} is {text!r}: give auto or a number" + (" of 0 or more" if least == 0 else "")
        )
    return number
