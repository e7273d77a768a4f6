"""`toolken serve` passes on what a user sets, and refuses what can't be served before it listens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from langchain_toolken.cli.app import app
from langchain_toolken.decoding.vllm.connection import ServedModel
from langchain_toolken.lm.load import load_language_model
from tests.support.tiny import save_lm
from tests.support.toolken_sets import make, make_toolkens

run = CliRunner().invoke


@pytest.fixture(scope="module")
def toolkens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    save_lm(folder / "lm")
    make_toolkens(load_language_model(folder / "lm"), ["multiply"]).save(folder / "toolkens")
    return folder / "toolkens"


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be served: (what, the token, host, port)."""
    found: list[Any] = []
    monkeypatch.setattr("langchain_toolken.serve.app.make_app", lambda served, token: (served, token))
    monkeypatch.setattr("langchain_toolken.serve.run.run", lambda made, host, port: found.append((*made, host, port)))
    return found


def test_by_default_only_this_machine_is_served_and_no_token_is_needed(toolkens: Path, served: list[Any]) -> None:
    result = run(app, ["serve", "--toolkens", str(toolkens)])
    assert result.exit_code == 0, result.output
    ((what, token, host, port),) = served
    assert (what.model_id, token, host, port) == ("lm", None, "127.0.0.1", 8000)
    assert (what.policy.unknown, what.policy.without_tools) == ("refuse", "none")


def test_settings_reach_the_chat_model(toolkens: Path, served: list[Any]) -> None:
    options = ["--max-tokens", "9", "--max-batch-size", "3", "--new-tools", "--bind-all", "--name", "mine"]
    assert run(app, ["serve", "--toolkens", str(toolkens), *options]).exit_code == 0
    ((what, *_),) = served
    assert (what.chat.max_tokens, what.chat.max_batch_size, what.model_id) == (9, 3, "mine")
    assert (what.policy.unknown, what.policy.without_tools) == ("grow", "all")


def test_vllm_is_started_with_the_exported_checkpoint_and_stopped_at_the_end(
    toolkens: Path, served: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[Any] = []

    class Process:
        base_url, log = "http://127.0.0.1:9/v1", tmp_path / "log"

        def __init__(self, folder: Path, **given: Any) -> None:
            started.append((folder, given))

        def __enter__(self) -> None:
            assert (started[0][0] / "toolken_tokens.json").exists()

        def __exit__(self, *error: object) -> None:
            started.append("stopped")

    monkeypatch.setattr("langchain_toolken.serve.vllm_process.VllmProcess", Process)
    monkeypatch.setattr("langchain_toolken.decoding.vllm.engine.VllmEngine.check", lambda self, given: None)
    models = [ServedModel(id="toolken", max_model_len=128)]
    monkeypatch.setattr("langchain_toolken.decoding.vllm.connection.VllmConnection.models", lambda self: models)
    options = ["--export-to", str(tmp_path / "out"), "--vllm-python", "py", "--vllm-port", "81", "--engine", "vllm"]
    result = run(app, ["serve", "--toolkens", str(toolkens), *options, "--", "--max-num-seqs", "7"])
    assert result.exit_code == 0, result.output
    given = {"python": "py", "port": 81, "flags": ["--max-num-seqs", "7"]}
    assert started == [(tmp_path / "out", given), "stopped"]
    ((what, *_),) = served
    assert (what.chat.backend, what.chat.base_url) == ("vllm", Process.base_url)


def test_vllms_options_need_vllm(toolkens: Path, served: list[Any]) -> None:
    result = run(app, ["serve", "--toolkens", str(toolkens), "--vllm-port", "81"])
    assert result.exit_code == 2
    assert not served


def test_where_others_reach_it_a_token_is_made_and_printed(toolkens: Path, served: list[Any]) -> None:
    result = run(app, ["serve", "--toolkens", str(toolkens), "--host", "0.0.0.0"])
    ((_, token, *_),) = served
    assert token
    assert token in result.output


def test_a_token_of_ones_own_is_not_printed(toolkens: Path, served: list[Any]) -> None:
    result = run(app, ["serve", "--toolkens", str(toolkens)], env={"TOOLKEN_API_KEY": "s3cret"})
    ((_, token, *_),) = served
    assert token == "s3cret"
    assert "s3cret" not in result.output


def test_toolkens_of_another_lm_are_refused_at_the_start(toolkens: Path, served: list[Any], tmp_path: Path) -> None:
    make(["add"]).save(tmp_path / "other")
    result = run(app, ["serve", "--toolkens", str(tmp_path / "other"), "--model", str(toolkens.parent / "lm")])
    assert result.exit_code == 1
    assert "were fitted for org/tiny" in result.output
    assert not served


def test_without_the_packages_it_says_what_to_install(
    toolkens: Path, served: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_toolken.cli.serve.find_spec", lambda name: None)
    result = run(app, ["serve", "--toolkens", str(toolkens)])
    assert result.exit_code == 1
    assert "langchain-toolken[serve]" in result.output
