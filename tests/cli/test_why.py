"""`toolken why` prints what `chat.why` found, as tables and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langchain_toolken.cli.app import app
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.prompts.call_cards import CallExample
from langchain_toolken.toolkens.examples import Examples
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.evidence import make_evidence
from tests.support.tiny import save_lm
from tests.support.toolken_sets import make_toolkens

run = CliRunner().invoke


@pytest.fixture(scope="module")
def toolkens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("why")
    save_lm(folder / "lm")
    made = make_toolkens(load_language_model(folder / "lm"), ["multiply", "divide", "a\u202edd"])
    calls = (CallExample(tool="divide", request="Halve it", arguments={"a": 1, "b": 2}),)
    made = replace(made, examples=Examples(calls), evidence=make_evidence(made, threshold=-1000.0))
    made.save(folder / "fires")
    silent = make_evidence(made, threshold=1000.0)
    assert silent.gate is not None
    silent = replace(silent, gate=replace(silent.gate, points=((0.02, 900.0), (0.5, -900.0))))
    replace(made, evidence=silent).save(folder / "silent")
    return folder


def test_json_has_what_fires_and_why_another_does_not(toolkens: Path) -> None:
    result = run(app, ["why", "Multiply 3 by 4", "--toolkens", str(toolkens / "fires"), "--tool", "divide", "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    place = said["places"][said["fires_at"]]
    assert said["fires_at"] == 0
    assert said["fires"] == place["tools"][0]["tool"]
    assert sum(one["share"] for one in place["tools"]) == pytest.approx(1, abs=1e-4)
    assert said["why_not"]["tool"] == "divide"
    assert said["why_not"]["nearest"][0]["request"] == "Halve it"


def test_the_terminal_shows_scores_parts_and_what_is_missing(toolkens: Path) -> None:
    silent = ["--toolkens", str(toolkens / "silent"), "--tool", "divide", "--top", "2"]
    result = run(app, ["why", "Multiply 3 by 4", *silent])
    assert result.exit_code == 0, result.output
    for part in ("comes nearest", "no call", "classifier", "why not divide", "the gate calls nothing here", "Halve it"):
        assert part in " ".join(result.output.split())
    assert "fires where 50% or more" in " ".join(result.output.split())
    assert "\u202e" not in result.output


def test_a_tool_that_does_not_exist_is_an_error_before_the_lm_is_loaded(
    toolkens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_toolken.chat.model.load_engine", lambda *_: pytest.fail("loaded"))
    result = run(app, ["why", "Hi", "--toolkens", str(toolkens / "fires"), "--tool", "divided"])
    assert result.exit_code == 1
    assert "did you mean divide" in result.output


def test_an_empty_request_is_refused(toolkens: Path) -> None:
    assert run(app, ["why", " ", "--toolkens", str(toolkens / "fires")]).exit_code == 2


def test_the_set_is_left_as_it_was(toolkens: Path) -> None:
    before = ToolkenSet.load(toolkens / "fires").fingerprint
    run(app, ["why", "Hi", "--toolkens", str(toolkens / "fires")])
    assert ToolkenSet.load(toolkens / "fires").fingerprint == before
