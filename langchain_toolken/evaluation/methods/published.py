"""The papers' toolkens: ToolkenGPT, TokenLearning as in its text and as in its code, and Toolken+.

All train as published (`papers.Recipe`), on the same demonstrations as every other method. At inference they do as
ToolkenGPT: the reasoning mode is prompted with four worked examples, a constant is added to the toolkens' logits, a
toolken fires inside the answer, the tool mode shows four calls of the chosen tool, and the result goes into the
sentence. Arguments are decoded under the tool's schema, as for every other method.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from langchain_toolken.evaluation.methods.in_context import EXAMPLES, as_far_as_they_fit
from langchain_toolken.evaluation.methods.method import Answerer, Bench, Change
from langchain_toolken.evaluation.methods.papers import (
    TOKENLEARNING,
    TOKENLEARNING_CODE,
    TOOLKENGPT,
    Recipe,
    random_rows,
    train_on_features,
)
from langchain_toolken.evaluation.methods.toolken_chat import with_toolkens
from langchain_toolken.evaluation.methods.worked_examples import few
from langchain_toolken.evaluation.tasks import Task, TaskKind
from langchain_toolken.prompts.call_cards import CardForm
from langchain_toolken.toolkens.examples import ArgumentSettings, Examples
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.fitted_set import toolken_set
from langchain_toolken.training.held_out_calls import argument_calls

LOGIT_BIAS = 3.0
"""What ToolkenGPT's script adds to the toolkens' logits (2.7 to 3 in its README)."""

# Learning rate and epochs up to the checkpoint that is evaluated, from the READMEs, by how the dataset's name begins.
_PUBLISHED = {"gsm8k_xl": (1e-3, 4), "funcqa": (1e-4, 8), "kamel": (1e-3, 5), "virtualhome": (1e-3, 8)}
_OTHERWISE = (1e-3, 5)


_NAME = PriorConfig()


@dataclass(frozen=True)
class Published:
    """A paper's toolkens.

    Attributes:
        recipe: How they are trained.
        prior: What the recipe starts from and pulls to.
        rerank: Whether the LM judges every call by the tools' cards, and may reject it.
    """

    name: str
    says: str
    recipe: Recipe
    prior: PriorConfig = _NAME
    rerank: bool = False
    kinds: frozenset[TaskKind] = frozenset({"number", "tool", "plan"})
    random: bool = True
    learns: bool = True

    @property
    def changed_by(self) -> frozenset[Change]:
        """A λ and a prior change nothing about random rows that nothing pulls."""
        return frozenset({"lam", "prior", "random prior"} if self.recipe.start == "prior" else ())

    def prepare(self, bench: Bench) -> Answerer:
        """Train by the recipe, or take the toolkens of a run before."""
        recipe = recipe_for(self.recipe, bench.task)
        if bench.ablation.lam is not None:
            recipe = replace(recipe, lam=bench.ablation.lam)
        prior = bench.ablation.prior or self.prior

        def make() -> ToolkenSet:
            return trained(bench, recipe, prior)

        toolkens = bench.kept_set(self.recipe.name, make, recipe, prior, bench.seed)
        completion = toolkens.provenance.style == "completion"
        worked = few(bench.task.demonstrations, EXAMPLES, bench.seed) if completion else []
        few_shot = as_far_as_they_fit(bench.engine, [one.text for one in worked])
        return with_toolkens(bench, toolkens, few_shot=few_shot, rerank=self.rerank)


def recipe_for(recipe: Recipe, task: Task) -> Recipe:
    """Return the recipe with a dataset's published learning rate and epochs.

    With fewer demonstrations than the paper's it goes through them more often, so that it takes as many steps.
    """
    rate, epochs = next((how for name, how in _PUBLISHED.items() if task.name.startswith(name)), _OTHERWISE)
    fewer = max(1.0, task.published / max(1, len(task.demonstrations)))
    return replace(recipe, learning_rate=rate, epochs=math.ceil(epochs * fewer))


def trained(bench: Bench, recipe: Recipe, config: PriorConfig | Literal["random"]) -> ToolkenSet:
    """Train toolkens on cached features: the same ones as with the LM in every step, because the LM is frozen."""
    task, lm = bench.task, bench.engine.lm
    features = bench.features(task.demonstrations)
    if config == "random":
        prior = random_rows((len(task.specs), lm.hidden_size), seed=bench.seed)
    else:
        prior = prior_rows(lm, task.specs, config)
    made = train_on_features(features, prior, recipe, seed=bench.seed, progress=bench.progress)
    toolkens = toolken_set(
        lm,
        task.specs,
        made.matrix,
        prior,
        bias=LOGIT_BIAS,
        style="chat" if task.demonstrations[0].before else "completion",
        reinjection="turn" if task.demonstrations[0].before else "inline",
        prior=f"{recipe.name}: {config}",
        lam=recipe.lam,
        demonstrations=len(task.demonstrations),
        features=features,
    )
    calls = argument_calls(task.demonstrations, task.specs, "inline")
    settings = ArgumentSettings(form=CardForm(examples=EXAMPLES, request=True))
    return replace(toolkens, examples=Examples(calls=calls.examples, settings=settings))


TOOLKENGPT_METHOD = Published(
    "toolkengpt", "ToolkenGPT: random rows, Adam; toolkens fire inside the answer, 4 examples in the prompt", TOOLKENGPT
)
TOKENLEARNING_METHOD = Published(
    "tokenlearning", "TokenLearning's paper: rows start at the prior of the name and are pulled to it", TOKENLEARNING
)
TOKENLEARNING_CODE_METHOD = Published(
    "tokenlearning_code",
    "TokenLearning's released code: prior of last hidden states, penalty not squared",
    TOKENLEARNING_CODE,
    PriorConfig("hidden"),
)
TOOLKEN_PLUS = Published(
    "toolken_plus",
    "Toolken+: ToolkenGPT's rows; the LM reads the 5 likeliest tools' cards and Reject, and chooses",
    TOOLKENGPT,
    rerank=True,
    kinds=frozenset({"number"}),
)
