"""`toolken fit`."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table

from langchain_toolken.commands.options import AsJson, Model, PromptStyle, reported

if TYPE_CHECKING:
    from langchain_toolken.training.fit import FitResult
    from langchain_toolken.training.selection import PathPoint


class PriorSource(StrEnum):
    """Where prior rows come from."""

    head = "head"
    input = "input"
    hidden = "hidden"


class PriorChoice(StrEnum):
    """A `PriorSource`, or whatever serves held-out data best."""

    auto = "auto"
    head = "head"
    input = "input"
    hidden = "hidden"


class RecipeName(StrEnum):
    """A paper whose training is done."""

    toolkengpt = "toolkengpt"
    tokenlearning = "tokenlearning"


class PriorText(StrEnum):
    """What text of a tool its prior is made of."""

    name = "name"
    description = "description"
    both = "both"


class Pooling(StrEnum):
    """How a text's tokens become one row."""

    average = "average"
    max = "max"


def fit(
    tools: Annotated[str, typer.Option(help="A .py file or a module with @tool functions.")],
    out: Annotated[Path, typer.Option(help="Folder for the toolkens; an older set there is replaced.")],
    model: Model = "nano",
    demos: Annotated[
        Path | None, typer.Option(help="JSONL or JSON demonstrations; without any, toolkens stay at their priors.")
    ] = None,
    docstring_examples: Annotated[
        bool, typer.Option(help="Learn from the Examples: sections of the tools' docstrings too.")
    ] = True,
    strict: Annotated[bool, typer.Option(help="Make demonstrations that can't be used an error.")] = False,
    lam: Annotated[str, typer.Option(help="Pull to the prior (λ), or auto: by cross-validation.")] = "auto",
    prior: Annotated[
        PriorChoice | None, typer.Option(help="Where priors come from; default: auto, or head with the next two.")
    ] = None,
    prior_text: Annotated[
        PriorText | None, typer.Option(help="What of a tool the prior is made of; default: name.")
    ] = None,
    pooling: Annotated[
        Pooling | None, typer.Option(help="How the text's tokens become one row; default: average.")
    ] = None,
    bias: Annotated[
        str, typer.Option(help="Added to every toolken's logit, or auto: for the best calls on held-out data.")
    ] = "auto",
    max_false_call_rate: Annotated[
        float | None,
        typer.Option(help="Call at no more than this share of the places where words follow.", min=0.0, max=0.999),
    ] = None,
    style: Annotated[
        PromptStyle | None, typer.Option(help="Prompt style; default: as the demonstrations read.")
    ] = None,
    recipe: Annotated[
        RecipeName | None, typer.Option(help="Train as this paper did instead, to compare with: slow.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fit toolkens for your tools: one LM pass over the demonstrations and a few convex solves."""
    console = Console(stderr=as_json)
    if max_false_call_rate is not None and bias != "auto":
        raise typer.BadParameter("give only one of --bias and --max-false-call-rate")
    if recipe is not None and max_false_call_rate is not None:
        raise typer.BadParameter("a --recipe calibrates no bias: leave --max-false-call-rate out")
    if prior is PriorChoice.auto and (prior_text or pooling):
        raise typer.BadParameter("--prior auto chooses text and pooling too; name a source, or leave them out")
    with reported(console):
        from langchain_toolken.console import progress_bars
        from langchain_toolken.decoding.priors import PriorConfig
        from langchain_toolken.training.fit import fit as fit_tools
        from langchain_toolken.training.report_files import save_with_report

        kind: PriorConfig | Literal["auto"] = "auto"
        if prior is not PriorChoice.auto and (prior or prior_text or pooling):
            source = PriorSource.head if prior is None else PriorSource(prior.value)
            text, pool = prior_text or PriorText.name, pooling or Pooling.average
            kind = PriorConfig(source=source.value, text=text.value, pooling=pool.value)
        with progress_bars(console) as progress:
            result = fit_tools(
                model,
                tools,
                demos,
                prior=kind,
                lam=_number_or_auto("--lam", lam, least=0.0),
                bias=_number_or_auto("--bias", bias),
                max_false_call_rate=max_false_call_rate,
                style=None if style is None else style.value,
                docstring_examples=docstring_examples,
                strict=strict,
                recipe=None if recipe is None else recipe.value,
                progress=progress,
            )
        save_with_report(result, out)
    facts = _facts(result, out)
    if as_json:
        print(json.dumps({**facts, "dropped_rows": [str(row) for row in result.dropped]}, ensure_ascii=False))
        return
    path = facts.pop("path")
    if path:
        tried = Table("prior", "λ", "held-out loss", "±", "right tool", "F1", "best F1", title="cross-validation")
        for point in path:
            chosen = (point["prior"], point["lam"]) == (facts["prior"], facts["lam"])
            numbers = [f"{point[key]:.4f}" for key in ("loss", "error")]
            numbers += [f"{point[key]:.3f}" for key in ("top1", "f1", "best_f1")]
            tried.add_row(point["prior"], f"{point['lam']:g}", *numbers, style="bold" if chosen else None)
        console.print(tried)
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), str(value))
    console.print(table)


def _number_or_auto(option: str, text: str, least: float = -float("inf")) -> float | Literal["auto"]:
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


def _facts(result: FitResult, out: Path) -> dict[str, Any]:
    solution, selection, calibration = result.solution, result.selection, result.toolkens.calibration
    own = result.toolkens.tool_biases
    return {
        "toolkens": len(result.toolkens),
        "out": str(out),
        "report": str(out / "report.html"),
        "prior": result.toolkens.provenance.prior,
        "lam": result.toolkens.provenance.lam,
        "bias": result.toolkens.bias,
        "tool_biases": None if own is None else dict(zip(result.toolkens.names, own.tolist(), strict=True)),
        "calibration": None if calibration is None else calibration.model_dump(),
        "selection_seconds": None if selection is None else round(selection.seconds, 3),
        "path": [] if selection is None else [_point(point) for point in selection.path],
        "style": result.style,
        "demonstrations": result.demonstrations,
        "dropped": len(result.dropped),
        "tool_positions": result.tool_positions,
        "word_positions": result.word_positions,
        "lm_passes": result.lm_passes,
        "pass_seconds": round(result.pass_seconds, 3),
        "solve_seconds": round(result.solve_seconds, 3),
        "solve_converged": None if solution is None else solution.converged,
        "tools_without_demonstrations": list(result.unseen),
    }


def _point(point: PathPoint) -> dict[str, Any]:
    return {
        "prior": point.prior,
        "lam": point.lam,
        "loss": point.loss,
        "error": point.error,
        "top1": point.calls.top1,
        "f1": point.calls.f1,
        "best_f1": point.best_f1,
    }
