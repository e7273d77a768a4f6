"""`update`: fit toolkens for further tools of a set that stays as it is (`toolken fit --update`).

With the old rows frozen their logits are constants, as those of the words are: at every position they join the words'
log-sum-exp, and where an old tool is called its logit takes the place of a word's. What is left is the full objective
as a function of the new rows alone, for the same solver.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from langchain_toolken._version import __version__
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.call_cards import CardForm
from langchain_toolken.prompts.format import Reinjection
from langchain_toolken.toolkens.new_tools import add_tools
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec, tool_specs
from langchain_toolken.training.arguments import with_examples
from langchain_toolken.training.cross_validation import position_logits
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.demonstrations.load import gather_demonstrations
from langchain_toolken.training.demonstrations.parted_requests import with_parted_requests
from langchain_toolken.training.demonstrations.repeated_calls import calls_after_words, repeats_calls
from langchain_toolken.training.demonstrations.request_calls import called_from
from langchain_toolken.training.evidence.choose import request_text
from langchain_toolken.training.features.compute import Features
from langchain_toolken.training.fit_warnings import warn, warn_of_dropped, warn_of_unseen
from langchain_toolken.training.options import Demonstrations, FitOptions, Model, Tools
from langchain_toolken.training.result import FitResult
from langchain_toolken.training.selection import Selection
from langchain_toolken.training.solve.solver import solve_device
from langchain_toolken.training.steps import (
    Chosen,
    Fitted,
    Gathered,
    candidate_priors,
    choose,
    fit_result,
    read_tools,
    run_lm_pass,
    solve_chosen,
    the_lm,
)

# How the provenance begins for a tool that an update fitted; others that were added are mapped or priors.
_FITTED = "update"


def frozen_features(features: Features, matrix: Tensor, biases: Tensor) -> Features:
    """Turn features over all tools into those over the tools after the first K, whose rows are frozen.

    Positions that call a frozen tool become word positions with its logit; the other targets count from 0 again.

    Args:
        features: N positions; takes N × K floats of memory.
        matrix: The frozen rows, (K, d) float32.
        biases: Their biases, (K,) float32.
    """
    count = len(matrix)
    logits = position_logits(features, matrix, biases)
    own = logits.gather(1, features.target.clamp(min=0, max=count - 1)[:, None])[:, 0]
    frozen = (features.target >= 0) & (features.target < count)
    return replace(
        features,
        word_logsumexp=torch.logaddexp(features.word_logsumexp, logits.logsumexp(dim=1)),
        word_max=torch.maximum(features.word_max, logits.amax(dim=1)),
        target=torch.where(features.target >= count, features.target - count, -1),
        target_logit=torch.where(frozen, own, features.target_logit),
    )


def update(
    model: Model,
    toolkens: ToolkenSet,
    tools: Tools,
    demonstrations: Demonstrations = None,
    *,
    drop_missing: bool = False,
    prior: PriorConfig | Literal["auto"] = "auto",
    lam: float | Literal["auto"] = "auto",
    reinjection: Reinjection | None = None,
    docstring_examples: bool = True,
    card: CardForm | Literal["auto"] = "auto",
    keep_demonstrations: bool = True,
    strict: bool = False,
    negatives_per_demonstration: int | None = 64,
    seed: int = 0,
    tolerance: float | None = None,
    max_iterations: int = 1000,
    progress: Progress | None = None,
    **load: Any,
) -> FitResult:
    """Fit toolkens for the tools that a set does not hold; its rows and biases stay the same, bit for bit.

    Tools that `add_tools` put into the set count as not held: nobody trained them, so they are fitted now. New tools
    get the set's bias, and the set keeps its calibration, because both were chosen on data that is not available here.
    They are fitted with the bias that the set was fitted with. The set's evidence stays, gate and weights included: the
    new tools' descriptions and, with `keep_demonstrations`, their demonstrations join its texts. Without demonstrations
    the new tools get what `add_tools` gives.

    Args:
        model: The LM that the set was fitted for; see `fit`.
        toolkens: The set.
        tools: The tools. One that the set holds already gets its description and arguments from here.
        demonstrations: Of the new tools. Calls of the old ones are used too, as places where no new tool may fire.
        drop_missing: Remove tools of the set that `tools` does not name; by default they stay.
        prior: What the new toolkens are pulled to. "auto" chooses among `options.AUTO_PRIORS` and the rows that
            `add_tools` maps from the trained tools.
        lam: See `fit`, as for all arguments that follow.
        reinjection: See `fit`.
        docstring_examples: See `fit`.
        card: See `fit`. "auto" keeps the form that was chosen for the set.
        keep_demonstrations: See `fit`; the set's own are kept in any case.
        strict: See `fit`.
        negatives_per_demonstration: See `fit`.
        seed: See `fit`.
        tolerance: See `fit`.
        max_iterations: See `fit`.
        progress: See `fit`.
        **load: See `fit`.

    Returns:
        The new set and how it was made; `features` and `selection.logits` are over all tools, the logits of the old
        ones being constants.

    Raises:
        ToolkenSetError: The set belongs to another LM. Other errors are those of `fit`.
    """
    made = read_tools(tools)
    specs = {spec.name: spec for spec in tool_specs(made)}
    lm = the_lm(model, load)
    toolkens.check_fits(lm.identity)
    toolkens = _kept(toolkens, specs, drop_missing)
    new = [spec for spec in specs.values() if spec.name not in toolkens]
    calibration = toolkens.calibration
    options = FitOptions(
        prior=prior,
        lam=lam,
        bias=toolkens.bias if calibration is None else calibration.fitted_bias,
        reinjection=reinjection or toolkens.provenance.reinjection,
        docstring_examples=docstring_examples,
        card=card,
        keep_demonstrations=keep_demonstrations,
        strict=strict,
        negatives_per_demonstration=negatives_per_demonstration,
        seed=seed,
        tolerance=tolerance,
        max_iterations=max_iterations,
        progress=progress,
    )
    others = [spec for spec in toolkens.specs if spec.name not in specs]
    loaded = gather_demonstrations(demonstrations, [*made, *others], docstrings=docstring_examples, strict=strict)
    # With a gate calls come right after requests, wherever the new tools' texts have theirs.
    gated = toolkens.evidence is not None and toolkens.evidence.gate is not None
    loaded = called_from("request" if gated else "answer", loaded, options.reinjection)
    loaded = with_parted_requests(loaded, toolkens.provenance.style, options.reinjection)
    started = add_tools(lm, toolkens, new)
    if not new or not loaded.demonstrations:
        warn(
            "the set holds a toolken for each of the tools already: nothing was fitted"
            if not new
            else "no demonstrations were given: the new toolkens are "
            + ", ".join(sorted({started.provenance.added[spec.name] for spec in new}))
        )
        return fit_result(lm, started, Gathered(dropped=loaded.dropped, unseen=tuple(spec.name for spec in new)))

    gathered = run_lm_pass(lm, loaded, started.names, toolkens.provenance.style, options)
    gathered = replace(gathered, unseen=tuple(name for name in gathered.unseen if name not in toolkens))
    features = gathered.features
    assert features is not None
    warn_of_dropped(gathered.dropped)
    warn_of_unseen(gathered.unseen)

    # The set's biases have no part in the fit if they were chosen after it.
    biases = toolkens.biases if calibration is None else torch.full((len(toolkens),), options.fitted_bias)
    rest = frozen_features(features, toolkens.matrix, biases) if len(toolkens) else features
    priors = candidate_priors(lm, new, options.priors, among=started.specs, progress=progress)
    how = started.provenance.added[new[0].name]
    if prior == "auto" and how.startswith("mapped"):
        priors = {how: started.prior[len(toolkens) :], **priors}
    device = solve_device(lm)
    chosen = choose(rest, priors, options, device)
    fitted = solve_chosen(rest, chosen, options, device)
    selection = None if chosen.selection is None else _over_all_tools(chosen.selection, features, toolkens, biases)
    updated = _with_fitted(toolkens, new, chosen, fitted, gathered, features)
    updated = replace(updated, evidence=started.evidence)
    updated = with_examples(lm, updated, gathered.demonstrations, options)
    if updated.evidence is not None and keep_demonstrations:
        requests = _requests(gathered.demonstrations, {spec.name for spec in new}, updated)
        updated = replace(updated, evidence=updated.evidence.show(requests))
    return fit_result(lm, updated, gathered, fitted=fitted, selection=selection)


def _kept(toolkens: ToolkenSet, specs: Mapping[str, ToolSpec], drop_missing: bool) -> ToolkenSet:
    """Keep the tools that are not fitted now, with the descriptions of `specs`; with `drop_missing`, only its tools."""
    if drop_missing:
        toolkens = toolkens.select([name for name in toolkens.names if name in specs])
    added = toolkens.provenance.added
    toolkens = toolkens.remove([n for n in added if n in specs and not added[n].startswith(_FITTED)])
    return toolkens.describe([specs.get(spec.name, spec) for spec in toolkens.specs])


def _over_all_tools(selection: Selection, features: Features, toolkens: ToolkenSet, biases: Tensor) -> Selection:
    """Put the frozen toolkens' held-out logits before those of the new ones."""
    if selection.held_out is None:
        return selection
    assert selection.positions is not None
    assert selection.logits is not None
    held_out = replace(features.subset(selection.positions), weight=selection.held_out.weight)
    frozen_logits = position_logits(held_out, toolkens.matrix, biases)
    return replace(selection, held_out=held_out, logits=torch.cat([frozen_logits, selection.logits], dim=1))


def _requests(demonstrations: Sequence[Demonstration], new: Collection[str], toolkens: ToolkenSet) -> list[list[str]]:
    """Return what the new tools' demonstrations ask, by tool: the evidence knows the other tools' own."""
    found: dict[str, dict[str, None]] = {name: {} for name in toolkens.names}
    for one in demonstrations:
        for name in {call.tool for call in one.calls} & set(new):
            found[name][request_text(one)] = None
    return [list(texts) for texts in found.values()]


def _with_fitted(
    toolkens: ToolkenSet,
    new: Sequence[ToolSpec],
    chosen: Chosen,
    fitted: Fitted,
    gathered: Gathered,
    features: Features,
) -> ToolkenSet:
    """Add the fitted rows after the set's own, and say in the provenance what they were fitted on."""
    grown = toolkens.add(new, fitted.matrix, f"{_FITTED} (prior {chosen.prior}, λ {chosen.lam:g})")
    old = grown.provenance
    calls = features.call_states(len(grown))
    if toolkens.call_states is not None:
        calls[: len(toolkens)] = toolkens.call_states
    provenance = old.model_copy(
        update={
            "lam": old.lam if old.lam == chosen.lam else None,
            "demonstrations": old.demonstrations + gathered.used,
            "tool_positions": old.tool_positions + features.tool_positions,
            "word_positions": old.word_positions + features.word_positions,
            "repeats_calls": old.repeats_calls or repeats_calls(gathered.demonstrations),
            "calls_after_words": old.calls_after_words or calls_after_words(gathered.demonstrations),
            "package_version": __version__,
        }
    )
    prior = torch.cat([toolkens.prior, chosen.rows.float()])
    return replace(grown, prior=prior, call_states=calls, provenance=provenance)
