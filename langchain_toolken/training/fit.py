"""`fit`: toolkens for an LM from tools and demonstrations, in one LM pass and one convex solve (DESIGN §2)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from langchain_toolken import __version__
from langchain_toolken.decoding.lm import LanguageModel, load_language_model
from langchain_toolken.decoding.priors import PriorConfig, prior_rows
from langchain_toolken.prompts.format import ANSWER, Reinjection, Style
from langchain_toolken.toolkens import Provenance, ToolkenSet
from langchain_toolken.tools import ToolLike, ToolSpec, load_tools, tool_specs
from langchain_toolken.training.demonstrations import (
    Demonstration,
    DemonstrationError,
    DemonstrationRow,
    DroppedRow,
    bad_rows,
    gather_demonstrations,
)
from langchain_toolken.training.features import Features, Progress, compute_features
from langchain_toolken.training.solver import Solution, solve

DEFAULT_LAM = 1e-5


class ToolkenFitWarning(UserWarning):
    """Toolkens were made, but not from what a user might think: rows dropped, tools without demonstrations."""


@dataclass(frozen=True, eq=False)
class FitResult:
    """The toolkens and how they came about.

    lm_passes: how often each demonstration went through the LM (1, or 0 without demonstrations). pass_seconds,
    solve_seconds: wall clock. solution: None without demonstrations. dropped: rows that were not used, with line and
    reason. unseen: tools that no demonstration calls; their toolkens stay near their priors. word_positions: those that
    the solve used, after sampling.
    """

    toolkens: ToolkenSet
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


def fit(
    model: str | Path | PreTrainedModel | LanguageModel,
    tools: str | Path | Iterable[ToolLike | ToolSpec],
    demonstrations: str | Path | Iterable[DemonstrationRow] | None = None,
    *,
    prior: PriorConfig = PriorConfig(),  # noqa: B008 -- frozen
    lam: float = DEFAULT_LAM,
    bias: float = 0.0,
    style: Style | None = None,
    reinjection: Reinjection | None = None,
    docstring_examples: bool = True,
    strict: bool = False,
    negatives_per_demonstration: int | None = 64,
    batch_size: int = 16,
    seed: int = 0,
    tolerance: float = 1e-5,
    max_iterations: int = 1000,
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

    lam: weight of the pull to the prior (DESIGN §2). 1e-5 because, fitted on FuncQA's train set, it puts the right tool
    first on 37 of FuncQA dev's 39 calls on two LMs (nano, and another of 11M parameters), where 1e-4 manages 34 and 36
    and 1e-3 33 and 36: an experience, not a selection on your data. bias: added to every toolken's logit while fitting,
    and kept in the set.

    style: how demonstrations are laid out, and what ToolkenChat then does by default. None: "completion" if more than
    half of the demonstrations are "Q: … A: …" texts, because that is how they read; for others, and without any, "chat"
    if the tokenizer has a chat template, else "completion".

    reinjection: how results stand in chat histories: "turn" or "inline"; give ToolkenChat the same. None: "turn" in
    chat style, as chat LMs are trained, "inline" in completion style, which has no turns.

    seed: which negatives are sampled where a demonstration has more than `negatives_per_demonstration` word positions
    (`compute_features`). tolerance, max_iterations: `solve`. progress: called with (done, total, what).

    Warns (ToolkenFitWarning) about dropped rows and tools without demonstrations, and (ConvergenceWarning) if the
    solve did not converge. Raises ToolError, DemonstrationError, UnsupportedModelError or SolveError, which name what
    is at fault.
    """
    made = load_tools(tools) if isinstance(tools, str | Path) else list(tools)
    specs = tool_specs(made)
    if not specs:
        raise ValueError("there are no tools to fit toolkens for; give at least one")
    names = [spec.name for spec in specs]
    loaded = gather_demonstrations(demonstrations, made, docstrings=docstring_examples, strict=strict)
    lm = model if isinstance(model, LanguageModel) else load_language_model(model, **load)
    rows = prior_rows(lm, specs, prior)

    if not loaded.demonstrations:
        _warn_of(loaded.dropped)
        style = style or ("chat" if lm.tokenizer.chat_template else "completion")
        _warn(
            "no demonstrations were given: these are prior toolkens, made from the tools' names or descriptions alone"
        )
        toolkens = _toolken_set(lm, specs, rows, rows, bias, style, prior, None, 0, None)
        return FitResult(toolkens, style, 0, 0.0, 0.0, 0, 0, 0, None, loaded.dropped, tuple(names))

    style = style or _style_of(loaded.demonstrations, lm)
    features = compute_features(
        lm,
        loaded.demonstrations,
        names,
        style,
        reinjection=reinjection,
        negatives_per_demonstration=negatives_per_demonstration,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )
    if strict and features.dropped:
        raise DemonstrationError(bad_rows("the demonstrations, laid out for this LM", features.dropped))
    dropped = tuple(sorted((*loaded.dropped, *features.dropped), key=lambda row: (row.source, row.line)))
    _warn_of(dropped)
    seen = set(features.target.tolist())
    unseen = tuple(name for k, name in enumerate(names) if k not in seen)
    if unseen:
        shown = ", ".join(unseen[:10]) + (f" and {len(unseen) - 10} more" if len(unseen) > 10 else "")
        _warn(f"no demonstration calls {shown}: their toolkens only learn when not to fire, and stay near their priors")

    began = time.perf_counter()
    solution = solve(
        features,
        rows,
        lam,
        bias=bias,
        tolerance=tolerance,
        max_iterations=max_iterations,
        # Only there is float64 both at hand and faster than on the CPU.
        device=lm.device if lm.device.type == "cuda" else "cpu",
        progress=progress,
    )
    solve_seconds = time.perf_counter() - began
    used = len(loaded.demonstrations) - len(features.dropped)
    return FitResult(
        toolkens=_toolken_set(lm, specs, solution.matrix, rows, bias, style, prior, lam, used, features),
        style=style,
        lm_passes=features.lm_passes,
        pass_seconds=features.seconds,
        solve_seconds=solve_seconds,
        demonstrations=used,
        tool_positions=features.tool_positions,
        word_positions=features.word_positions,
        solution=solution,
        dropped=dropped,
        unseen=unseen,
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


def _warn(message: str) -> None:
    warnings.warn(message, ToolkenFitWarning, stacklevel=3)


def _warn_of(dropped: Sequence[DroppedRow]) -> None:
    if dropped:
        shown = "; ".join(map(str, dropped[:5])) + ("; …" if len(dropped) > 5 else "")
        message = f"{len(dropped)} demonstrations were dropped. {shown}"
        warnings.warn(message, ToolkenFitWarning, stacklevel=3)


def _toolken_set(
    lm: LanguageModel,
    specs: Sequence[ToolSpec],
    matrix: Tensor,
    prior: Tensor,
    bias: float,
    style: Style,
    config: PriorConfig,
    lam: float | None,
    demonstrations: int,
    features: Features | None,
) -> ToolkenSet:
    return ToolkenSet(
        specs=tuple(specs),
        matrix=matrix.to(torch.float32).cpu(),
        prior=prior.to(torch.float32).cpu(),
        bias=bias,
        provenance=Provenance(
            model_id=lm.model_id,
            revision=lm.revision,
            head_fingerprint=lm.head_fingerprint,
            tokenizer_fingerprint=lm.tokenizer_fingerprint,
            style=style,
            prior=str(config),
            lam=lam,
            demonstrations=demonstrations,
            tool_positions=features.tool_positions if features else 0,
            word_positions=features.word_positions if features else 0,
            package_version=__version__,
        ),
    )
