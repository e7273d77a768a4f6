"""`fit`: toolkens for an LM from tools and demonstrations, in one LM pass and a few convex solves (DESIGN §2)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from langchain_toolken.evaluation.methods.papers import RECIPES, Recipe, train_through_lm
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import ANSWER, Reinjection, Style
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.load import load_tools
from langchain_toolken.tools.spec import ToolLike, ToolSpec, tool_specs
from langchain_toolken.training.calibration import BiasChoice, TemperatureChoice, choose_bias
from langchain_toolken.training.demonstrations.demonstration import Demonstration, DemonstrationError, DroppedRow
from langchain_toolken.training.demonstrations.load import DemonstrationRow, bad_rows, gather_demonstrations
from langchain_toolken.training.features.compute import Features, compute_features
from langchain_toolken.training.features.processes import join_processes
from langchain_toolken.training.fit_warnings import warn, warn_of_dropped, warn_of_names, warn_of_unseen
from langchain_toolken.training.fitted_set import calibrate, make_toolken_set, share_toolkens
from langchain_toolken.training.selection import LAMS, Selection, select_lam
from langchain_toolken.training.solve.solver import Solution, solve

# What prior="auto" chooses among, in the order that decides between equals; the first stands where nothing can be
# chosen. Input embeddings that aren't the head's rows too, and head rows of an unweighted description, were not the
# best anywhere by more than chance (`benchmarks/priors.py`).
AUTO_PRIORS = tuple(
    map(
        PriorConfig.parse,
        (
            "head/name/average",
            "head/both/weighted",
            "head/description/weighted",
            "hidden/both/average",
            "hidden/description/average",
        ),
    )
)


@dataclass(frozen=True, eq=False)
class FitResult:
    """The toolkens and how they came about.

    lm_passes: how often each demonstration went through the LM (1, or 0 without demonstrations; a recipe's epochs
    besides). pass_seconds, solve_seconds: wall clock. solution: None without demonstrations, and from a recipe.
    dropped: rows that were not used, with line and reason. unseen: tools that no demonstration calls; their toolkens
    stay near their priors. word_positions: those that the solve used, after sampling. selection: what cross-validation
    found; None where nothing was left to choose.
    bias, temperature: how calls and probabilities were calibrated on its held-out positions; None without any.
    lm, features: what was fitted on, for the report; features None without demonstrations.
    """

    toolkens: ToolkenSet
    lm: LanguageModel
    features: Features | None
    style: Style
    lm_passes: int
    pass_seconds: float
    solve_seconds: float
    demonstrations: int
    tool_positions: int
    word_positions: int
    solution: Solution | None
    dropped: tuple[DroppedRow, ...]
    unseen: tuple[str, ...]
    selection: Selection | None = None
    bias: BiasChoice | None = None
    temperature: TemperatureChoice | None = None


def fit(
    model: str | Path | PreTrainedModel | LanguageModel,
    tools: str | Path | Iterable[ToolLike | ToolSpec],
    demonstrations: str | Path | Iterable[DemonstrationRow] | None = None,
    *,
    prior: PriorConfig | Literal["auto"] = "auto",
    lam: float | Literal["auto"] = "auto",
    bias: float | Literal["auto"] = "auto",
    max_false_call_rate: float | None = None,
    style: Style | None = None,
    reinjection: Reinjection | None = None,
    docstring_examples: bool = True,
    strict: bool = False,
    negatives_per_demonstration: int | None = 64,
    batch_tokens: int | None = None,
    features_dir: str | Path | None = None,
    seed: int = 0,
    tolerance: float | None = None,
    max_iterations: int = 1000,
    recipe: Recipe | str | None = None,
    progress: Progress | None = None,
    **load: Any,
) -> FitResult:
    """Fit toolkens for `tools` on a frozen LM.

    model: "nano", a folder, a Hub id, a model in memory, or a LanguageModel; `load` goes to `load_language_model`.
    tools: a tools file or module, or the tools themselves. demonstrations: a JSONL or JSON file, or the rows, in any
    of the forms that `training.demonstrations` lists; live histories (lists of messages) too.

    docstring_examples: learn from the `Examples:` sections of the tools' docstrings as well; on, because whoever wrote
    them there meant them as such. With no demonstrations of either kind the toolkens are the priors, with a warning
    that says so. strict: bad rows, which are dropped otherwise because real data have a few, are an error.

    lam: weight of the pull to the prior (DESIGN §2). prior: what the toolkens are pulled to. "auto" chooses either by
    cross-validation on the demonstrations (`select_lam`; `AUTO_PRIORS`), without another LM pass. bias: how eager to
    call. "auto" fits with 0 and then adds what serves held-out calls best: the best F1, or with `max_false_call_rate`
    (0.01: a call at no more than 1% of the places where a word should follow) the most right calls under that cap. A
    number is used while fitting and kept in the set. Where anything is "auto", the probabilities are calibrated too.
    Auto is the default because no constant serves all: with mini-lm λ=1e-2 puts 0.32 of KAMEL-234's test tools first
    and 0.20 of SimpleToolQuestions', λ=1e-6 0.18 and 0.58 (`benchmarks/fit.py`).
    With fewer than 10 demonstrations nothing can be chosen and defaults stand.

    style: how demonstrations are laid out, and what ToolkenChat then does by default. None: "completion" if more than
    half of the demonstrations are "Q: … A: …" texts, because that is how they read; for others, and without any, "chat"
    if the tokenizer has a chat template, else "completion".

    features_dir: keep what the LM pass gives in this folder (`feature_store`): a killed fit goes on from there,
    and another fit of the same LM and demonstrations, whatever its λ, prior or bias, takes it from there and runs no LM
    (`lm_passes` is 0). A folder that holds something else is refused. None: nothing is kept. batch_tokens: how much
    goes through the LM at once (`compute_features`).

    Several processes, as `torchrun` or `accelerate launch --multi_gpu` start them, share the LM pass if all call this
    alike. The first then solves, and the others wait and get its toolkens, without solution, selection, bias and
    temperature.

    reinjection: how results stand in chat histories: "turn" or "inline"; give ToolkenChat the same. None: "turn" in
    chat style, as chat LMs are trained, "inline" in completion style, which has no turns.

    recipe: train as a paper did instead, to compare with: a `recipes.Recipe` or the name of one ("toolkengpt",
    "tokenlearning"). Adam, epochs, and the LM run in every step, which takes many times longer. It chooses nothing:
    "auto" is then the name's prior, the recipe's own λ, and no bias.

    seed: which negatives are sampled where a demonstration has more than `negatives_per_demonstration` word positions
    (`compute_features`), and which demonstrations are held out together. tolerance, max_iterations: `solve`. progress:
    called with (done, total, what).

    Warns (ToolkenFitWarning) about dropped rows, tools without demonstrations, names that say nothing, and too few
    demonstrations to choose by, and (ConvergenceWarning) if the solve did not converge. Raises ValueError for a
    `max_false_call_rate` that isn't a share or stands beside a bias of your own, ToolError, DemonstrationError,
    UnsupportedModelError, FeatureStoreError or SolveError, which name what is at fault.
    """
    if max_false_call_rate is not None and bias != "auto":
        raise ValueError(
            f"a bias of {bias} leaves nothing to choose under max_false_call_rate; give only one of the two"
        )
    if max_false_call_rate is not None and not 0 <= max_false_call_rate < 1:
        raise ValueError(f"max_false_call_rate is {max_false_call_rate}; it must be at least 0 and less than 1")
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise ValueError(f"recipe is {recipe!r}; it must be one of {', '.join(RECIPES)}")
        recipe = RECIPES[recipe]
    if recipe is not None:
        if max_false_call_rate is not None:
            raise ValueError(f"the recipe {recipe.name!r} calibrates no bias: leave max_false_call_rate out")
        recipe = recipe if lam == "auto" else replace(recipe, lam=lam)
        prior, lam, bias = PriorConfig() if prior == "auto" else prior, recipe.lam, 0.0 if bias == "auto" else bias
    made = load_tools(tools) if isinstance(tools, str | Path) else list(tools)
    specs = tool_specs(made)
    if not specs:
        raise ValueError("there are no tools to fit toolkens for; give at least one")
    names = [spec.name for spec in specs]
    loaded = gather_demonstrations(demonstrations, made, docstrings=docstring_examples, strict=strict)
    crew = join_processes()
    lm = model if isinstance(model, LanguageModel) else load_language_model(model, **load)
    if prior == "auto" or prior.text != "description":
        warn_of_names(specs)
    configs = AUTO_PRIORS if prior == "auto" else (prior,)
    # Without demonstrations there is nothing to choose by; the hidden ones cost LM passes.
    priors = candidate_priors(lm, specs, configs if loaded.demonstrations else configs[:1], progress=progress)
    fitted_bias = 0.0 if bias == "auto" else bias

    if not loaded.demonstrations:
        warn_of_dropped(loaded.dropped)
        style = style or ("chat" if lm.tokenizer.chat_template else "completion")
        warn("no demonstrations were given: these are prior toolkens, made from the tools' names or descriptions alone")
        name, rows = next(iter(priors.items()))
        toolkens = make_toolken_set(lm, specs, rows, rows, fitted_bias, style, name, None, 0, None)
        return FitResult(toolkens, lm, None, style, 0, 0.0, 0.0, 0, 0, 0, None, loaded.dropped, tuple(names))

    style = style or _style_of(loaded.demonstrations, lm)
    features = compute_features(
        lm,
        loaded.demonstrations,
        names,
        style,
        reinjection=reinjection,
        negatives_per_demonstration=negatives_per_demonstration,
        batch_tokens=batch_tokens,
        seed=seed,
        folder=features_dir,
        processes=crew,
        progress=progress,
    )
    if strict and features.dropped:
        raise DemonstrationError(bad_rows("the demonstrations, laid out for this LM", features.dropped))
    dropped = tuple(sorted((*loaded.dropped, *features.dropped), key=lambda row: (row.source, row.line)))
    used = len(loaded.demonstrations) - len(features.dropped)
    seen = set(features.target.tolist())
    unseen = tuple(name for k, name in enumerate(names) if k not in seen)
    if not crew.main:
        return FitResult(
            toolkens=share_toolkens(crew),
            lm=lm,
            features=features,
            style=style,
            lm_passes=features.lm_passes,
            pass_seconds=features.seconds,
            solve_seconds=0.0,
            demonstrations=used,
            tool_positions=features.tool_positions,
            word_positions=features.word_positions,
            solution=None,
            dropped=dropped,
            unseen=unseen,
        )
    warn_of_dropped(dropped)
    warn_of_unseen(unseen)

    # Only there is float64 both at hand and faster than on the CPU.
    device = lm.device if lm.device.type == "cuda" else torch.device("cpu")
    chosen_prior, chosen_lam, selection = next(iter(priors)), lam, None
    if "auto" in (prior, lam, bias):
        selection = select_lam(
            features,
            priors,
            LAMS if lam == "auto" else (lam,),
            seed=seed,
            bias=fitted_bias,
            max_iterations=max_iterations,
            device=device,
            progress=progress,
        )
        chosen_prior, chosen_lam = selection.prior, selection.lam
        if selection.note:
            warn(selection.note)
    assert chosen_lam != "auto"
    rows = priors[chosen_prior]
    began = time.perf_counter()
    solution = None
    if recipe is None:
        solution = solve(
            features,
            rows,
            chosen_lam,
            bias=fitted_bias,
            start=None if selection is None else selection.start,
            tolerance=tolerance,
            max_iterations=max_iterations,
            device=device,
            progress=progress,
        )
        matrix = solution.matrix
    else:
        usable = sorted(set(features.demonstration.tolist()))
        trained = train_through_lm(
            lm,
            [loaded.demonstrations[number] for number in usable],
            names,
            style,
            rows,
            recipe,
            bias=fitted_bias,
            seed=seed,
            progress=progress,
        )
        matrix, chosen_prior = trained.matrix, f"{recipe.name}: {chosen_prior}"
    solve_seconds = time.perf_counter() - began
    toolkens = make_toolken_set(lm, specs, matrix, rows, fitted_bias, style, chosen_prior, chosen_lam, used, features)
    choice = temperature = None
    if selection is not None and selection.logits is not None and selection.held_out is not None:
        held_out = selection.held_out
        if bias == "auto":
            choice = choose_bias(held_out, selection.logits, selection.folds, max_false_call_rate)
        toolkens, temperature = calibrate(toolkens, held_out, selection.logits, choice, max_false_call_rate)
    return FitResult(
        toolkens=share_toolkens(crew, toolkens),
        lm=lm,
        features=features,
        style=style,
        lm_passes=features.lm_passes + (0 if recipe is None else recipe.epochs),
        pass_seconds=features.seconds,
        solve_seconds=solve_seconds,
        demonstrations=used,
        tool_positions=features.tool_positions,
        word_positions=features.word_positions,
        solution=solution,
        dropped=dropped,
        unseen=unseen,
        selection=selection,
        bias=choice,
        temperature=temperature,
    )


def fit_toolkens(
    model: str | Path | PreTrainedModel | LanguageModel,
    tools: str | Path | Iterable[ToolLike | ToolSpec],
    demonstrations: str | Path | Iterable[DemonstrationRow] | None = None,
    **options: Any,
) -> ToolkenSet:
    """`fit(...)` with the same arguments, for those who want the toolkens alone."""
    return fit(model, tools, demonstrations, **options).toolkens


def _style_of(demonstrations: Sequence[Demonstration], lm: LanguageModel) -> Style:
    questions = sum(d.text.startswith("Q:") and ANSWER in d.text for d in demonstrations)
    if 2 * questions > len(demonstrations) or not lm.tokenizer.chat_template:
        return "completion"
    return "chat"


def candidate_priors(
    lm: LanguageModel,
    specs: Sequence[ToolSpec],
    configs: Sequence[PriorConfig],
    *,
    among: Sequence[ToolSpec] | None = None,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """Prior rows (K, d) by the configurations' names; of those with the same rows, the first. `among`: `prior_rows`."""
    found: dict[str, Tensor] = {}
    for config in configs:
        rows = prior_rows(lm, specs, config, among=among, progress=progress)
        if not any(torch.allclose(rows, other) for other in found.values()):
            found[str(config)] = rows
    return found
