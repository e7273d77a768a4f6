"""The papers' training: torch's own cross-entropy and Adam, step by step, and the same on cached features."""

from __future__ import annotations

from random import Random

import pytest
import torch

from langchain_toolken.evaluation.methods.papers import (
    RECIPES,
    Recipe,
    fit_by_recipe,
    random_rows,
    train_on_features,
    train_through_lm,
)
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from langchain_toolken.training.demonstrations.load import gather_demonstrations
from langchain_toolken.training.features.compute import compute_features

NAMES = ["add", "multiply", "idle"]
TEXTS = [
    ("Q: What is 4 + 9?\nA: It is 4 + 9 = 13.", "add", "13"),
    ("Q: What is 4 * 9?\nA: Well, it is 4 * 9 = 36 in all.", "multiply", "36"),
    ("Q: What is 5 + 2?\nA: 7.", "add", "7"),
]


SPECS = [
    ToolSpec(name=name, description=f"Do {name}.", json_schema={"type": "object", "properties": {}})
    for name in ("add", "multiply")
]


def rows() -> list[dict[str, object]]:
    made = []
    for a in range(2, 8):
        for sign, name, result in (("+", "add", a + 9), ("*", "multiply", 9 * a)):
            text = f"Q: What is {a} {sign} 9?\nA: It is {a} {sign} 9 = {result}."
            made.append(
                {"text": text, "calls": [{"start": text.index(f"= {result}") + 2, "tool": name, "result": result}]}
            )
    return made


def demonstrations() -> tuple[Demonstration, ...]:
    rows = [
        {"text": text, "calls": [{"start": text.rindex(result), "tool": name, "result": result}]}
        for text, name, result in TEXTS
    ]
    schema = {"type": "object", "properties": {}}
    specs = [ToolSpec(name=name, description=name, json_schema=schema) for name in NAMES]
    return tuple(gather_demonstrations(rows, specs, docstrings=False, strict=True).demonstrations)


@pytest.fixture(scope="module")
def prior(tiny_llama: LanguageModel) -> torch.Tensor:
    return torch.randn(3, tiny_llama.hidden_size, generator=torch.Generator().manual_seed(3)) * 0.1


@pytest.mark.parametrize("name", RECIPES)
def test_training_equals_torchs_cross_entropy_over_the_whole_vocabulary_and_autograd(
    tiny_llama: LanguageModel, prior: torch.Tensor, name: str
) -> None:
    recipe = Recipe(name, RECIPES[name].start, RECIPES[name].lam, learning_rate=1e-2, epochs=3)
    found = train_through_lm(tiny_llama, demonstrations(), NAMES, "completion", prior, recipe, seed=5)
    rows = prior.clone() if recipe.start == "prior" else random_rows(prior.shape, 5)
    rows.requires_grad_()
    adam = torch.optim.Adam([rows], lr=1e-2)
    shuffled = Random(5)
    for _ in range(3):
        order = [0, 1, 2]
        shuffled.shuffle(order)
        for number in order:
            features = compute_features(
                tiny_llama, [demonstrations()[number]], NAMES, "completion", negatives_per_demonstration=None
            )
            hidden = features.hidden.clone()  # not an inference tensor, which autograd refuses
            words = tiny_llama.head.word_logits(hidden).detach()
            logits = torch.cat([words, hidden @ rows.T], dim=1)
            # A word's own logit says which word it is.
            said = (words - features.target_logit.clone()[:, None]).abs().argmin(dim=1)
            target = torch.where(features.target >= 0, words.shape[1] + features.target, said)
            loss = torch.nn.functional.cross_entropy(logits, target)
            loss = loss + recipe.lam * (rows - prior).square().sum()
            adam.zero_grad()
            loss.backward()
            adam.step()
    assert torch.allclose(found.matrix, rows.detach(), atol=1e-5)
    assert (found.steps, found.total_steps) == (9, 9)


@pytest.mark.parametrize("name", RECIPES)
def test_cached_features_give_the_same_toolkens_as_the_lm_in_every_step(
    tiny_llama: LanguageModel, prior: torch.Tensor, name: str
) -> None:
    recipe = Recipe(name, RECIPES[name].start, RECIPES[name].lam, epochs=4)
    features = compute_features(
        tiny_llama, demonstrations(), NAMES, "completion", negatives_per_demonstration=None, batch_tokens=100
    )
    through = train_through_lm(tiny_llama, demonstrations(), NAMES, "completion", prior, recipe, seed=1)
    cached = train_on_features(features, prior, recipe, seed=1)
    assert torch.allclose(through.matrix, cached.matrix, atol=1e-4)
    assert not torch.allclose(cached.matrix, train_on_features(features, prior, recipe, seed=2).matrix, atol=1e-4)
    assert torch.equal(cached.matrix, train_on_features(features, prior, recipe, seed=1).matrix)


def test_training_that_is_cut_short_says_how_much_is_left(tiny_llama: LanguageModel, prior: torch.Tensor) -> None:
    recipe = RECIPES["toolkengpt"]
    cut = train_through_lm(tiny_llama, demonstrations(), NAMES, "completion", prior, recipe, max_steps=4)
    assert (cut.steps, cut.total_steps) == (4, 30)


def test_a_recipe_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="recipe 'mine': 0 epochs"):
        Recipe("mine", "random", 0.0, epochs=0)


def test_a_papers_recipe_makes_ordinary_toolkens_that_say_where_they_come_from(tiny_llama: LanguageModel) -> None:
    recipe = Recipe("toolkengpt", "random", 0.0, learning_rate=1e-2, epochs=2)
    result = fit_by_recipe(tiny_llama, SPECS, rows(), recipe, seed=3)
    assert result.toolkens.provenance.prior == "toolkengpt: head/name/average"
    assert result.toolkens.provenance.lam == 0
    assert (result.lm_passes, result.solution, result.selection) == (3, None, None)
    assert result.features is not None
    again = train_on_features(result.features, result.toolkens.prior, recipe, seed=3)
    assert torch.allclose(again.matrix, result.toolkens.matrix, atol=1e-4)


def test_a_recipe_is_named_right_and_calibrates_nothing(tiny_llama: LanguageModel) -> None:
    with pytest.raises(ValueError, match="must be one of toolkengpt, tokenlearning"):
        fit_by_recipe(tiny_llama, SPECS, rows(), "adam")
    with pytest.raises(ValueError, match="calibrates no bias"):
        fit_by_recipe(tiny_llama, SPECS, rows(), "tokenlearning", max_false_call_rate=0.01)


def test_a_recipe_takes_a_lam_and_a_bias_of_ones_own(tiny_llama: LanguageModel) -> None:
    recipe = Recipe("mine", "prior", 1e-3, epochs=1)
    plain, own = (
        fit_by_recipe(tiny_llama, SPECS, rows(), recipe, **given) for given in ({}, {"lam": 0.5, "bias": -1.5})
    )
    assert (plain.toolkens.provenance.lam, plain.toolkens.bias, plain.bias) == (1e-3, 0.0, None)
    assert (own.toolkens.provenance.lam, own.toolkens.bias) == (0.5, -1.5)
