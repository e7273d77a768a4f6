"""The figures that `toolken fit` prints: the whole model with --json, a table of them for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict
from rich.table import Table

from langchain_toolken.cli.fit_synthesis import SynthesisFacts, synthesis_facts
from langchain_toolken.cli.terminal import facts_table
from langchain_toolken.toolkens.provenance import Calibration
from langchain_toolken.training.report.records import FitReport, LamTried
from langchain_toolken.training.result import FitResult
from langchain_toolken.training.synthesis.synthesize import Synthesis


class FitFacts(BaseModel):
    """What a fit resulted in. The field names are the keys of `toolken fit --json`.

    Attributes:
        toolkens: Number of toolkens.
        out: The folder they were saved in.
        tool_biases: Each tool's own bias; None if all share `bias`.
        calls_from: Where the calls of texts were learned and why; None if that was not left to the fit.
        examples: Number of demonstrated calls that the set keeps for its tools' cards.
        card: What the card of a called tool shows.
        argument_accuracy: Share of held-out calls with all arguments right, the right tool being given; None if that
            was not measured.
        path: The priors and λs that cross-validation tried.
        dropped: Number of rows that were not used.
        features: The folder with the LM pass; None if it was not kept.
        synthesis: None, and absent from the JSON, if no demonstrations were made up.
        dropped_rows: The rows that were not used, each with its line and the reason.
    """

    model_config = ConfigDict(frozen=True)

    toolkens: int
    out: str
    report: str
    prior: str
    lam: float | None
    bias: float
    tool_biases: dict[str, float] | None
    calibration: Calibration | None
    calls_from: str | None
    examples: int
    card: str
    argument_accuracy: float | None
    selection_seconds: float | None
    path: list[LamTried]
    style: str
    demonstrations: int
    dropped: int
    tool_positions: int
    word_positions: int
    lm_passes: int
    features: str | None
    pass_seconds: float
    solve_seconds: float
    solve_converged: bool | None
    tools_without_demonstrations: list[str]
    synthesis: SynthesisFacts | None
    dropped_rows: list[str]

    def as_json(self) -> dict[str, Any]:
        """Return what --json prints."""
        return self.model_dump(exclude={"synthesis"} if self.synthesis is None else None)


def fit_facts(
    result: FitResult, report: FitReport, out: Path, features: Path | None, synthesis: Synthesis | None
) -> FitFacts:
    """Collect the figures of a fit.

    Args:
        result: The fit.
        report: Its report.
        out: The folder that the toolkens were saved in.
        features: The folder with the LM pass, if it was kept.
        synthesis: The demonstrations that were made up, if any were.
    """
    solution, selection, toolkens = result.solution, result.selection, result.toolkens
    own = toolkens.tool_biases
    return FitFacts(
        toolkens=len(toolkens),
        out=str(out),
        report=str(out / "report.html"),
        prior=toolkens.provenance.prior,
        lam=toolkens.provenance.lam,
        bias=toolkens.bias,
        tool_biases=None if own is None else dict(zip(toolkens.names, own.tolist(), strict=True)),
        calibration=toolkens.calibration,
        calls_from=report.calls_from or None,
        examples=len(toolkens.examples.calls),
        card=str(toolkens.examples.form),
        argument_accuracy=None if (settings := toolkens.examples.settings) is None else settings.accuracy,
        selection_seconds=None if selection is None else round(selection.seconds, 3),
        path=list(report.path),
        style=result.style,
        demonstrations=result.demonstrations,
        dropped=len(result.dropped),
        tool_positions=result.tool_positions,
        word_positions=result.word_positions,
        lm_passes=result.lm_passes,
        features=None if features is None else str(features),
        pass_seconds=round(result.pass_seconds, 3),
        solve_seconds=round(result.solve_seconds, 3),
        solve_converged=None if solution is None else solution.converged,
        tools_without_demonstrations=list(result.unseen),
        synthesis=None if synthesis is None else synthesis_facts(synthesis),
        dropped_rows=[str(row) for row in result.dropped],
    )


def table_of_facts(facts: FitFacts) -> Table:
    """List the facts, one per line, without those that have tables of their own."""
    listed = facts.model_dump(exclude={"path", "synthesis", "dropped_rows"})
    return facts_table((name.replace("_", " "), _shown(value)) for name, value in listed.items())


def _shown(value: Any) -> str:
    if value is None or value == []:
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_shown(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
