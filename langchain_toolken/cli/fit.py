"""`toolken fit`: fit toolkens for the tools of a file, of MCP servers, or of both."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_toolken.cli import fit_options
from langchain_toolken.cli.errors import reported
from langchain_toolken.cli.fit_places import check_places, synthesized_beside
from langchain_toolken.cli.options import AsJson, Model, ModelArg, parse_model_args
from langchain_toolken.cli.terminal import as_json as written
from langchain_toolken.cli.terminal import shown, terminal

if TYPE_CHECKING:
    from rich.console import Console

    from langchain_toolken.cli.fit_facts import FitFacts
    from langchain_toolken.lm.model import LanguageModel
    from langchain_toolken.training.demonstrations.load import DemonstrationRow
    from langchain_toolken.training.report.records import FitReport
    from langchain_toolken.training.synthesis.synthesize import Synthesis


def fit(
    out: fit_options.Out,
    tools: fit_options.Tools = None,
    mcp: fit_options.McpServers = None,
    model: Model = None,
    model_arg: ModelArg = None,
    demos: fit_options.Demos = None,
    docstring_examples: fit_options.DocstringExamples = True,
    keep_demonstrations: fit_options.KeepDemonstrations = True,
    synthesize: fit_options.Synthesize = None,
    generator: fit_options.Generator = None,
    execute: fit_options.Execute = False,
    execute_tool: fit_options.ExecuteTool = None,
    synthesis_out: fit_options.SynthesisOut = None,
    synthesis_seed: fit_options.SynthesisSeed = 0,
    give_up_after: fit_options.GiveUpAfter = 80,
    strict: fit_options.Strict = False,
    lam: fit_options.Lam = "auto",
    prior: fit_options.Prior = None,
    prior_text: fit_options.PriorText = None,
    pooling: fit_options.Pooling = None,
    bias: fit_options.Bias = "auto",
    max_false_call_rate: fit_options.MaxFalseCallRate = None,
    negatives: fit_options.NegativesOption = "default",
    embeddings: fit_options.EmbeddingsOption = None,
    calls_from: fit_options.CallsFromOption = "auto",
    worked_answers: fit_options.WorkedAnswersOption = "auto",
    style: fit_options.StyleOption = None,
    recipe: fit_options.RecipeName = None,
    features: fit_options.FeaturesDir = None,
    dtype: fit_options.Precision = None,
    update: fit_options.Update = None,
    drop_missing: fit_options.DropMissing = False,
    as_json: AsJson = False,
) -> None:
    """Fit toolkens for your tools: one LM pass over the demonstrations and a few convex solves."""
    fit_options.check_combinations(
        tools=tools,
        mcp=mcp,
        bias=bias,
        max_false_call_rate=max_false_call_rate,
        style=style,
        recipe=recipe,
        features=features,
        update=update,
        drop_missing=drop_missing,
        synthesize=synthesize,
        generator=generator,
        execute=execute,
        execute_tool=execute_tool,
        synthesis_out=synthesis_out,
        synthesis_seed=synthesis_seed,
        embeddings=embeddings,
    )
    made = synthesis_out or synthesized_beside(out)
    check_places(out, features, made if synthesize else None, demos, made_by_default=synthesis_out is None)
    console = terminal(stderr=True)
    with reported(console), _tell_what_is_kept(console, features), ExitStack() as connected:
        from langchain_toolken.cli.fit_facts import fit_facts
        from langchain_toolken.cli.fit_synthesis import all_demonstrations, synthesize_or_tell
        from langchain_toolken.cli.progress_bars import progress_bars
        from langchain_toolken.evaluation.methods.papers import fit_by_recipe
        from langchain_toolken.lm.load import load_language_model
        from langchain_toolken.toolkens.folder import check_place
        from langchain_toolken.toolkens.set import ToolkenSet
        from langchain_toolken.tools.load import load_tools
        from langchain_toolken.tools.mcp import mcp as connect
        from langchain_toolken.training.features.store import check_folder
        from langchain_toolken.training.fit import fit as fit_all
        from langchain_toolken.training.update import update as fit_new

        check_place(out)  # an unusable folder is reported now, not after an hour of fitting
        if features is not None:
            check_folder(features)
        chosen_prior = fit_options.parse_prior(prior, prior_text, pooling)
        chosen_lam = fit_options.parse_number("--lam", lam, least=0.0)
        chosen_bias = fit_options.parse_number("--bias", bias)
        shown_before = fit_options.parse_number("--worked-answers", worked_answers, least=0.0)
        loaded = [] if tools is None else load_tools(tools)
        if mcp is not None:
            loaded += connected.enter_context(connect(mcp))
        old = None if update is None else ToolkenSet.load(update)
        fit_with = fit_all if recipe is None else partial(fit_by_recipe, recipe=recipe)
        taken = {*signature(fit_with).parameters, *signature(fit_new).parameters, *(("dtype",) if dtype else ())}
        load = {"dtype": dtype, **parse_model_args(model_arg, taken)}
        if model is None and old is not None:
            model, load = old.made_for.model_id, {"revision": old.made_for.revision, **load}
        lm: LanguageModel | str = model or "nano"
        demonstrations: Path | list[DemonstrationRow] | None = demos
        synthesis: Synthesis | None = None
        with progress_bars(console) as progress:
            if synthesize is not None:
                lm = load_language_model(lm, **load)
                synthesis = synthesize_or_tell(
                    lm,
                    loaded,
                    per_tool=synthesize,
                    generator=generator,
                    execute=execute_tool or execute,
                    out=made,
                    style=style,
                    seed=synthesis_seed,
                    give_up_after=give_up_after,
                    console=console,
                    progress=progress,
                )
                demonstrations = all_demonstrations(demos, synthesis, loaded, strict=strict)
            if old is not None:
                result = fit_new(
                    lm,
                    old,
                    loaded,
                    demonstrations,
                    drop_missing=drop_missing,
                    prior=chosen_prior,
                    lam=chosen_lam,
                    docstring_examples=docstring_examples,
                    keep_demonstrations=keep_demonstrations,
                    strict=strict,
                    progress=progress,
                    **load,
                )
            else:
                if recipe is None:
                    fit_with = partial(
                        fit_all,
                        negatives=fit_options.parse_negatives(negatives),
                        embeddings=embeddings,
                        calls_from=calls_from,
                        worked_answers="auto" if shown_before == "auto" else int(shown_before),
                    )
                result = fit_with(
                    lm,
                    loaded,
                    demonstrations,
                    prior=chosen_prior,
                    lam=chosen_lam,
                    bias=chosen_bias,
                    max_false_call_rate=max_false_call_rate,
                    style=style,
                    docstring_examples=docstring_examples,
                    keep_demonstrations=keep_demonstrations,
                    strict=strict,
                    features_dir=features,
                    progress=progress,
                    **load,
                )
        if os.environ.get("RANK", "0") != "0":  # under torchrun the first process writes for all
            return
        report = result.save(out)
    facts = fit_facts(result, report, out, features, synthesis)
    if as_json:
        print(written(facts.as_json()))
    else:
        _show(terminal(), facts, report)


def _show(console: Console, facts: FitFacts, report: FitReport) -> None:
    from langchain_toolken.cli.cross_validation_table import cross_validation_table
    from langchain_toolken.cli.fit_facts import table_of_facts
    from langchain_toolken.cli.fit_synthesis import synthesis_table

    if facts.synthesis is not None:
        console.print(synthesis_table(facts.synthesis))
    if facts.path:
        console.print(cross_validation_table(report))
    console.print(table_of_facts(facts))


@contextmanager
def _tell_what_is_kept(console: Console, features: Path | None) -> Iterator[None]:
    """On Ctrl-C, print what was kept before the command ends."""
    try:
        yield
    except KeyboardInterrupt:
        kept = f"; the LM pass is in {features}, and the same command continues from there" if features else ""
        console.print(shown(f"stopped: no toolkens were written{kept}", style="yellow"), soft_wrap=True)
        raise
