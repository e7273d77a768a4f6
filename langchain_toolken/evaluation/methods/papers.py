"""The papers' own training, as a baseline for `training.fit`: Adam, one demonstration a step, the LM run in every step.

This is what their released scripts do (github.com/Ber666/ToolkenGPT, github.com/lichenghaobuaa/TokenLearning;
train_llama.py and llama/model.py of each): toolkens are the rows of a `nn.Linear` next to the head, the loss is the
cross-entropy over [words ; toolkens] averaged over the positions of one demonstration, `torch.optim.Adam` has no decay,
and demonstrations are shuffled every epoch.
ToolkenGPT (arXiv 2305.11554) starts from `nn.Linear`'s random rows; TokenLearning (arXiv 2506.14248) from the prior,
and adds lam * ||W - W0||_F^2 (as in the paper; the script has 1e-2 * ||W - W0||, not squared: `TOKENLEARNING_CODE`).

One difference: in "Q: … A: …" texts only the answer is supervised, as in `fit`.

| | learning rate | epochs run | checkpoint they evaluate |
|---|---|---|---|
| GSM8K-XL | 1e-3 | 10 | after 4 |
| FuncQA | 1e-4 | 10 | after 8 |
| KAMEL | 1e-3 (ToolkenGPT's default), 1e-4 (TokenLearning's) | 10 | after 5 |
| VirtualHome | the same defaults | 10 | after 8 |

From both READMEs; SimpleToolQuestions is newer, and neither has a recipe for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Literal

import torch
from torch import Tensor

from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import Reinjection, Style
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.features.compute import Features, compute_features
from langchain_toolken.training.options import Demonstrations, FitOptions, Model, Tools
from langchain_toolken.training.result import FitResult
from langchain_toolken.training.steps import (
    Chosen,
    Fitted,
    finish,
    prepare,
    toolkens_of_main_process,
)
from langchain_toolken.training.without_demonstrations import prior_toolkens

_PROGRESS_EVERY = 64  # steps


@dataclass(frozen=True)
class Recipe:
    """A paper's training.

    Attributes:
        name: The method's name.
        start: What the rows start from: random rows or the prior.
        lam: Weight of the pull to the prior.
        learning_rate: Adam's.
        epochs: How often the demonstrations are gone through.
        penalty: "squared" pulls with lam * ||W - W0||_F^2, as in TokenLearning's paper; "norm" with lam * ||W - W0||_F,
            as in its released code.

    Raises:
        ValueError: No epochs, a learning rate of 0 or less, or a negative lam.
    """

    name: str
    start: Literal["random", "prior"]
    lam: float
    learning_rate: float = 1e-3
    epochs: int = 10
    penalty: Literal["squared", "norm"] = "squared"

    def __post_init__(self) -> None:
        if self.epochs < 1 or not self.learning_rate > 0 or not self.lam >= 0:
            raise ValueError(
                f"recipe {self.name!r}: {self.epochs} epochs, learning rate {self.learning_rate}, lam {self.lam}: "
                "give at least 1 epoch, a learning rate above 0, and a lam of 0 or more"
            )


TOOLKENGPT = Recipe("toolkengpt", start="random", lam=0.0)
TOKENLEARNING = Recipe("tokenlearning", start="prior", lam=1e-3)  # its paper's λ for GSM8K-XL
TOKENLEARNING_CODE = Recipe("tokenlearning_code", start="prior", lam=1e-2, penalty="norm")  # its released script
RECIPES = {recipe.name: recipe for recipe in (TOOLKENGPT, TOKENLEARNING)}


@dataclass(frozen=True, eq=False)
class Trained:
    """What a recipe's training gave.

    Attributes:
        matrix: The rows, (K, d) float32.
        steps: Gradient steps taken.
        total_steps: Steps of all epochs; more than `steps` if training was cut short to time it.
        seconds: Wall clock of the steps taken.
        processor_seconds: Of the same steps; other programs do not count in them.
    """

    matrix: Tensor
    steps: int
    total_steps: int
    seconds: float
    processor_seconds: float


def fit_by_recipe(
    model: Model,
    tools: Tools,
    demonstrations: Demonstrations,
    recipe: Recipe | str,
    *,
    prior: PriorConfig | Literal["auto"] = "auto",
    lam: float | Literal["auto"] = "auto",
    bias: float | Literal["auto"] = "auto",
    style: Style | None = None,
    reinjection: Reinjection | None = None,
    docstring_examples: bool = True,
    keep_demonstrations: bool = True,
    strict: bool = False,
    negatives_per_demonstration: int | None = 64,
    batch_tokens: int | None = None,
    features_dir: str | Path | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    **load: Any,
) -> FitResult:
    """Fit toolkens as a paper did, to compare with: Adam, epochs, and the LM run in every step.

    Takes many times longer than `training.fit.fit`, and chooses nothing: there is no selection and no calibration.

    Args:
        model: See `fit`.
        tools: See `fit`.
        demonstrations: See `fit`.
        recipe: A recipe, or the name of one ("toolkengpt", "tokenlearning").
        prior: What the recipe starts from or pulls to. "auto": the head rows of the name, as in the paper.
        lam: λ. "auto": the recipe's own.
        bias: Added to the toolkens' logits while training, and kept. "auto": none.
        style: See `fit`, as for all arguments that follow.
        reinjection: See `fit`.
        docstring_examples: See `fit`.
        keep_demonstrations: See `fit`.
        strict: See `fit`.
        negatives_per_demonstration: See `fit`; of the features in the result, training uses all positions.
        batch_tokens: See `fit`.
        features_dir: See `fit`.
        seed: Of the random rows, the order of demonstrations, and sampled features.
        progress: See `fit`.
        **load: See `fit`.

    Returns:
        The toolkens, whose provenance names the recipe. `lm_passes` counts the epochs too.

    Raises:
        ValueError: There is no such recipe, or a cap on false calls is given, which only `fit` can keep. Other errors
            are those of `fit`.
    """
    if isinstance(recipe, str):
        if recipe not in RECIPES:
            raise ValueError(f"recipe is {recipe!r}; it must be one of {', '.join(RECIPES)}")
        recipe = RECIPES[recipe]
    if load.pop("max_false_call_rate", None) is not None:
        raise ValueError(f"the recipe {recipe.name!r} calibrates no bias: leave max_false_call_rate out")
    recipe = recipe if lam == "auto" else replace(recipe, lam=lam)
    options = FitOptions(
        prior=PriorConfig() if prior == "auto" else prior,
        lam=recipe.lam,
        bias=0.0 if bias == "auto" else bias,
        gate=False,
        evidence=False,
        style=style,
        reinjection=reinjection,
        docstring_examples=docstring_examples,
        keep_demonstrations=keep_demonstrations,
        strict=strict,
        negatives_per_demonstration=negatives_per_demonstration,
        batch_tokens=batch_tokens,
        features_dir=features_dir,
        seed=seed,
        progress=progress,
    )
    given = prepare(model, tools, demonstrations, options, load)
    features = given.gathered.features
    if features is None:
        return prior_toolkens(given, options)
    if not given.crew.main:
        return toolkens_of_main_process(given)
    name, rows = next(iter(given.priors.items()))
    trained = train_through_lm(
        given.lm,
        [given.gathered.demonstrations[number] for number in features.demonstration.unique().tolist()],
        [spec.name for spec in given.specs],
        given.style,
        rows,
        recipe,
        bias=options.fitted_bias,
        seed=seed,
        progress=progress,
    )
    chosen = Chosen(f"{recipe.name}: {name}", rows, recipe.lam)
    return finish(given, chosen, Fitted(trained.matrix, trained.seconds), options, extra_passes=recipe.epochs)


def train_through_lm(
    lm: LanguageModel,
    demonstrations: Sequence[Demonstration],
    tool_names: Sequence[str],
    style: Style,
    prior: Tensor,
    recipe: Recipe,
    *,
    bias: float = 0.0,
    seed: int = 0,
    max_steps: int | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train by a recipe as published: every step runs the LM over one demonstration.

    Args:
        lm: The LM.
        demonstrations: What to train on. Those that `compute_features` can't use are an error, so drop them first.
        tool_names: Names of the K tools.
        style: How demonstrations are laid out.
        prior: What the recipe starts from and pulls to, (K, d); ToolkenGPT uses its shape only.
        recipe: The recipe.
        bias: Added to the toolkens' logits.
        seed: Of random rows and of the order of demonstrations.
        max_steps: Stop after this many steps, to time them.
        progress: Called with (done, total, what).
    """

    def look(number: int) -> Features:
        return compute_features(lm, [demonstrations[number]], tool_names, style, negatives_per_demonstration=None)

    return _train(look, len(demonstrations), prior, recipe, bias, seed, max_steps, progress)


def train_on_features(
    features: Features,
    prior: Tensor,
    recipe: Recipe,
    *,
    bias: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Trained:
    """Train by a recipe on cached features: the same toolkens in less time, because the LM is frozen.

    Args:
        features: What to train on. It should hold all word positions (`negatives_per_demonstration=None`); sampled ones
            count by their weight.
        prior: What the recipe starts from and pulls to, (K, d).
        recipe: The recipe.
        bias: Added to the toolkens' logits.
        seed: Of random rows and of the order of demonstrations.
        progress: Called with (done, total, what).
    """
    order = features.demonstration.argsort(stable=True)
    counts = torch.unique_consecutive(features.demonstration[order], return_counts=True)[1]
    parts = order.split(counts.tolist())

    def look(number: int) -> Features:
        return features.subset(parts[number])

    return _train(look, len(parts), prior, recipe, bias, seed, None, progress)


def random_rows(shape: torch.Size | tuple[int, int], seed: int) -> Tensor:
    """Draw rows as `nn.Linear` initialises them: uniform on ±1/√d."""
    rows = torch.empty(shape)
    bound = shape[1] ** -0.5
    return rows.uniform_(-bound, bound, generator=torch.Generator().manual_seed(seed))


def _train(
    look: Callable[[int], Features],
    demonstrations: int,
    prior: Tensor,
    recipe: Recipe,
    bias: float,
    seed: int,
    max_steps: int | None,
    progress: Progress | None,
) -> Trained:
    began, processed = time.perf_counter(), time.process_time()

    def trained() -> Trained:
        return Trained(matrix, steps, total, time.perf_counter() - began, time.process_time() - processed)

    prior = prior.float().cpu()
    matrix = prior.clone() if recipe.start == "prior" else random_rows(prior.shape, seed)
    adam = torch.optim.Adam([matrix], lr=recipe.learning_rate, fused=True)
    total = recipe.epochs * demonstrations
    random, steps = Random(seed), 0
    for _ in range(recipe.epochs):
        order = list(range(demonstrations))
        random.shuffle(order)
        for number in order:
            if max_steps is not None and steps >= max_steps:
                return trained()
            matrix.grad = _gradient(look(number), matrix, prior, recipe, bias)
            adam.step()
            steps += 1
            if progress is not None and steps % _PROGRESS_EVERY == 0:
                progress(steps, total, recipe.name)
    if progress is not None:
        progress(total, total, recipe.name)
    return trained()


def _gradient(features: Features, matrix: Tensor, prior: Tensor, recipe: Recipe, bias: float) -> Tensor:
    """Compute the gradient of the mean cross-entropy over one demonstration's positions plus the pull to the prior."""
    hidden = features.hidden[:]
    logits = toolken_logits(hidden, matrix, bias)
    log_total = torch.logaddexp(features.word_logsumexp, logits.logsumexp(dim=1))
    share = (logits - log_total[:, None]).exp()
    called = (features.target >= 0).nonzero()[:, 0]
    share[called, features.target[called]] -= 1
    gradient = (share * (features.weight / features.weight.sum())[:, None]).T @ hidden
    if not recipe.lam:
        return gradient
    away = matrix - prior
    if recipe.penalty == "squared":
        return gradient.add(away, alpha=2 * recipe.lam)
    length = float(away.norm())
    return gradient.add(away, alpha=recipe.lam / length) if length else gradient  # no direction at the prior itself
