"""A command runs the user's tools file once: importing it may be slow, or do something."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langchain_toolken.cli.app import app
from langchain_toolken.toolkens.set import ToolkenSet
from tests.cli.test_fit_synthesis import EXAMPLES, scripted_choice, scripted_generator
from tests.support.scripted_generator import ScriptedGenerator

DEMOS = str(EXAMPLES / "demos.jsonl")
FIXED = ["--lam", "1e-4", "--prior", "head", "--json"]
run = CliRunner().invoke


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The file to which the tools file adds a line each time it runs."""
    return tmp_path / "runs.txt"


@pytest.fixture
def tools(tmp_path: Path, runs: Path) -> str:
    file = tmp_path / "counted.py"
    counting = f"with open({str(runs)!r}, 'a') as _runs:\n    _runs.write('run\\n')\n"
    file.write_text((EXAMPLES / "mytools.py").read_text(encoding="utf-8") + counting, encoding="utf-8")
    return str(file)


def test_fit_with_synthesis_and_demonstrations_runs_it_once(
    tmp_path: Path, tools: str, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted = ScriptedGenerator(examples=scripted_generator, choose=scripted_choice)
    monkeypatch.setattr("langchain.chat_models.init_chat_model", lambda name: scripted)
    making = ["--synthesize", "2", "--generator", "test:scripted", "--execute", "--demos", DEMOS, "--bias", "0"]
    result = run(app, ["fit", "--tools", tools, "--out", str(tmp_path / "set"), *making, *FIXED])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["synthesis"]["rows"] > 0
    assert runs.read_text() == "run\n"


def test_fit_with_an_update_runs_it_once_and_so_does_chat(tmp_path: Path, tools: str, runs: Path) -> None:
    fitted, two, three = tmp_path / "fitted", tmp_path / "two", tmp_path / "three"
    result = run(app, ["fit", "--tools", tools, "--demos", DEMOS, "--out", str(fitted), "--bias", "0", *FIXED])
    assert result.exit_code == 0, result.output
    assert runs.read_text() == "run\n"
    ToolkenSet.load(fitted).remove(["fair_share"]).save(two)
    updating = ["fit", "--tools", tools, "--demos", DEMOS, "--update", str(two), "--out", str(three), *FIXED]
    result = run(app, updating)
    assert result.exit_code == 0, result.output
    assert runs.read_text() == "run\n" * 2
    question = "A shop sells apples for 4127 dollars each. How much do 394 apples cost?"
    result = run(app, ["chat", "--toolkens", str(three), "--tools", tools, "--json", question])
    assert result.exit_code == 0, result.output
    assert str(4127 * 394) in json.loads(result.stdout)["text"]
    assert runs.read_text() == "run\n" * 3
