"""Two requests in one message, learnt from demonstrations with parallel calls, on a real LM.

    python benchmarks/parallel.py --model MODEL --dtype bfloat16 --show
    python benchmarks/parallel.py --model MODEL --dtype bfloat16 --kept FOLDER --without    # without them

The fit has the everyday demonstrations (`everyday/demonstrations.jsonl`) and the ten of `everyday/parallel.jsonl`,
whose messages ask for two things and get two calls. Asked are the messages with two requests of the dev split and the
ten of `everyday/parallel_dev.jsonl`, which share no wording with these, and the single and plain requests of the dev
split: a second call there is the price. What an answer does is up to the set; nothing is passed for
`parallel_tool_calls`.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from everyday.requests import HERE, Request, grade_call, read_demonstrations, read_requests
from everyday.tools import TOOLS
from langchain_core.messages import AIMessage
from rich.console import Console
from rich.table import Table
from shares import Share

from langchain_toolken import ToolkenChat, ToolkenSet, fit_toolkens, load_language_model


def names(message: AIMessage) -> list[str]:
    return sorted(call["name"] for call in [*message.tool_calls, *message.invalid_tool_calls])


def all_right(message: AIMessage, request: Request) -> bool:
    """Tell whether the calls are the expected ones, each with all arguments right."""
    left = list(request.expected)
    for call in message.tool_calls:
        made = AIMessage("", tool_calls=[call])
        found = next((one for one in left if grade_call(made, one, TOOLS) == "right"), None)
        if found is None:
            return False
        left.remove(found)
    return not left


def main(
    model: Annotated[str, typer.Option(help="The LM: a folder or a Hub id.")],
    dtype: Annotated[str | None, typer.Option(help="The weights' dtype. Default: float32 on a CPU.")] = None,
    kept: Annotated[Path | None, typer.Option(help="Folder that the toolkens are saved in, or loaded from.")] = None,
    without: Annotated[bool, typer.Option("--without", help="Without the parallel demonstrations.")] = False,
    show: Annotated[bool, typer.Option("--show", help="Print every answer.")] = False,
) -> None:
    """Fit, ask and count."""
    warnings.simplefilter("ignore")
    console, lm = Console(width=200), load_language_model(model, dtype=dtype)
    shown = [] if without else [json.loads(line) for line in (HERE / "parallel.jsonl").read_text("utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as temporary:
        folder = kept or Path(temporary) / "toolkens"
        if not folder.exists():
            demonstrations: list[Any] = [*read_demonstrations(None, 20, 0), *shown]
            fit_toolkens(lm, TOOLS, demonstrations).save(folder)
        toolkens = ToolkenSet.load(folder)
    chat = ToolkenChat(model=lm, toolkens=toolkens, max_tokens=64).bind_tools(TOOLS)
    console.print(f"several calls by default: {toolkens.provenance.parallel_calls}")
    rows = read_requests("dev", TOOLS)
    groups = {
        "two requests": [row for row in rows if row.kind == "two"] + read_requests("parallel_dev", TOOLS),
        "single requests": [row for row in rows if row.kind == "call"],
        "plain requests": [row for row in rows if row.kind == "plain"],
    }
    table = Table("what", "both tools, the one tool, or none", "all arguments")
    for name, requests in groups.items():
        answers = chat.batch([row.messages for row in requests], {"max_concurrency": 8})
        tools = [names(one) == sorted(c.tool for c in row.expected) for one, row in zip(answers, requests, strict=True)]
        right = [all_right(one, row) for one, row in zip(answers, requests, strict=True)]
        table.add_row(name, str(Share.of(tools)), str(Share.of(right)))
        for row, message, tool, exact in zip(requests, answers, tools, right, strict=True):
            if show:
                made = ", ".join(f"{call['name']}({call['args']})" for call in message.tool_calls) or message.text[:60]
                console.print(f"{'+' if exact else '~' if tool else '-'} {row.text} → {made}", markup=False)
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
