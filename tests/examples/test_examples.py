"""The examples run as their docstrings say, from the repository root, and print what they are for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def printed(example: str) -> str:
    command = [sys.executable, f"examples/{example}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("file", [file for file in EXAMPLES if file.name != "mytools.py"], ids=lambda file: file.name)
def test_an_example_is_short_and_says_how_to_run_it(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 40
    assert f"python examples/{file.name}" in text


def test_quickstart_answers_with_the_tools_result() -> None:
    shown = printed("quickstart.py")
    assert "total_price" in shown
    assert shown.rstrip().endswith(f"#### {4127 * 394}")


def test_agent_shows_each_step_in_order() -> None:
    lines = printed("agent.py").splitlines()
    assert [line.split()[0] for line in lines] == ["reason", "complete", "execute", "reinject", "reason"]
    assert "'arguments': {'price': 4127, 'count': 394}" in lines[1]
    assert str(4127 * 394) in lines[2]


def test_structured_output_is_read_from_the_text() -> None:
    assert printed("structured_output.py").splitlines() == [
        "Person(name='Ada', age=36, job='nurse')",
        "Person(name='Omar', age=58, job='baker')",
    ]


def test_tools_with_examples_in_their_docstrings_need_no_other_demonstrations() -> None:
    assert printed("own_tools.py").startswith(f"{52 * 31} square feet")
