"""Toolkens for further tools, fitted beside a set that stays as it is: `toolken fit --update`.

With the old rows frozen their logits are constants, as the words' are (DESIGN §2): at every position they join the
words' log-sum-exp, and where an old tool is called its logit stands where a word's would. What is left is the full
objective as a function of the new rows alone, and the same solver takes it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from transformers import PreTrainedModel

from langchain_toolken._version import __version__
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import Reinjection
from langchain_toolken.toolkens.new_tools import add_tools
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.load import load_tools
from langchain_toolken.tools.spec import ToolLike, ToolSpec, tool_specs
from langchain_toolken.training.cross_validation import toolken_logits
from langchain_toolken.training.demonstrations.demonstration import DemonstrationError
from langchain_toolken.training.demonstrations.load import DemonstrationRow, bad_rows, gather_demonstrations
from langchain_toolken.training.features.compute import Features, compute_features
from langchain_toolken.training.fit import AUTO_PRIORS, FitResult, candidate_priors
from langchain_toolken.training.fit_warnings import warn, warn_of_dropped, warn_of_unseen
from langchain_toolken.training.selection import LAMS, select_lam
from langchain_toolken.training.solve.solver import solve

# How the provenance begins for a tool that an update fitted; others that were added are mapped or priors.
_FITTED = "update"


def frozen_features(features: Features, matrix: Tensor, biases: Tensor) -> Features:
    """`features` as the rows behind the first K see them, once those K are frozen.

    matrix: (K, d) float32, the frozen rows. biases: (K,) float32. Positions that call a frozen tool become word
    positions with its logit; the targets of the others count from 0 again. (Memory: N x K floats.)
    """
    count = len(matrix)
    logits = toolken_logits(features, matrix, biases)
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
    model: str | Path | PreTrainedModel | LanguageModel,
    toolkens: ToolkenSet,
    tools: str | Path | Iterable[ToolLike | ToolSpec],
    demonstrations: str | Path | Iterable[DemonstrationRow] | None = None,
    *,
    drop_missing: bool = False,
    prior: PriorConfig | Literal["auto"] = "auto",
    lam: float | Literal["auto"] = "auto",
    reinjection: Reinjection | None = None,
    docstring_examples: bool = True,
    strict: bool = False,
    negatives_per_demonstration: int | None = 64,
    seed: int = 0,
    tolerance: float | None = None,
    max_iterations: int = 1000,
    progress: Progress | None = None,
    **load: Any,
) -> FitResult:
    """Fit toolkens for those of `tools` that `toolkens` does not hold; its rows and biases stay, bit for bit.

    Tools that `add_tools` put there count as not held: nobody trained them, so they are fitted now.

    demonstrations: of the new tools; calls of the old ones are used too, as places where a new tool must not fire.
    drop_missing: take the tools out that `tools` does not name any more. They stay otherwise. A tool that is in both
    gets its description and arguments from `tools`.

    prior: what the new toolkens are pulled to. "auto" chooses by cross-validation among `fit.AUTO_PRIORS` and the rows
    that `add_tools` maps from the trained tools. New tools get the set's bias, and the set keeps its calibration: both
    were chosen on data that is not at hand. They are fitted with the bias that the set was fitted with. Without any
    demonstrations the new tools get what `add_tools` gives. Other arguments: `fit`.

    In the result, `features` and `selection.logits` are over all tools, the old ones' logits being constants.

    Raises ToolkenSetError if the set belongs to another LM; otherwise as `fit`.
    """
    made = load_tools(tools) if isinstance(tools, str | Path) else list(tools)
    specs = {spec.name: spec for spec in tool_specs(made)}
    lm = model if isinstance(model, LanguageModel) else load_language_model(model, **load)
    toolkens.check_fits(lm.identity)
    if drop_missing:
        toolkens = toolkens.select([name for name in toolkens.names if name in specs])
    added = toolkens.provenance.added
    toolkens = toolkens.remove([n for n in added if n in specs and not added[n].startswith(_FITTED)])
    toolkens = replace(toolkens, specs=tuple(specs.get(spec.name, spec) for spec in toolkens.specs))
    new = [spec for spec in specs.values() if spec.name not in toolkens]
    kept = [spec for spec in toolkens.specs if spec.name not in specs]
    style = toolkens.provenance.style

    loaded = gather_demonstrations(demonstrations, [*made, *kept], docstrings=docstring_examples, strict=strict)
    started = add_tools(lm, toolkens, new)
    if not new or not loaded.demonstrations:
        warn(
            "the set holds a toolken for each of the tools already: nothing was fitted"
            if not new
            else "no demonstrations were given: the new toolkens are "
            + ", ".join(sorted({started.provenance.added[spec.name] for spec in new}))
        )
        unseen = tuple(spec.name for spec in new)
        return FitResult(started, lm, None, style, 0, 0.0, 0.0, 0, 0, 0, None, loaded.dropped, unseen)

    features = compute_features(
        lm,
        loaded.demonstrations,
        started.names,
        style,
        reinjection=reinjection,
        negatives_per_demonstration=negatives_per_demonstration,
        seed=seed,
        progress=progress,
    )
    if strict and features.dropped:
        raise DemonstrationError(bad_rows("the demonstrations, laid out for this LM", features.dropped))
    dropped = tuple(sorted((*loaded.dropped, *features.dropped), key=lambda row: (row.source, row.line)))
    warn_of_dropped(dropped)
    seen = set(features.target.tolist())
    unseen = tuple(spec.name for k, spec in enumerate(new, start=len(toolkens)) if k not in seen)
    warn_of_unseen(unseen)

    calibration = toolkens.calibration
    bias = toolkens.bias if calibration is None else calibration.fitted_bias
    biases = toolkens.biases if calibration is None else torch.full((len(toolkens),), bias)
    rest = frozen_features(features, toolkens.matrix, biases) if len(toolkens) else features
    configs = AUTO_PRIORS if prior == "auto" else (prior,)
    priors = candidate_priors(lm, new, configs, among=started.specs, progress=progress)
    how = started.provenance.added[new[0].name]
    if prior == "auto" and how.startswith("mapped"):
        priors = {how: started.prior[len(toolkens) :], **priors}
    device = lm.device if lm.device.type == "cuda" else torch.device("cpu")
    chosen_prior, chosen_lam, selection = next(iter(priors)), lam, None
    if "auto" in (prior, lam):
        selection = select_lam(
            rest,
            priors,
            LAMS if lam == "auto" else (lam,),
            seed=seed,
            bias=bias,
            max_iterations=max_iterations,
            device=device,
            progress=progress,
        )
        chosen_prior, chosen_lam = selection.prior, selection.lam
        if selection.note:
            warn(selection.note)
        if selection.held_out is not None:
            assert selection.positions is not None
            assert selection.logits is not None
            held_out = replace(features.subset(selection.positions), weight=selection.held_out.weight)
            frozen_logits = toolken_logits(held_out, toolkens.matrix, biases)
            logits = torch.cat([frozen_logits, selection.logits], dim=1)
            selection = replace(selection, held_out=held_out, logits=logits)
    assert chosen_lam != "auto"
    began = time.perf_counter()
    solution = solve(
        rest,
        priors[chosen_prior],
        chosen_lam,
        bias=bias,
        start=None if selection is None else selection.start,
        tolerance=tolerance,
        max_iterations=max_iterations,
        device=device,
        progress=progress,
    )
    used = len(loaded.demonstrations) - len(features.dropped)
    updated = _joined(toolkens, new, solution.matrix, priors[chosen_prior], chosen_prior, chosen_lam, used, features)
    return FitResult(
        toolkens=updated,
        lm=lm,
        features=features,
        style=style,
        lm_passes=features.lm_passes,
        pass_seconds=features.seconds,
        solve_seconds=time.perf_counter() - began,
        demonstrations=used,
        tool_positions=features.tool_positions,
        word_positions=features.word_positions,
        solution=solution,
        dropped=dropped,
        unseen=unseen,
        selection=selection,
    )


def _joined(
    toolkens: ToolkenSet,
    new: Sequence[ToolSpec],
    rows: Tensor,
    prior: Tensor,
    prior_kind: str,
    lam: float,
    demonstrations: int,
    features: Features,
) -> ToolkenSet:
    """The set with the fitted rows behind its own."""
    grown = toolkens.add(new, rows, f"{_FITTED} (prior {prior_kind}, λ {lam:g})")
    old = grown.provenance
    calls = features.call_states(len(grown))
    if toolkens.call_states is not None:
        calls[: len(toolkens)] = toolkens.call_states
    provenance = old.model_copy(
        update={
            "lam": old.lam if old.lam == lam else None,
            "demonstrations": old.demonstrations + demonstrations,
            "tool_positions": old.tool_positions + features.tool_positions,
            "word_positions": old.word_positions + features.word_positions,
            "package_version": __version__,
        }
    )
    return replace(grown, prior=torch.cat([toolkens.prior, prior.float()]), call_states=calls, provenance=provenance)
