"""How the command combines made-up rows with the user's own, and how it counts them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from langchain_toolken.cli.fit_synthesis import all_demonstrations, synthesis_facts, synthesis_table
from langchain_toolken.tools.load import load_tools
from langchain_toolken.training.demonstrations.demonstration import DemonstrationError
from langchain_toolken.training.demonstrations.load import check_demonstrations
from langchain_toolken.training.synthesis.synthesize import Synthesis

TOOLS = load_tools(Path(__file__).parents[2] / "examples" / "mytools.py")
MADE = Synthesis(
    rows=({"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}]},),
    kept={"total_price": 0, "": 1},
    rejected={"total_price": {"schema": 2, "duplicate": 5}, "": {}},
    given_up=("total_price",),
    file=Path("made.jsonl"),
)


def test_given_demonstrations_come_first_and_bad_ones_are_named(tmp_path: Path) -> None:
    demos = tmp_path / "demos.jsonl"
    good = {"text": "Q: 2 hats for 3?\nA: 2*3=6.", "calls": [{"start": 24, "tool": "total_price", "result": "6"}]}
    demos.write_text(json.dumps(good) + "\nbad\n")
    with pytest.warns(UserWarning, match=r"1 rows were dropped\. line 2: not JSON"):
        rows = all_demonstrations(demos, MADE, TOOLS, strict=False)
    read = check_demonstrations(rows, ["total_price"]).demonstrations
    assert [len(demonstration.calls) for demonstration in read] == [1, 0]
    with pytest.raises(DemonstrationError, match="line 2"):
        all_demonstrations(demos, MADE, TOOLS, strict=True)
    assert all_demonstrations(None, MADE, TOOLS, strict=True) == list(MADE.rows)


def test_the_table_has_a_column_for_each_reason_and_marks_what_was_given_up() -> None:
    facts = synthesis_facts(MADE)
    assert json.loads(facts.model_dump_json())["reasons"] == {"schema": 2, "duplicate": 5}
    console = Console(width=100)
    with console.capture() as shown:
        console.print(synthesis_table(facts))
    lines = shown.get().splitlines()
    (header,) = [line for line in lines if "kept" in line]
    assert [cell.strip() for cell in header.split("┃")[2:-1]] == ["kept", "duplicate", "schema"]
    (row,) = [line for line in lines if "total_price" in line]
    assert "given up" in row
    assert [cell.strip() for cell in row.split("│")[2:-1]] == ["0", "5", "2"]
    assert any("no tool needed" in line for line in lines)
