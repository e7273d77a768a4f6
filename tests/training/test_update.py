"""`update`: the full objective with the old rows frozen."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.evidence import Evidence, Gate
from langchain_toolken.toolkens.lexical import LexicalMatch
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.load import gather_demonstrations
from langchain_toolken.training.features.compute import compute_features
from langchain_toolken.training.fit import fit
from langchain_toolken.training.fit_warnings import ToolkenFitWarning
from langchain_toolken.training.update import update

SIGNS = {"add": "+", "multiply": "*", "divide": "/", "subtract": "-"}


def spec(name: str) -> ToolSpec:
    return ToolSpec(name=name, description=f"Do {name}.", json_schema={"type": "object", "properties": {}})


def rows(*names: str) -> list[dict[str, object]]:
    made: list[dict[str, object]] = []
    for a in range(2, 8):
        for name in names:
            text = f"Q: What is {a} {SIGNS[name]} 9?\nA: It is {a} {SIGNS[name]} 9 = {a + 5}."
            made.append({"text": text, "calls": [{"start": text.index("= ") + 2, "tool": name, "result": a + 5}]})
    return made


OLD = [spec("add"), spec("multiply")]
ALL = [*OLD, spec("divide"), spec("subtract")]


@pytest.fixture(scope="module")
def old_set(tiny_llama: LanguageModel) -> ToolkenSet:
    return fit(
        tiny_llama, OLD, rows("add", "multiply"), lam=1e-3, prior=PriorConfig(), bias=0.5, calls_from="answer"
    ).toolkens


def test_an_update_is_the_optimum_of_the_full_objective_over_the_new_rows(
    tiny_llama: LanguageModel, old_set: ToolkenSet
) -> None:
    demonstrations = rows(*SIGNS)
    lam, prior = 1e-2, PriorConfig()
    updated = update(tiny_llama, old_set, ALL, demonstrations, lam=lam, prior=prior, tolerance=1e-8).toolkens
    assert torch.equal(updated.matrix[:2], old_set.matrix)
    assert torch.equal(updated.prior[:2], old_set.prior)

    # The papers' cross-entropy on [words ; toolkens], from logits written out, differentiated by torch.
    loaded = gather_demonstrations(demonstrations, ALL, docstrings=False, strict=True)
    features = compute_features(tiny_llama, loaded.demonstrations, [s.name for s in ALL], "completion")
    hidden, start = features.hidden.double(), prior_rows(tiny_llama, ALL[2:], prior, among=ALL).double()
    new = updated.matrix[2:].double().requires_grad_()

    def objective(new_rows: torch.Tensor) -> torch.Tensor:
        logits = hidden @ torch.cat([old_set.matrix.double(), new_rows]).T + 0.5
        total = torch.cat([features.word_logsumexp.double()[:, None], logits], dim=1).logsumexp(dim=1)
        own = logits.gather(1, features.target.clamp(min=0)[:, None])[:, 0]
        said = torch.where(features.target >= 0, own, features.target_logit.double())
        away = new_rows - start
        return (features.weight.double() @ (total - said)) / features.weight.sum() + lam * away.square().sum()

    at_optimum = torch.autograd.grad(objective(new), new)[0]
    at_prior = torch.autograd.grad(objective(leaf := start.clone().requires_grad_()), leaf)[0]
    assert at_optimum.norm() < 1e-4 * at_prior.norm()


def test_an_update_fits_with_the_bias_that_the_set_was_fitted_with_and_keeps_the_calibration(
    tiny_llama: LanguageModel,
) -> None:
    calibrated = fit(tiny_llama, OLD, rows("add", "multiply")).toolkens
    assert calibrated.calibration is not None
    calibrated = replace(calibrated, bias=calibrated.bias + 7.0)
    moved = replace(calibrated, bias=calibrated.bias - 20.0)
    first, second = (
        update(tiny_llama, toolkens, ALL, rows("divide", "subtract"), lam=1e-3, prior=PriorConfig()).toolkens
        for toolkens in (calibrated, moved)
    )
    assert torch.equal(first.matrix, second.matrix)
    assert (first.bias, first.calibration) == (calibrated.bias, calibrated.calibration)
    torch.testing.assert_close(first.biases[2:], torch.full((2,), calibrated.bias))


def test_updated_tools_are_chosen_where_they_are_due_and_counted(
    tiny_llama: LanguageModel, old_set: ToolkenSet
) -> None:
    demonstrations = rows("divide", "subtract")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # the others are errors anyway
        result = update(tiny_llama, old_set, ALL, demonstrations, lam=1e-7)
    assert result.features is not None
    assert result.selection is not None
    assert result.selection.logits is not None
    assert result.selection.logits.shape == (len(result.features), 4)
    calls = result.features.subset(result.features.target >= 0)
    logits = calls.hidden @ result.toolkens.matrix.T + result.toolkens.biases
    assert torch.equal(logits.argmax(dim=1), calls.target)
    assert result.toolkens.trained == [0, 1, 2, 3]
    found, before = result.toolkens.provenance, old_set.provenance
    assert (found.demonstrations, found.tool_positions) == (before.demonstrations + 12, before.tool_positions + 12)
    assert set(found.added) == {"divide", "subtract"}
    assert all(how.startswith("update") for how in found.added.values())


@pytest.mark.parametrize("gated", [True, False])
def test_beside_a_gate_the_calls_of_new_texts_are_learned_right_after_their_questions(
    tiny_llama: LanguageModel, old_set: ToolkenSet, gated: bool
) -> None:
    zero = torch.zeros(tiny_llama.hidden_size)
    evidence = Evidence(gate=Gate(zero, zero, 0.0)) if gated else None
    updated = update(tiny_llama, replace(old_set, evidence=evidence), ALL, rows(*SIGNS), lam=1e-2)
    # Each text is a call right after its question, and then what it says after the result.
    assert updated.demonstrations == (48 if gated else 24)
    assert updated.features is not None
    assert updated.features.tool_positions == 24


def test_tools_that_are_gone_from_the_file_stay_unless_they_are_to_be_dropped(
    tiny_llama: LanguageModel, old_set: ToolkenSet, tmp_path: Path
) -> None:
    tools = [spec("add").model_copy(update={"description": "Sum two numbers."}), spec("divide")]
    kept = update(tiny_llama, old_set, tools, rows("divide"), lam=1e-3, prior=PriorConfig()).toolkens
    assert kept.names == ("add", "multiply", "divide")
    assert kept.specs[0].description == "Sum two numbers."
    dropped = update(
        tiny_llama, old_set, tools, rows("divide"), lam=1e-3, prior=PriorConfig(), drop_missing=True
    ).toolkens
    assert dropped.names == ("add", "divide")
    assert torch.equal(dropped.matrix[0], old_set.matrix[0])
    kept.save(tmp_path / "set")
    loaded = ToolkenSet.load(tmp_path / "set")
    assert loaded.provenance == kept.provenance
    assert loaded.trained == [0, 1, 2]


def test_tools_that_were_only_added_before_are_fitted_by_an_update(
    tiny_llama: LanguageModel, old_set: ToolkenSet
) -> None:
    with pytest.warns(ToolkenFitWarning, match="no demonstrations.*prior head/name/average"):
        added = update(tiny_llama, old_set, [*OLD, spec("divide")]).toolkens
    assert added.names == ("add", "multiply", "divide")
    assert added.trained == [0, 1]
    fitted = update(tiny_llama, added, [*OLD, spec("divide")], rows("divide"), lam=1e-3, prior=PriorConfig()).toolkens
    assert fitted.names == added.names
    assert fitted.trained == [0, 1, 2]
    assert torch.equal(fitted.matrix[:2], old_set.matrix)
    assert not torch.equal(fitted.matrix[2], added.matrix[2])
    with pytest.warns(ToolkenFitWarning, match="nothing was fitted"):
        again = update(tiny_llama, fitted, [*OLD, spec("divide")], rows("divide")).toolkens
    assert torch.equal(again.matrix, fitted.matrix)


def test_a_set_of_another_lm_is_refused_with_both_named(tiny_lm, old_set: ToolkenSet) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ToolkenSetError, match="differ in the output head"):
        update(tiny_lm("cohere"), old_set, ALL, rows("divide"))


@pytest.mark.parametrize("keep", [True, False])
def test_the_requests_of_new_tools_join_the_evidence(
    tiny_llama: LanguageModel, old_set: ToolkenSet, keep: bool
) -> None:
    matches = LexicalMatch("description", 0.5, old_set.names), LexicalMatch("demonstrations", 0.5, old_set.names)
    told = replace(old_set, evidence=Evidence(scale=0.25, lexical=matches))
    updated = update(
        tiny_llama, told, ALL[:3], rows("divide"), lam=1e-3, prior=PriorConfig(), keep_demonstrations=keep
    ).toolkens
    assert updated.evidence is not None
    assert updated.evidence.scale == 0.25
    by_kind = {match.kind: match for match in updated.evidence.lexical}
    shown, described = by_kind["demonstrations"], by_kind["description"]
    assert isinstance(shown, LexicalMatch)
    assert isinstance(described, LexicalMatch)
    assert shown.documents[:2] == old_set.names, "the old tools' demonstrations are not known again"
    asked = shown.documents[updated.index("divide")]
    assert (len(asked.splitlines()) > 1) == keep
    assert len(described.documents[updated.index("divide")].splitlines()) == 1
