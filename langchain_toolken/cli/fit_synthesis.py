"""What `toolken fit --synthesize` does before it fits."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import Style

if TYPE_CHECKING:
    from langchain_toolken.lm.model import LanguageModel
    from langchain_toolken.training.demonstrations.load import DemonstrationRow
    from langchain_toolken.training.synthesis.synthesize import Synthesis


def synthesized(
    lm: LanguageModel,
    tools: str,
    *,
    per_tool: int,
    generator: str | None,
    execute: bool | Collection[str],
    out: Path,
    style: Style | None,
    seed: int,
    give_up_after: int,
    console: Console,
    progress: Progress,
) -> Synthesis:
    """`training.synthesis.synthesize` with what the command line gives; Ctrl-C says where the rows are."""
    from langchain_toolken.decoding.local.engine import TransformersEngine
    from langchain_toolken.tools.load import load_tools
    from langchain_toolken.training.synthesis.synthesize import synthesize

    try:
        return synthesize(
            load_tools(tools),
            per_tool,
            generator=generator,
            engine=TransformersEngine(lm) if generator is None else None,
            out=out,
            execute=execute,
            style=style,
            seed=seed,
            give_up_after=give_up_after,
            progress=progress,
        )
    except KeyboardInterrupt:
        console.print(Text(f"stopped: what was made is in {out}; the same command goes on from there", style="yellow"))
        raise


def together(demos: Path | None, made: Synthesis, tools: str, strict: bool) -> list[DemonstrationRow]:
    """The demonstrations given and those made, as rows."""
    from langchain_toolken.tools.load import load_tools
    from langchain_toolken.tools.spec import tool_specs
    from langchain_toolken.training.demonstrations.load import load_demonstrations

    rows: list[DemonstrationRow] = []
    if demos is not None:
        loaded = load_demonstrations(demos, tool_specs(load_tools(tools)), strict=strict)
        if loaded.dropped:
            shown = "; ".join(map(str, loaded.dropped[:5])) + ("; …" if len(loaded.dropped) > 5 else "")
            warnings.warn(f"{demos}: {len(loaded.dropped)} rows were dropped. {shown}", UserWarning, stacklevel=2)
        rows += loaded.demonstrations
    return [*rows, *made.rows]


def synthesis_facts(made: Synthesis) -> dict[str, Any]:
    """What was made, for --json; requests that need no tool are counted under null's stand-in, ""."""
    return {
        "file": None if made.file is None else str(made.file),
        "rows": len(made.rows),
        "kept": dict(made.kept),
        "rejected": {tool: dict(reasons) for tool, reasons in made.rejected.items() if reasons},
        "reasons": dict(made.reasons),
        "given_up": list(made.given_up),
    }


def synthesis_table(facts: dict[str, Any]) -> Table:
    """Kept and rejected drafts, a line for each tool and a column for each reason that occurred."""
    reasons = [reason for reason, _ in Counter(facts["reasons"]).most_common()]
    table = Table("tool", "kept", *reasons, title=f"made up ({facts['rows']} rows in {facts['file']})")
    for tool, kept in facts["kept"].items():
        rejected = facts["rejected"].get(tool, {})
        numbers = [str(rejected.get(reason, 0)) for reason in reasons]
        name = (tool or "(no tool needed)") + (" (given up)" if tool in facts["given_up"] else "")
        table.add_row(Text(name), str(kept), *numbers)
    return table
