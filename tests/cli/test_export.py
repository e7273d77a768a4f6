"""`toolken export` writes a checkpoint and says where what is."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from langchain_toolken.cli.app import app
from langchain_toolken.decoding.export import read_tokens
from langchain_toolken.lm.load import load_language_model
from tests.support.tiny import save_lm
from tests.support.toolken_sets import make_toolkens

run = CliRunner().invoke


def test_a_checkpoint_is_written_and_not_over_another(tmp_path: Path) -> None:
    save_lm(tmp_path / "lm")
    lm = load_language_model(tmp_path / "lm")
    make_toolkens(lm, ["multiply", "divide"]).save(tmp_path / "toolkens")
    command = ["export", "--toolkens", str(tmp_path / "toolkens"), "--out", str(tmp_path / "merged")]
    first = run(app, command)
    assert first.exit_code == 0, first.output
    assert [token.tool for token in read_tokens(tmp_path / "merged")] == ["multiply", "divide"]
    words = len(lm.tokenizer)
    assert f"2, with the ids {words} to {words + 1}" in first.output
    again = run(app, command)
    assert again.exit_code == 1
    assert "holds something already" in again.output
