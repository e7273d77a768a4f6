"""`toolken inspect`: show what a fit resulted in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from langchain_toolken.cli.cross_validation_table import cross_validation_table
from langchain_toolken.cli.errors import reported
from langchain_toolken.cli.options import AsJson, ModelArg, parse_model_args
from langchain_toolken.cli.terminal import as_json as written
from langchain_toolken.cli.terminal import facts_table, shown, table, terminal

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from langchain_toolken.toolkens.evidence import Evidence
    from langchain_toolken.training.report.records import FitReport, ToolReport

_CONFUSIONS_SHOWN = 10
_MATCHES = {
    "description": "words of the description",
    "demonstrations": "words of the demonstrations",
    "classifier": "classifier of words",
    "embeddings": "embeddings",
}


def inspect(
    toolkens: Annotated[Path, typer.Argument(help="Folder that `toolken fit` wrote.")],
    tool: Annotated[str | None, typer.Option(help="Show only this tool, with all its neighbours.")] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Largest number of tools to list, the lowest held-out F1 first.")
    ] = 50,
    model: Annotated[str | None, typer.Option(help="Also load this LM and check that the toolkens fit it.")] = None,
    model_arg: ModelArg = None,
    as_json: AsJson = False,
) -> None:
    """Show how toolkens were fitted: data, λ, held-out figures, confusions, each tool's nearest words and tools."""
    arguments = parse_model_args(model_arg, taken={"model"})
    console = terminal()
    with reported():
        from langchain_toolken.toolkens.set import ToolkenSet
        from langchain_toolken.training.report.records import REPORT_FILE, ReportError, read_report

        loaded = ToolkenSet.load(toolkens)  # fails if the toolkens beside the report are missing or damaged
        report = read_report(toolkens)
        if report is None:
            raise ReportError(f"{toolkens} contains toolkens but no report.json; `toolken fit` writes both")
        if model is not None or arguments:
            from langchain_toolken.lm.load import load_language_model

            loaded.check_fits(load_language_model(model or loaded.made_for.model_id, **arguments).identity)
        chosen = None
        if tool is not None:
            loaded.index(tool)
            chosen = next((one for one in report.tools if one.name == tool), None)
            if chosen is None:
                raise ReportError(f"{toolkens / REPORT_FILE} says nothing of {tool!r}: fit again")
    if as_json:
        print(written((report if chosen is None else chosen).model_dump(mode="json"), indent=1))
    elif chosen is not None:
        _show_tool(console, report, chosen)
    else:
        _show(console, report, loaded.evidence, limit)


def _show(console: Console, report: FitReport, evidence: Evidence | None, limit: int) -> None:
    console.print(facts_table([*_facts(report), *_evidence_facts(evidence)]))
    if report.selection_note:
        console.print(shown(f"note: {report.selection_note}", style="yellow"))
    if report.path:
        console.print(cross_validation_table(report))
    if report.confusions:
        pairs = table("due", "called", "positions", title="most frequent held-out confusions")
        for pair in report.confusions[:_CONFUSIONS_SHOWN]:
            pairs.add_row(shown(pair.due), shown(pair.called), f"{pair.count:.0f}")
        console.print(pairs)
    listed = sorted(report.tools, key=lambda tool: 2.0 if tool.f1 is None else tool.f1)
    tools = table(
        "tool",
        "calls",
        "precision",
        "recall",
        "F1",
        "arguments",
        "bias",
        "nearest words",
        "nearest tools",
        title="tools",
    )
    for tool in listed[:limit]:
        tools.add_row(
            shown(tool.name),
            str(tool.calls),
            *(_share(value) for value in (tool.precision, tool.recall, tool.f1, tool.arguments)),
            f"{tool.bias:.2f}",
            shown(", ".join(word.name for word in tool.nearest_words[:4])),
            shown(", ".join(other.name for other in tool.nearest_tools[:3])),
        )
    console.print(tools)
    if len(listed) > limit:
        console.print(f"and {len(listed) - limit} more: --limit, or --tool NAME for one", style="dim")


def _show_tool(console: Console, report: FitReport, tool: ToolReport) -> None:
    facts: list[tuple[str, str | Text]] = [
        ("tool", shown(tool.name, style="bold")),
        ("description", tool.description),
        ("calls in the data", str(tool.calls)),
        *((f"held-out {name}", _share(getattr(tool, name))) for name in ("precision", "recall", "f1")),
        ("held-out arguments right", f"{_share(tool.arguments)} of {tool.argument_calls} calls"),
        ("bias", f"{tool.bias:.3f}"),
        ("moved from its prior", f"{tool.moved:.2f} of the prior's length"),
    ]
    for name, near in (("nearest words", tool.nearest_words), ("nearest tools", tool.nearest_tools)):
        facts.append((name, ", ".join(f"{other.name} {other.similarity:.2f}" for other in near)))
    console.print(facts_table(facts))
    pairs = [pair for pair in report.confusions if tool.name in (pair.due, pair.called)]
    if pairs:
        confused = table("due", "called", "positions", title="held-out confusions")
        for pair in pairs:
            confused.add_row(shown(pair.due), shown(pair.called), f"{pair.count:.0f}")
        console.print(confused)


def _facts(report: FitReport) -> list[tuple[str, str]]:
    facts = [
        ("toolkens", f"{len(report.tools)} for {report.model_id}"),
        ("demonstrations", f"{report.demonstrations} used, {report.dropped_count} dropped"),
        ("positions", f"{report.tool_positions} calls, {report.word_positions} words"),
        ("prompt style", report.style),
        ("prior", report.prior),
        ("λ", "–" if report.lam is None else f"{report.lam:g}"),
        ("bias", f"{report.bias:.3g}"),
    ]
    if report.converged is not None:
        state = "converged" if report.converged else "did not converge"
        facts.append(
            ("solve", f"{state} after {report.iterations} iterations, gradient norm {report.gradient_norm:.2g}")
        )
    if report.calibration is not None:
        held = report.calibration
        facts += [
            ("held-out calls", f"F1 {held.f1:.3f}, right tool called {held.recall:.3f}"),
            ("false calls", _false_calls(report.word_positions, held.false_call_rate)),
            ("calibration error", f"{held.ece_before:.3f} before, {held.ece_after:.3f} after"),
        ]
    for name, kind in (("when to call", report.when), ("which tool", report.which)):
        if kind is not None:
            facts.append((f"calibration error, {name}", f"{kind.ece_before:.3f} before, {kind.ece_after:.3f} after"))
    if report.arguments is not None:
        facts.append(("card of a called tool", str(report.arguments.form)))
        facts += [
            (
                f"  {tried.form}{tried.copying}",
                f"all arguments right in {tried.right} of {tried.asked} held-out calls",
            )
            for tried in report.arguments.tried
        ]
        if report.arguments.copy_nats:
            copied = [f"{tool}: {', '.join(names)}" for tool, names in report.arguments.copied.items()]
            facts.append(("copied from the request", "; ".join(copied)))
        if report.arguments.choices:
            evened = [f"{tool}: {', '.join(names)}" for tool, names in report.arguments.choices.items()]
            facts.append(("choices less the LM's habits", "; ".join(evened)))
    facts.append(("examples kept", str(report.examples)))
    if report.unseen:
        shown = ", ".join(report.unseen[:10]) + (
            f" and {len(report.unseen) - 10} more" if len(report.unseen) > 10 else ""
        )
        facts.append(("never called", shown))
    return facts


def _evidence_facts(evidence: Evidence | None) -> list[tuple[str, str]]:
    """Say what decides when to call and which tool, in addition to the toolkens."""
    if evidence is None:
        return []
    from langchain_toolken.toolkens.embeddings import EmbeddingMatch

    gate, when = evidence.gate, "the best toolken against the best word"
    if gate is not None:
        reads = "state and request" if bool(gate.request.any()) else "state"
        least = (1 + math.tanh(gate.threshold / 2)) / 2
        when = f"a gate on the {reads}: above a probability of {least:.3g} (log odds {gate.threshold:.2f})"
        if gate.after_result is not None:
            when += f"; after a tool's result above log odds {gate.after_result:.2f}"
    which = [f"toolkens {evidence.scale:.3g}"]
    if evidence.request_rows is not None:
        which.append("rows for the request")
    which += [f"{_MATCHES[match.kind]} {match.weight:.3g}" for match in evidence.lexical]
    which += [f"(by {match.name})" for match in evidence.lexical if isinstance(match, EmbeddingMatch)]
    return [("when to call", when), ("which tool", ", ".join(which))]


def _false_calls(word_positions: int, rate: float | None) -> str:
    # Sets of earlier versions say 0 where there was nothing to measure on.
    if rate is None or word_positions == 0:
        return "not measured: no position without a call"
    return f"at {rate:.4f} of the positions without a call"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
