"""Places that are in each other's way are refused before the LM is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from langchain_toolken.cli.app import app
from langchain_toolken.cli.fit_places import synthesized_beside

EXAMPLES = Path(__file__).parents[2] / "examples"
FIT = ["fit", "--tools", str(EXAMPLES / "mytools.py"), "--model", "./no-such-model"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "set", "--features", "set"], "--features set and --out set are one folder"),
        (["--out", "set", "--features", "other/../set"], "one folder or one inside the other"),
        (["--out", "set", "--features", "set/features"], "one inside the other"),
        (["--out", "features/set", "--features", "features"], "one inside the other"),
        (["--out", "link/set", "--features", "real/set"], "one folder"),
        (["--out", "set", "--synthesize", "1", "--synthesis-out", "set/made.jsonl"], "can't be in --out set"),
        (["--out", "set", "--synthesize", "1", "--synthesis-out", "set"], "can't be in --out set"),
        (
            ["--out", "set", "--features", "f", "--synthesize", "1", "--synthesis-out", "f/x.jsonl"],
            "can't be in --features f",
        ),
        (["--out", "f", "--features", "f.synthesized.jsonl", "--synthesize", "1"], "the made-up demonstrations"),
        (["--out", "set", "--synthesize", "1", "--synthesis-out", "d.jsonl", "--demos", "d.jsonl"], "is --demos too"),
    ],
)
def test_places_in_each_others_way_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("real").mkdir()
    Path("link").symlink_to("real")
    result = CliRunner().invoke(app, [*FIT, *arguments])
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", "").split())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["link", "real"]


def test_a_features_folder_that_holds_other_files_is_refused_before_the_lm_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    result = CliRunner().invoke(app, [*FIT, "--out", str(tmp_path / "set"), "--features", str(tmp_path)])
    assert result.exit_code == 2
    (tmp_path / "features").mkdir()
    (tmp_path / "features" / "mine.txt").write_text("mine")
    result = CliRunner().invoke(app, [*FIT, "--out", str(tmp_path / "set"), "--features", str(tmp_path / "features")])
    assert result.exit_code == 1
    assert "holds other files and no features" in result.stderr
    assert "no-such-model" not in result.stderr


def test_places_side_by_side_are_taken(tmp_path: Path) -> None:
    places = ["--out", str(tmp_path / "set"), "--features", str(tmp_path / "features"), "--synthesize", "1"]
    result = CliRunner().invoke(app, [*FIT, *places])
    assert "no-such-model" in result.stderr


def test_the_folder_that_one_is_in_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    result = CliRunner().invoke(app, [*FIT, "--out", "."])
    assert "no-such-model" in result.stderr
    assert synthesized_beside(Path()) == tmp_path / "here.synthesized.jsonl"
