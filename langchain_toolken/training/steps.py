"""The steps that `fit`, `update` and the papers' recipes are made of, in the order in which they are taken.

Read the tools and demonstrations, compute the priors to choose among, run the LM once, choose λ and prior, solve, build
the set, calibrate it, and return a `FitResult`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import Reinjection, Style
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.load import load_tools
from langchain_toolken.tools.spec import ToolLike, ToolSpec, tool_specs
from langchain_toolken.training.arguments import with_examples
from langchain_toolken.training.calibration import BiasChoice, choose_bias
from langchain_toolken.training.calibration_temperature import TemperatureChoice
from langchain_toolken.training.demonstrations.chains import in_chains
from langchain_toolken.training.demonstrations.demonstration import Demonstration, DemonstrationError, DroppedRow
from langchain_toolken.training.demonstrations.load import (
    LoadedDemonstrations,
    bad_rows,
    gather_demonstrations,
)
from langchain_toolken.training.demonstrations.parted_requests import with_parted_requests
from langchain_toolken.training.demonstrations.prompt_style import reinjection_of, style_of
from langchain_toolken.training.demonstrations.repeated_calls import calls_after_words, repeats_calls
from langchain_toolken.training.demonstrations.request_calls import called_from, endings
from langchain_toolken.training.evidence.choose import EvidenceChoice, ask, calls_at_once, learn_evidence
from langchain_toolken.training.evidence.untrained import Asked, rows_of, untrained_priors
from langchain_toolken.training.features.compute import Features, compute_features
from langchain_toolken.training.features.processes import Processes, join_processes
from langchain_toolken.training.fit_warnings import (
    warn,
    warn_of_dropped,
    warn_of_names,
    warn_of_unseen,
    warn_without_plain_requests,
)
from langchain_toolken.training.fitted_set import calibrate, share_toolkens, toolken_set
from langchain_toolken.training.options import AUTO_PRIORS, Demonstrations, FitOptions, Model, Tools
from langchain_toolken.training.parallel_calls import with_parallel_calls
from langchain_toolken.training.result import FitResult
from langchain_toolken.training.selection import LAMS, Selection, select_lam
from langchain_toolken.training.solve.solver import Solution, solve


@dataclass(frozen=True, eq=False, kw_only=True)
class Gathered:
    """What there is to fit on.

    Attributes:
        dropped: Rows that were not used, by source and line.
        unseen: Names of the tools that no demonstration calls.
        demonstrations: All that could be read.
        used: How many of them fit the LM; the features are of these.
        features: What the LM pass gave; None without demonstrations.
    """

    dropped: tuple[DroppedRow, ...]
    unseen: tuple[str, ...]
    demonstrations: tuple[Demonstration, ...] = ()
    used: int = 0
    features: Features | None = None


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything that a fit of a new set starts from.

    Attributes:
        lm: The LM.
        specs: The K tools.
        priors: Prior rows (K, d) to choose among, by name.
        style: How the demonstrations are laid out.
        reinjection: How results are put back in them; None if they don't tell.
        gathered: The demonstrations and their features.
        read: The demonstrations as they were read; those of `gathered` may be in chains (`demonstrations.chains`).
        crew: The processes that fit together.
        asked: What descriptions and plain requests say; None if nobody asked yet.
    """

    lm: LanguageModel
    specs: tuple[ToolSpec, ...]
    priors: dict[str, Tensor]
    style: Style
    reinjection: Reinjection | None
    gathered: Gathered
    read: LoadedDemonstrations
    crew: Processes
    asked: Asked | None = None


@dataclass(frozen=True, eq=False)
class Chosen:
    """The prior and λ to solve with.

    Attributes:
        prior: The prior's name.
        rows: Its rows (K, d).
        lam: λ.
        selection: How they were chosen; None if both were given.
    """

    prior: str
    rows: Tensor
    lam: float
    selection: Selection | None = None


@dataclass(frozen=True, eq=False)
class Fitted:
    """Fitted rows.

    Attributes:
        matrix: (K, d) float32.
        seconds: Wall clock.
        solution: The optimum; None if they come from a recipe.
    """

    matrix: Tensor
    seconds: float
    solution: Solution | None = None


def prepare(
    model: Model, tools: Tools, demonstrations: Demonstrations, options: FitOptions, load: Mapping[str, Any]
) -> Prepared:
    """Read tools and demonstrations, load the LM, compute the priors, and run the LM pass.

    With several processes all of them call this, and the main one goes on. `load`, errors and warnings: see `fit`.
    """
    made = read_tools(tools)
    specs = tool_specs(made)
    if not specs:
        raise ValueError("there are no tools to fit toolkens for; give at least one")
    loaded = gather_demonstrations(demonstrations, made, docstrings=options.docstring_examples, strict=options.strict)
    loaded = called_from(options.calls_from, loaded, options.reinjection)
    crew = join_processes()
    lm = the_lm(model, load)
    if options.prior == "auto" or options.prior.text != "description":
        warn_of_names(specs)
    style = options.style or style_of(loaded.demonstrations, lm)
    loaded = with_parted_requests(loaded, style, options.reinjection)
    # Without demonstrations there is nothing to choose by, and hidden states cost LM passes.
    configs = options.priors if loaded.demonstrations else untrained_priors(options, style)
    priors = candidate_priors(lm, specs, configs, progress=options.progress)
    gathered = run_lm_pass(lm, in_chains(lm, loaded, options), [spec.name for spec in specs], style, options, crew)
    if crew.main and gathered.features is not None:
        warn_of_dropped(gathered.dropped)
        warn_of_unseen(gathered.unseen)
        warn_without_plain_requests(gathered.demonstrations)
    reinjection = reinjection_of(loaded.demonstrations, style, options.reinjection)
    return Prepared(lm, tuple(specs), priors, style, reinjection, gathered, loaded, crew)


def read_tools(tools: Tools) -> list[ToolLike | ToolSpec]:
    """Load a tools file or module; tools in memory are returned as they are."""
    return [*load_tools(tools)] if isinstance(tools, str | Path) else list(tools)


def the_lm(model: Model, load: Mapping[str, Any]) -> LanguageModel:
    """Load the LM unless it is loaded already; `load` holds arguments of `load_language_model`."""
    return load_language_model(model, **load)


def candidate_priors(
    lm: LanguageModel,
    specs: Sequence[ToolSpec],
    configs: Sequence[PriorConfig],
    *,
    among: Sequence[ToolSpec] | None = None,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Compute prior rows (K, d) by the names of their configurations; the first of those that give the same rows.

    `among`: see `prior_rows`.
    """
    found: dict[str, Tensor] = {}
    for config in configs:
        rows = prior_rows(lm, specs, config, among=among, progress=progress)
        if not any(torch.allclose(rows, other) for other in found.values()):
            found[str(config)] = rows
    return found


def run_lm_pass(
    lm: LanguageModel,
    loaded: LoadedDemonstrations,
    names: Sequence[str],
    style: Style,
    options: FitOptions,
    crew: Processes | None = None,
) -> Gathered:
    """Run the LM over the demonstrations once, if there are any, and list what was dropped and which tools lack calls.

    Raises:
        DemonstrationError: nothing is left to supervise; or, with `options.strict`, a demonstration can't be laid out.
    """
    if not loaded.demonstrations:
        return Gathered(dropped=loaded.dropped, unseen=tuple(names))
    features = compute_features(
        lm,
        loaded.demonstrations,
        names,
        style,
        reinjection=options.reinjection,
        negatives_per_demonstration=options.negatives_per_demonstration,
        batch_tokens=options.batch_tokens,
        seed=options.seed,
        folder=options.features_dir,
        processes=crew,
        progress=options.progress,
    )
    if options.strict and features.dropped:
        raise DemonstrationError(bad_rows("the demonstrations, laid out for this LM", features.dropped))
    seen = set(features.target.tolist())
    return Gathered(
        demonstrations=loaded.demonstrations,
        dropped=tuple(sorted((*loaded.dropped, *features.dropped), key=lambda row: (row.source, row.line))),
        features=features,
        used=len(loaded.demonstrations) - len(features.dropped),
        unseen=tuple(name for k, name in enumerate(names) if k not in seen),
    )


def choose(features: Features, priors: dict[str, Tensor], options: FitOptions, device: torch.device) -> Chosen:
    """Choose λ and prior by cross-validation where one of them, or the bias, is "auto"."""
    first = next(iter(priors))
    if options.lam != "auto" and "auto" not in (options.prior, options.bias):
        return Chosen(first, priors[first], options.lam)
    selection = select_lam(
        features,
        priors,
        LAMS if options.lam == "auto" else (options.lam,),
        seed=options.seed,
        bias=options.fitted_bias,
        max_iterations=options.max_iterations,
        device=device,
        progress=options.progress,
    )
    if selection.note:
        warn(selection.note)
    return Chosen(selection.prior, priors[selection.prior], selection.lam, selection)


def solve_chosen(features: Features, chosen: Chosen, options: FitOptions, device: torch.device) -> Fitted:
    """Solve for the rows, starting from what cross-validation found."""
    solution = solve(
        features,
        chosen.rows,
        chosen.lam,
        bias=options.fitted_bias,
        start=None if chosen.selection is None else chosen.selection.start,
        tolerance=options.tolerance,
        max_iterations=options.max_iterations,
        device=device,
        progress=options.progress,
    )
    return Fitted(solution.matrix, solution.seconds, solution)


def with_described(given: Prepared, options: FitOptions) -> Prepared:
    """Put the tools' descriptions to the LM as requests, and add the rows that they give to the priors to choose among.

    Nothing is added for demonstrations whose calls come inside of answers, or for priors that the caller chose.
    """
    if not calls_at_once(given.gathered.demonstrations):
        return given
    asked = ask(given.lm, given.specs, given.style, given.gathered.demonstrations, options)
    if asked is None or not options.evidence or options.prior != "auto" or len(given.specs) < 2:
        return replace(given, asked=asked)
    first = next(iter(given.priors))
    name = next((name for name in given.priors if name == str(AUTO_PRIORS[1])), first)
    rows = rows_of(given.priors[name], asked)
    # The first, which is used where there is too little data to choose.
    return replace(given, asked=asked, priors={f"{name}, levelled": rows, **given.priors})


def toolkens_of_main_process(given: Prepared) -> FitResult:
    """Wait for the main process's toolkens: for the other processes, after the LM pass."""
    return fit_result(given.lm, share_toolkens(given.crew), given.gathered)


def finish(given: Prepared, chosen: Chosen, fitted: Fitted, options: FitOptions, *, extra_passes: int = 0) -> FitResult:
    """Build the set, calibrate it on the held-out logits if there are any, and share it with the other processes.

    `extra_passes`: passes over the demonstrations in addition to that of the features.
    """
    toolkens = toolken_set(
        given.lm,
        given.specs,
        fitted.matrix,
        chosen.rows,
        bias=options.fitted_bias,
        style=given.style,
        reinjection=given.reinjection,
        prior=chosen.prior,
        lam=chosen.lam,
        demonstrations=given.gathered.used,
        features=given.gathered.features,
        ends_answer=endings(given.gathered.demonstrations) if options.calls_from == "request" else (),
        repeats_calls=repeats_calls(given.gathered.demonstrations),
        calls_after_words=calls_after_words(given.gathered.demonstrations),
    )
    toolkens = with_examples(given.lm, toolkens, given.gathered.demonstrations, options)
    bias = temperature = None
    selection, cap = chosen.selection, options.max_false_call_rate
    if selection is not None and selection.logits is not None and selection.held_out is not None:
        if options.bias == "auto":
            bias = choose_bias(selection.held_out, selection.logits, selection.folds, cap)
        toolkens, temperature = calibrate(toolkens, selection.held_out, selection.logits, bias, cap)
    lm, gathered = given.lm, given.gathered
    learned = learn_evidence(lm, toolkens, gathered.features, gathered.demonstrations, given.asked, selection, options)
    toolkens = replace(toolkens, bias=toolkens.bias + learned.bias, evidence=learned.evidence)
    if learned.level is not None:
        own = 0.0 if toolkens.tool_biases is None else toolkens.tool_biases
        toolkens = replace(toolkens, tool_biases=learned.level + own)
    toolkens = with_parallel_calls(
        given.lm, toolkens, gathered.demonstrations, seed=options.seed, progress=options.progress
    )
    return fit_result(
        given.lm,
        share_toolkens(given.crew, toolkens),
        given.gathered,
        fitted=fitted,
        selection=selection,
        bias=bias,
        temperature=temperature,
        learned=learned,
        extra_passes=extra_passes,
    )


def fit_result(
    lm: LanguageModel,
    toolkens: ToolkenSet,
    gathered: Gathered,
    *,
    fitted: Fitted | None = None,
    selection: Selection | None = None,
    bias: BiasChoice | None = None,
    temperature: TemperatureChoice | None = None,
    learned: EvidenceChoice | None = None,
    extra_passes: int = 0,
) -> FitResult:
    """Build the result; the only place that does."""
    return FitResult(
        toolkens=toolkens,
        lm=lm,
        features=gathered.features,
        demonstrations=gathered.used,
        dropped=gathered.dropped,
        unseen=gathered.unseen,
        lm_passes=extra_passes + (0 if gathered.features is None else gathered.features.lm_passes),
        solve_seconds=0.0 if fitted is None else fitted.seconds,
        solution=None if fitted is None else fitted.solution,
        selection=selection,
        bias=bias,
        temperature=temperature,
        when=None if learned is None else learned.when,
        which=None if learned is None else learned.which,
    )
