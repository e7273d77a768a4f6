"""`toolken fit --mcp`, `toolken sync` and `toolken chat --mcp`, from a file of servers to an answer."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from langchain_toolken.cli.app import app
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support import mcp_servers as servers

pytest.importorskip("fastmcp", reason="the extra mcp is not installed")
run = CliRunner().invoke


def write(file: Path, **named: dict[str, Any]) -> str:
    file.write_text(json.dumps({"mcpServers": named}), encoding="utf-8")
    return str(file)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mcp")
    file = write(folder / "servers.json", other=servers.stdio("other"))
    result = run(app, ["fit", "--mcp", file, "--out", str(folder / "set"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["toolkens"] == 2
    return folder


def test_fit_needs_tools_of_some_kind(tmp_path: Path) -> None:
    result = run(app, ["fit", "--out", str(tmp_path / "set")])
    assert result.exit_code == 2
    assert "--tools FILE, or --mcp SERVERS" in " ".join(result.output.replace("│", " ").split())


def test_a_sync_without_changes_changes_nothing(place: Path) -> None:
    result = run(app, ["sync", "--toolkens", str(place / "set"), "--mcp", str(place / "servers.json"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == {"toolkens": 2, "added": [], "updated": [], "dropped": [], "renamed": []}


@pytest.mark.slow
def test_a_sync_adds_and_drops_what_the_servers_say(place: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    ToolkenSet.load(place / "set").save(out)
    both = write(tmp_path / "both.json", other=servers.stdio("other"), shop=servers.stdio("shop"))
    result = run(app, ["sync", "--toolkens", str(out), "--mcp", both])
    assert result.exit_code == 0, result.output
    assert "shop_look_up" in result.stdout
    # The row of the first server's look_up stays where it was, under its new name.
    assert ToolkenSet.load(out).names[:2] == ("other_look_up", "spell")
    result = run(app, ["sync", "--toolkens", str(out), "--mcp", str(place / "servers.json"), "--json"])
    changes = json.loads(result.stdout)
    assert "shop_look_up" in changes["dropped"]
    assert changes["renamed"] == [{"old": "other_look_up", "new": "look_up"}]
    assert ToolkenSet.load(out).names == ("look_up", "spell")


def test_a_server_that_does_not_start_ends_the_command_and_is_named(place: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "servers.json", broken={"command": "no-such-command"})
    for command in (
        ["sync", "--toolkens", str(place / "set"), "--mcp", file],
        ["fit", "--mcp", file, "--out", str(tmp_path / "set")],
        ["chat", "--toolkens", str(place / "set"), "--mcp", file, "Hello"],
    ):
        result = run(app, command)
        assert result.exit_code == 1, result.output
        assert "error: MCP server 'broken' does not start" in result.output
    assert len(ToolkenSet.load(place / "set")) == 2


def test_chat_answers_with_the_servers_tools(place: Path) -> None:
    command = ["chat", "--toolkens", str(place / "set"), "--mcp", str(place / "servers.json"), "--json", "Hello"]
    result = run(app, command)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["steps"]


@pytest.mark.skipif(sys.platform == "win32", reason="needs select on a pipe")
@pytest.mark.slow
def test_watching_ends_with_ctrl_c(place: Path) -> None:
    command = [sys.executable, "-m", "langchain_toolken.cli", "sync", "--watch"]
    command += ["--toolkens", str(place / "set"), "--mcp", str(place / "servers.json")]
    # As in a terminal. Where the tests run in the background, their shell has Ctrl-C ignored, which is inherited.
    heeding = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=heeding)
    assert process.stdout is not None
    said = ""
    while "watching" not in said:
        assert select.select([process.stdout], [], [], 120)[0], said
        said += process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) in (1, 130)
    process.stdout.close()


def test_chat_asks_before_calls_that_may_destroy(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    def agent(*_: Any, approve: Any, **__: Any) -> Any:
        given.append(approve)
        raise OSError("far enough")

    monkeypatch.setattr("langchain_toolken.agents.agent.create_toolken_agent", agent)
    command = ["chat", "--toolkens", str(place / "set"), "--mcp", str(place / "servers.json"), "Hello"]
    run(app, command)
    run(app, [*command, "--approve"])
    assert [None if each is None else each.__name__ for each in given] == [None, "may_destroy"]
