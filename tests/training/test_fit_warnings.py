"""A fit without a request that needs no tool says so, and claims no rate of false calls."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from typer.testing import CliRunner

from langchain_toolken.cli.app import app
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.priors import PriorConfig
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.load import check_demonstrations
from langchain_toolken.training.fit import fit
from langchain_toolken.training.fit_warnings import ToolkenFitWarning, warn_without_plain_requests

SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
    "required": ["a", "b"],
}
SPECS = [ToolSpec(name=name, description=f"{name} numbers.", json_schema=SCHEMA) for name in ("add", "multiply")]


def calls(number: int, tool: str, *after: Any) -> dict[str, Any]:
    call = {"name": tool, "args": {"a": number, "b": 2}, "id": "1", "type": "tool_call"}
    return {"messages": [HumanMessage(f"What is {number} {tool} 2?"), AIMessage("", tool_calls=[call]), *after]}


PLAIN = {"messages": [HumanMessage("Hello!"), AIMessage("Good morning.")]}
ANSWERED = calls(3, "add", ToolMessage("5", tool_call_id="1"), AIMessage("It is 5."))
INSIDE = {"text": "Q: What is 3 and 2?\nA: It is 3+2=5.", "calls": [{"start": 33, "tool": "add", "result": "5"}]}


@pytest.mark.parametrize(
    ("rows", "warned"),
    [
        ([calls(1, "add"), calls(2, "multiply")], True),
        ([ANSWERED], True),  # the answer after a result says nothing about requests
        ([calls(1, "add"), PLAIN], False),
        ([INSIDE], False),  # its words are places without a call
        ([INSIDE, calls(1, "add")], True),
        ([PLAIN], False),
    ],
)
def test_what_is_warned_about(rows: list[Any], warned: bool) -> None:
    demonstrations = check_demonstrations(rows, SPECS).demonstrations
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_without_plain_requests(demonstrations)
    assert [one.category for one in caught] == ([ToolkenFitWarning] if warned else [])


def test_a_fit_on_calls_alone_warns_and_leaves_its_bias_at_0(tiny_llama: LanguageModel) -> None:
    rows = [calls(number, tool) for number in range(1, 13) for tool in ("add", "multiply")]
    with pytest.warns(ToolkenFitWarning, match="no demonstration is without a call.*Add some"):
        result = fit(tiny_llama, SPECS, rows, lam=1e-3, prior=PriorConfig())
    assert result.word_positions == 0
    assert result.toolkens.calibration is not None
    assert result.toolkens.calibration.false_call_rate is None
    assert result.toolkens.bias == 0
    assert result.toolkens.tool_biases is None


def test_no_rate_is_printed_from_0_positions(tmp_path: Path) -> None:
    tools = tmp_path / "mytools.py"
    tools.write_text(
        "from langchain_core.tools import tool\n"
        "@tool\ndef add(a: float, b: float) -> float:\n    '''Add.'''\n    return a + b\n"
        "@tool\ndef multiply(a: float, b: float) -> float:\n    '''Multiply.'''\n    return a * b\n"
    )
    demos = tmp_path / "demos.jsonl"
    rows = [(number, tool) for number in range(1, 8) for tool in ("add", "multiply")]
    demos.write_text("\n".join(json.dumps(_openai(*row)) for row in rows))
    out = tmp_path / "out"
    run = CliRunner().invoke
    options = ["--style", "completion", "--lam", "1e-3", "--prior", "head"]
    fitted = run(app, ["fit", "--tools", str(tools), "--demos", str(demos), "--out", str(out), *options])
    assert fitted.exit_code == 0, fitted.output
    assert "no demonstration is without a call" in fitted.output
    assert "false call rate –" in " ".join(fitted.output.split())
    assert "false calls not measured" in (out / "report.html").read_text()
    assert "not measured" in (out / "README.md").read_text()
    for inspected in (run(app, ["inspect", str(out)]), _inspect_an_older_set(out)):
        assert "not measured: no position without a call" in " ".join(inspected.output.split())


def _openai(number: int, tool: str) -> dict[str, Any]:
    function = {"name": tool, "arguments": json.dumps({"a": number, "b": 2})}
    call = {"id": "1", "type": "function", "function": function}
    question = {"role": "user", "content": f"What is {number} {tool} 2?"}
    return {"messages": [question, {"role": "assistant", "tool_calls": [call]}]}


def _inspect_an_older_set(out: Path) -> Any:
    """Inspect what versions before wrote: a rate of 0."""
    loaded = ToolkenSet.load(out)
    report = json.loads((out / "report.json").read_text())
    report["calibration"]["false_call_rate"] = 0.0
    older = out.with_name("older")
    loaded.save(older, {"report.json": json.dumps(report)})
    return CliRunner().invoke(app, ["inspect", str(older)])
