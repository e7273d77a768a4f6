"""The agent of integrations/openai_client against a server with nano: its tools are called, run and answered from."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.serve.app import make_app
from langchain_toolken.serve.completions import Served
from langchain_toolken.training.fit import fit
from tests.support.serving import running

ROOT = Path(__file__).parents[2]
QUESTION = "A shop sells apples for 4127 dollars each. How much do 394 apples cost?"


@pytest.mark.slow
def test_openais_client_runs_the_loop() -> None:
    toolkens = fit("nano", ROOT / "examples" / "mytools.py", ROOT / "examples" / "demos.jsonl").toolkens
    served = Served(ToolkenChat(model="nano", toolkens=toolkens), toolkens, "nano")
    with running(make_app(served)) as address:
        command = [sys.executable, "integrations/openai_client/agent.py", "--tools", "examples/mytools.py"]
        done = subprocess.run(
            [*command, "--address", f"{address}/v1", QUESTION],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert "<total_price " in done.stdout
    assert f"-> {4127 * 394}>" in done.stdout
    assert done.stdout.rstrip().endswith(f"#### {4127 * 394}")
