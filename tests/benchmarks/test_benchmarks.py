"""The benchmark scripts run, and their counts are right. Times are not tested."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def run(script: str, *options: str) -> dict[str, object]:
    command = [sys.executable, str(BENCHMARKS / script), *options, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stderr
    facts: dict[str, object] = json.loads(done.stdout)
    return facts


@pytest.mark.slow
def test_prompt_tokens_are_flat_with_toolkens_and_grow_with_tools_in_the_prompt() -> None:
    facts = run(
        "chat.py",
        *("--tools", "1,12", "--parameters", "1", "--questions", "2"),
        *("--toolkens", "0,7", "--head-words", "5000", "--rounds", "1", "--words", "3"),
    )
    calls = facts["calls"]
    assert isinstance(calls, list)
    tokens = {(cost["mode"], cost["tools"]): cost["prompt_tokens"] for cost in calls}
    # The card of the one tool that was called is in there: names differ in length by some tokens.
    assert abs(tokens["toolken", 12] - tokens["toolken", 1]) < 10
    assert tokens["prompt", 12] > 3 * tokens["prompt", 1]
    assert tokens["BM25 top-5 + prompt", 12] < tokens["prompt", 12]


@pytest.mark.slow
def test_selectors_are_compared_on_the_same_requests(tmp_path: Path) -> None:
    kinds = ("lamp", "door", "kettle", "radio", "window", "garden")
    (tmp_path / "data").mkdir()

    def write(name: str, rows: list[dict[str, object]]) -> None:
        (tmp_path / "data" / name).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")

    write("tools.jsonl", [{"name": kind, "description": f"Everything about the {kind}."} for kind in kinds])
    write("train.jsonl", [{"question": f"{n} times the {kind}?", "tool": kind} for kind in kinds for n in (1, 2, 3)])
    write("dev.jsonl", [{"question": f"How about my {kind}?", "tool": kind} for kind in kinds])
    facts = run(
        "selector.py",
        *("--data-dir", str(tmp_path), "--data", "data", "--model", "nano", "--cache", str(tmp_path / "cache")),
        *("--shots", "3", "--llm", "1", "--timed", "1"),
    )
    ways = facts["ways"]
    assert isinstance(ways, dict)
    assert list(ways) == [
        *("BM25 with descriptions", "toolkens, nothing fitted", "toolkens, 3 demonstrations"),
        *("LLMToolSelectorMiddleware", "LLMToolSelectorMiddleware, descriptions in the prompt"),
    ]
    assert [way["recall"]["10"]["of"] for way in ways.values()] == [6, 6, 6, 1, 1]
    assert ways["BM25 with descriptions"]["recall"]["1"]["share"] == 1.0
    for name in list(ways)[:3]:  # all six tools are among the first ten
        assert ways[name]["recall"]["10"]["share"] == 1.0, name
    assert ways["BM25 with descriptions"]["tokens read"] == 0 < ways["toolkens, 3 demonstrations"]["tokens read"]


@pytest.mark.slow
def test_evidence_is_measured_beside_toolkens_alone_and_none() -> None:
    facts = run("evidence.py", *("--tools", "7", "--words", "3", "--rounds", "1"))
    costs = facts["costs"]
    assert isinstance(costs, list)
    (cost,) = costs
    assert cost["tools"] == 7
    assert list(cost["step"]) == list(cost["head"]) == ["no toolkens", "toolkens", "evidence"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("mutations.py", ["--number", "2"]),
        ("two_processes.py", ["--rounds", "2", "--each", "3"]),
        ("kill_points.py", ["--every", "40"]),
        ("full_disk.py", ["--every", "40"]),
    ],
)
def test_the_fault_runs_find_nothing(script: str, options: list[str]) -> None:
    if script in ("kill_points.py", "full_disk.py") and not may_trace():
        pytest.skip("strace is not installed, or may not trace here")
    facts = run(f"faults/{script}", *options)
    assert len(facts) >= 5
    for case in facts.values():
        assert isinstance(case, dict)
        assert case["tried"] >= 1
        assert case["failed"] == 0


def may_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    with subprocess.Popen(["sleep", "60"]) as sleeping:
        traced = subprocess.run(
            ["timeout", "1", "strace", "-p", str(sleeping.pid)], capture_output=True, text=True, check=False
        )
        sleeping.kill()
    return "attached" in traced.stderr
