"""`toolken demo --model`: everyday tools on another LM than nano's word problems. nano knows none of them."""

from __future__ import annotations

import json
import re

import pytest
from typer.testing import CliRunner

from langchain_toolken.cli.app import app
from langchain_toolken.cli.everyday_tools import REQUESTS

run = CliRunner().invoke


@pytest.mark.slow
def test_the_demo_on_another_lm_shows_what_was_really_called() -> None:
    arguments = ["demo", "--model", "nano", "--model-arg", "dtype=float32", "--questions", "3", "--json"]
    result = run(app, arguments)
    assert result.exit_code == 0, result.output
    outcomes = json.loads(result.stdout)
    assert [one["request"] for one in outcomes] == [request.text for request in REQUESTS[:3]]
    assert [bool(one["expected"]) for one in outcomes] == [True, True, False]
    assert all(one["right"] == (one["called"] == one["expected"]) for one in outcomes)
    assert all(len(line) <= 80 for line in result.stderr.splitlines() if "reason" not in line), result.stderr
    for shown in ("Fit toolkens", "answer plain requests", "255 more plain requests", "without tools"):
        assert shown in re.sub(r"\s+", " ", result.stderr)


def test_options_of_the_word_problems_are_refused_with_another_lm() -> None:
    for option in ("--per-tool", "--seed"):
        result = run(app, ["demo", "--model", "no-such-lm", option, "3"])
        assert result.exit_code == 2
        assert "leave them out with --model" in re.sub(r"[\s│]+", " ", result.output)


def test_an_lm_that_is_not_there_is_told() -> None:
    result = run(app, ["demo", "--model", "no-such-folder/lm.gguf"])
    assert result.exit_code == 1
    assert "no-such-folder/lm.gguf" in result.output
