"""`integrations/mcp` runs: its server, its demonstrations, and its agent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_toolken.tools.mcp import may_destroy, mcp
from langchain_toolken.tools.spec import tool_specs
from langchain_toolken.training.demonstrations.load import gather_demonstrations

pytest.importorskip("fastmcp", reason="the extra mcp is not installed")
ROOT = Path(__file__).parents[2]
HERE = ROOT / "integrations" / "mcp"


def test_the_server_has_twenty_tools_with_two_demonstrations_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    with mcp(HERE / "servers.json") as tools:
        assert len(tool_specs(tools)) == 20
        assert {tool.name for tool in tools if may_destroy(tool)} == {"cancel_event", "finish_task", "delete_file"}
        loaded = gather_demonstrations(HERE / "demos.jsonl", [*tools], docstrings=False, strict=True)
        called = [call.tool for one in loaded.demonstrations for call in one.calls]
        assert sorted(called) == sorted(2 * [tool.name for tool in tools])


@pytest.mark.slow
def test_the_agent_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "integrations/mcp/agent.py", "nano"],
        cwd=ROOT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("  ai: ") >= 3
