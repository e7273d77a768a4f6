"""`toolken fit`."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from langchain_toolken.cli.fit_synthesis import synthesis_facts, synthesis_table, synthesized, together
from langchain_toolken.cli.options import AsJson, Model, reported
from langchain_toolken.cli.tables import path_table
from langchain_toolken.prompts.format import Style

if TYPE_CHECKING:
    from langchain_toolken.lm.model import LanguageModel
    from langchain_toolken.toolkens.priors import PriorConfig
    from langchain_toolken.training.demonstrations.load import DemonstrationRow
    from langchain_toolken.training.report.records import FitReport
    from langchain_toolken.training.result import FitResult
    from langchain_toolken.training.synthesis.synthesize import Synthesis


Precision = Literal["float32", "bfloat16", "float16"]
RecipeName = Literal["toolkengpt", "tokenlearning"]
PriorText = Literal["name", "description", "both"]
Pooling = Literal["average", "max", "weighted"]


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
    synthesize: Annotated[
        int | None, typer.Option(help="Make so many demonstrations for each tool first; no data needed.", min=1)
    ] = None,
    generator: Annotated[
        str | None, typer.Option(help='Who writes them: "provider:model" (LangChain\'s); default: the LM itself.')
    ] = None,
    execute: Annotated[
        bool, typer.Option("--execute", help="Run the tools on what was made up; for tools that change nothing.")
    ] = False,
    execute_tool: Annotated[list[str] | None, typer.Option(help="Run this tool only; may be repeated.")] = None,
    synthesis_out: Annotated[
        Path | None, typer.Option(help="JSONL for what was made; default: OUT.synthesized.jsonl. Runs go on with it.")
    ] = None,
    synthesis_seed: Annotated[int, typer.Option(help="What the drawing of requests starts from.")] = 0,
    give_up_after: Annotated[
        int, typer.Option(help="Leave a tool after so many drafts in a row of which none could be used.", min=1)
    ] = 80,
    strict: Annotated[bool, typer.Option(help="Make demonstrations that can't be used an error.")] = False,
    lam: Annotated[str, typer.Option(help="Pull to the prior (λ), or auto: by cross-validation.")] = "auto",
    prior: Annotated[
        str | None,
        typer.Option(
            help="auto (the default), or what priors are made of: head, input or hidden states, and with a / between, "
            "what the next two name. For example description, or hidden/both."
        ),
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
    style: Annotated[Style | None, typer.Option(help="Prompt style; default: as the demonstrations read.")] = None,
    recipe: Annotated[
        RecipeName | None, typer.Option(help="Train as this paper did instead, to compare with: slow.")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(help="Folder to keep the LM pass in: to go on after a break, and to fit again without the LM."),
    ] = None,
    dtype: Annotated[
        Precision | None,
        typer.Option(help="Precision of the LM; default: float32 on a CPU, else the checkpoint's own."),
    ] = None,
    update: Annotated[
        Path | None,
        typer.Option(help="A saved set: its toolkens stay as they are, and those of further tools are fitted beside."),
    ] = None,
    drop_missing: Annotated[
        bool, typer.Option(help="With --update: take tools out that --tools doesn't name any more.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Fit toolkens for your tools: one LM pass over the demonstrations and a few convex solves."""
    console = Console(stderr=True)
    if max_false_call_rate is not None and bias != "auto":
        raise typer.BadParameter("give only one of --bias and --max-false-call-rate")
    if recipe is not None and max_false_call_rate is not None:
        raise typer.BadParameter("a --recipe calibrates no bias: leave --max-false-call-rate out")
    if update is not None and (bias != "auto" or max_false_call_rate is not None or style or recipe or features):
        raise typer.BadParameter(
            "--update keeps the set's biases and style, and runs the LM anew: leave --bias, --max-false-call-rate, "
            "--style, --recipe and --features out"
        )
    if drop_missing and update is None:
        raise typer.BadParameter("--drop-missing says what becomes of a set's tools: give it with --update")
    making = (generator, execute or None, execute_tool, synthesis_out, synthesis_seed or None)
    if synthesize is None and any(option is not None for option in making):
        raise typer.BadParameter("--generator, --execute and --synthesis-… say how to --synthesize N; give that too")
    if execute and execute_tool:
        raise typer.BadParameter("--execute runs all tools; give it, or name some with --execute-tool")
    made: Synthesis | None = None
    with reported(console), _saying_what_is_kept(console, features):
        from langchain_toolken.cli.console import progress_bars
        from langchain_toolken.evaluation.methods.papers import fit_by_recipe
        from langchain_toolken.lm.load import load_language_model
        from langchain_toolken.toolkens.folder import check_place
        from langchain_toolken.toolkens.set import ToolkenSet
        from langchain_toolken.training.fit import fit as fit_tools
        from langchain_toolken.training.update import update as fit_beside

        check_place(out)  # before an hour of fitting for a folder that refuses it
        given_prior = _prior([part for part in (prior, prior_text, pooling) if part])
        with progress_bars(console) as progress:
            lm: LanguageModel | str = model
            demonstrations: Path | list[DemonstrationRow] | None = demos
            if synthesize is not None:
                lm = load_language_model(model, dtype=dtype)
                made = synthesized(
                    lm,
                    tools,
                    per_tool=synthesize,
                    generator=generator,
                    execute=execute_tool or execute,
                    out=synthesis_out or out.with_name(f"{out.name}.synthesized.jsonl"),
                    style=style,
                    seed=synthesis_seed,
                    give_up_after=give_up_after,
                    console=console,
                    progress=progress,
                )
                demonstrations = together(demos, made, tools, strict)
            if update is not None:
                result = fit_beside(
                    lm,
                    ToolkenSet.load(update),
                    tools,
                    demonstrations,
                    drop_missing=drop_missing,
                    prior=given_prior,
                    lam=_number_or_auto("--lam", lam, least=0.0),
                    docstring_examples=docstring_examples,
                    strict=strict,
                    progress=progress,
                    dtype=dtype,
                )
            else:
                fit_with = fit_tools if recipe is None else partial(fit_by_recipe, recipe=recipe)
                result = fit_with(
                    lm,
                    tools,
                    demonstrations,
                    prior=given_prior,
                    lam=_number_or_auto("--lam", lam, least=0.0),
                    bias=_number_or_auto("--bias", bias),
                    max_false_call_rate=max_false_call_rate,
                    style=style,
                    docstring_examples=docstring_examples,
                    strict=strict,
                    features_dir=features,
                    dtype=dtype,
                    progress=progress,
                )
        if os.environ.get("RANK", "0") != "0":  # under torchrun the first process writes for all
            return
        report = result.save(out)
    facts = _facts(result, report, out, features)
    if made is not None:
        facts["synthesis"] = synthesis_facts(made)
    if as_json:
        print(json.dumps({**facts, "dropped_rows": [str(row) for row in result.dropped]}, ensure_ascii=False))
        return
    console = Console()
    if made is not None:
        console.print(synthesis_table(facts.pop("synthesis")))
    facts.pop("path")
    if report.path:
        console.print(path_table(report))
    table = Table(show_header=False, box=None)
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), Text(_shown(value)))
    console.print(table)


@contextmanager
def _saying_what_is_kept(console: Console, features: Path | None) -> Iterator[None]:
    """Ctrl-C ends the command; what it leaves behind is said."""
    try:
        yield
    except KeyboardInterrupt:
        kept = f"; the LM pass is in {features}, and the same command goes on from there" if features else ""
        console.print(Text(f"stopped: no toolkens were written{kept}", style="yellow"), soft_wrap=True)
        raise


def _shown(value: Any) -> str:
    """A fact for people; --json has it whole."""
    if value is None or value == []:
        return "–"
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_shown(part)}" for name, part in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _prior(parts: list[str]) -> PriorConfig | Literal["auto"]:
    from langchain_toolken.toolkens.priors import PriorConfig

    if parts in ([], ["auto"]):
        return "auto"
    if parts[0] == "auto":
        raise typer.BadParameter("--prior auto chooses text and pooling too; name a source, or leave them out")
    try:
        return PriorConfig.parse("/".join(parts))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


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


def _facts(result: FitResult, report: FitReport, out: Path, features: Path | None) -> dict[str, Any]:
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
        "path": [point.model_dump() for point in report.path],
        "style": result.style,
        "demonstrations": result.demonstrations,
        "dropped": len(result.dropped),
        "tool_positions": result.tool_positions,
        "word_positions": result.word_positions,
        "lm_passes": result.lm_passes,
        "features": None if features is None else str(features),
        "pass_seconds": round(result.pass_seconds, 3),
        "solve_seconds": round(result.solve_seconds, 3),
        "solve_converged": None if solution is None else solution.converged,
        "tools_without_demonstrations": list(result.unseen),
    }
