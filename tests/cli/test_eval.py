"""`toolken eval`: from the command to the tables, the page and JSON; and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from langchain_toolken.cli.app import app

RUN = ["eval", "--methods", "direct,chain_of_thought", "--questions", "2", "--demonstrations", "2", "--max-tokens", "8"]


def test_a_comparison_on_nano_prints_json_and_keeps_a_page(tmp_path: Path) -> None:
    made = CliRunner().invoke(app, [*RUN, "--out", str(tmp_path / "out"), "--json"])
    assert made.exit_code == 0, made.output
    rows = json.loads(made.stdout)["rows"]
    assert [(row["setting"]["method"], row["questions"]) for row in rows] == [("chain_of_thought", 2), ("direct", 2)]
    assert all(row["prompt_tokens"] > 0 and row["lm_passes"] > 0 for row in rows)
    assert json.loads((tmp_path / "out" / "results.json").read_text())["rows"] == rows
    assert (tmp_path / "out" / "results.html").exists()
    again = CliRunner().invoke(app, ["eval", "--table", "--markdown", "--out", str(tmp_path / "out")])
    assert "**nano: 13 tools, 2 demonstrations a tool**" in again.stdout


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("langchain_toolken.evaluation.run.run", stopped)
    made = CliRunner().invoke(app, [*RUN, "--out", str(tmp_path / "out")])
    assert made.exit_code != 0
    assert "the same command goes on" in made.output


def test_what_cannot_be_run_is_said(tmp_path: Path) -> None:
    empty = tmp_path / "data"
    for dataset in ("funcqa", "kamel"):
        (empty / dataset).mkdir(parents=True)
    for options, words in (
        (["--tasks", "funcqa_one_hop"], "github.com/Ber666/ToolkenGPT"),
        (["--methods", "reakt"], "no method"),
        (["--tasks", "kamel_30", "--data-dir", str(empty)], "github.com/Ber666/ToolkenGPT"),
        (["--tasks", "funcqa_one_hop", "--data-dir", str(empty)], "github.com/Ber666/ToolkenGPT"),
        (["--table"], "holds no answers"),
        (["--demonstrations", "few"], "--demonstrations"),
        (["--prior", "names"], "no setting of a prior"),
    ):
        made = CliRunner().invoke(app, ["eval", "--out", str(tmp_path / "none"), *options])
        assert made.exit_code != 0
        assert words in " ".join(made.output.split()).replace("│", ""), made.output
