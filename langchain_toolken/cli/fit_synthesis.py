"""`toolken fit --synthesize`: demonstrations that are made up before the fit."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict
from rich.console import Console
from rich.table import Table

from langchain_toolken.cli.terminal import shown, table
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import Style

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

    from langchain_toolken.lm.model import LanguageModel
    from langchain_toolken.training.demonstrations.load import DemonstrationRow
    from langchain_toolken.training.synthesis.synthesize import Synthesis


class SynthesisFacts(BaseModel):
    """What was made up. The field names are the keys below "synthesis" in `toolken fit --json`.

    Attributes:
        file: The JSONL file with the rows.
        rows: Number of rows.
        kept: Number of usable drafts for each tool; "" counts requests that need no tool.
        rejected: For each tool, the number of rejected drafts by reason.
        reasons: Number of rejected drafts by reason, over all tools.
        given_up: Tools for which drafting stopped early.
    """

    model_config = ConfigDict(frozen=True)

    file: str | None
    rows: int
    kept: dict[str, int]
    rejected: dict[str, dict[str, int]]
    reasons: dict[str, int]
    given_up: list[str]


def synthesize_or_tell(
    lm: LanguageModel,
    tools: Sequence[BaseTool],
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
    """Make up demonstrations with `training.synthesis.synthesize`. On Ctrl-C, print where the rows made so far are."""
    from langchain_toolken.decoding.local.engine import local_engine
    from langchain_toolken.training.synthesis.synthesize import synthesize

    try:
        return synthesize(
            tools,
            per_tool,
            generator=generator,
            engine=local_engine(lm) if generator is None else None,
            out=out,
            execute=execute,
            style=style,
            seed=seed,
            give_up_after=give_up_after,
            progress=progress,
        )
    except KeyboardInterrupt:
        console.print(
            shown(f"stopped: what was made is in {out}; the same command continues from there", style="yellow")
        )
        raise


def all_demonstrations(
    demos: Path | None, synthesis: Synthesis, tools: Sequence[BaseTool], *, strict: bool
) -> list[DemonstrationRow]:
    """Return the user's demonstrations followed by those that were made up.

    Args:
        demos: The user's file, if there is one.
        synthesis: What was made up.
        tools: The tools that the file's calls are checked against.
        strict: Raise DemonstrationError for bad rows of the file. Otherwise they are dropped with a warning.
    """
    from langchain_toolken.tools.spec import tool_specs
    from langchain_toolken.training.demonstrations.load import load_demonstrations

    rows: list[DemonstrationRow] = []
    if demos is not None:
        loaded = load_demonstrations(demos, tool_specs(tools), strict=strict)
        if loaded.dropped:
            shown = "; ".join(map(str, loaded.dropped[:5])) + ("; …" if len(loaded.dropped) > 5 else "")
            warnings.warn(f"{demos}: {len(loaded.dropped)} rows were dropped. {shown}", UserWarning, stacklevel=2)
        rows += loaded.demonstrations
    return [*rows, *synthesis.rows]


def synthesis_facts(synthesis: Synthesis) -> SynthesisFacts:
    """Collect the figures of a synthesis."""
    return SynthesisFacts(
        file=None if synthesis.file is None else str(synthesis.file),
        rows=len(synthesis.rows),
        kept=dict(synthesis.kept),
        rejected={tool: dict(reasons.items()) for tool, reasons in synthesis.rejected.items() if reasons},
        reasons=dict(synthesis.reasons.items()),
        given_up=list(synthesis.given_up),
    )


def synthesis_table(facts: SynthesisFacts) -> Table:
    """Show kept and rejected drafts, a row for each tool and a column for each reason that occurred."""
    reasons = [reason for reason, _ in Counter(facts.reasons).most_common()]
    listed = table("tool", "kept", *reasons, title=f"made up ({facts.rows} rows in {facts.file})")
    for tool, kept in facts.kept.items():
        rejected = facts.rejected.get(tool, {})
        numbers = [str(rejected.get(reason, 0)) for reason in reasons]
        name = (tool or "(no tool needed)") + (" (given up)" if tool in facts.given_up else "")
        listed.add_row(shown(name), str(kept), *numbers)
    return listed
