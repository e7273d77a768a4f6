"""Which rows of a demonstrations file are used, and which reasons are given for the others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import (
    DemonstratedCall,
    Demonstration,
    DemonstrationError,
    result_end,
)
from langchain_toolken.training.demonstrations.load import check_demonstrations, load_demonstrations

GOOD = {"text": "Q: 2+3?\nA: 2+3=5.", "calls": [{"start": 15, "tool": "<add>", "args": ["2", "3"], "result": "5"}]}


def data_folder() -> Path:
    beside = Path(__file__).resolve().parents[4] / "shared" / "benchmarks"
    return Path(os.environ.get("TOOLKEN_DATA_DIR", beside))


def written(tmp_path: Path, *lines: object) -> Path:
    path = tmp_path / "demos.jsonl"
    path.write_text("\n".join(x if isinstance(x, str) else json.dumps(x) for x in lines), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", ["add", "<add>"])
def test_tool_names_agree_with_and_without_angle_brackets(tmp_path: Path, name: str) -> None:
    loaded = load_demonstrations(written(tmp_path, GOOD), [name])
    assert loaded.demonstrations[0].calls[0].tool == name
    assert loaded.demonstrations[0].line == 1
    assert loaded.dropped == ()


def test_each_bad_row_is_dropped_with_its_line_and_a_reason(tmp_path: Path) -> None:
    call = GOOD["calls"][0]
    bad = [
        ("{not json", "not JSON"),
        ('"text"', "must be an object"),
        ({"calls": []}, "text"),
        ({"text": "x"}, "calls"),
        ({"text": "x", "calls": [{"tool": "add"}]}, "calls.0.start"),
        ({"text": "x", "calls": [{"start": -1, "tool": "add"}]}, "calls.0.start"),
        ({"text": "x", "calls": [{"start": "0", "tool": "add"}]}, "calls.0.start"),
        ({"text": "x", "calls": [{"start": 7, "tool": "add"}]}, "out of range"),
        ({**GOOD, "calls": [{**call, "start": 14}]}, "not at start 14"),
        ({**GOOD, "calls": [{**call, "tool": "<ad>"}]}, "did you mean add"),
        ({**GOOD, "calls": [{**call, "tool": "weather"}]}, "unknown tool 'weather'"),
        ('{"text": "\\ud800", "calls": []}', "text"),
    ]
    path = written(tmp_path, GOOD, "", *(row for row, _ in bad))
    loaded = load_demonstrations(path, ["add"])
    assert len(loaded.demonstrations) == 1
    assert [row.line for row in loaded.dropped] == list(range(3, 3 + len(bad)))
    for row, (_, reason) in zip(loaded.dropped, bad, strict=True):
        assert reason in row.reason


def test_a_file_without_a_usable_row_says_why(tmp_path: Path) -> None:
    with pytest.raises(DemonstrationError, match=r"demos\.jsonl: no usable demonstration, 1 dropped: line 1: not JSON"):
        load_demonstrations(written(tmp_path, "nonsense"), ["add"])
    with pytest.raises(DemonstrationError, match="it holds no demonstration"):
        load_demonstrations(written(tmp_path, ""), ["add"])
    with pytest.raises(DemonstrationError, match="no such demonstrations file"):
        load_demonstrations(tmp_path / "none.jsonl", ["add"])
    (tmp_path / "latin.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(DemonstrationError, match="UTF-8"):
        load_demonstrations(tmp_path / "latin.jsonl", ["add"])


def test_rows_in_memory_are_checked_alike() -> None:
    loaded = check_demonstrations([GOOD, {"text": "x"}, Demonstration.model_validate(GOOD)], ["add"])
    assert [d.line for d in loaded.demonstrations] == [1, 3]
    assert [row.line for row in loaded.dropped] == [2]


def test_a_result_given_as_a_number_is_read_as_text() -> None:
    row = {**GOOD, "calls": [{**GOOD["calls"][0], "result": 5}]}
    assert check_demonstrations([row], ["add"]).demonstrations[0].calls[0].result == "5"


WORDS = st.text(st.characters(blacklist_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)
SPACE = st.text(" \t\n", max_size=3)


@given(before=st.text(st.characters(blacklist_categories=["Cs"])), gap=SPACE, result=WORDS, around=SPACE, after=WORDS)
def test_whitespace_around_a_result_never_matters(before: str, gap: str, result: str, around: str, after: str) -> None:
    text = before + gap + result + " " + after
    call = DemonstratedCall(start=len(before), tool="add", result=around + result + around)
    assert result_end(text, call) == len(before + gap + result)


@given(before=st.text("abc", max_size=5), result=st.text("xyz", min_size=1, max_size=4), shift=st.integers(1, 5))
def test_a_result_that_stands_elsewhere_is_found_out(before: str, result: str, shift: int) -> None:
    text = before + "." * shift + result
    assert result_end(text, DemonstratedCall(start=len(before), tool="add", result=result)) is None


@pytest.mark.parametrize(
    ("dataset", "file", "rows"),
    [("funcqa", "train.jsonl", 611), ("funcqa", "dev.jsonl", 39), ("kamel", "train_synthetic.jsonl", 7985)],
)
def test_the_papers_datasets_load(dataset: str, file: str, rows: int) -> None:
    folder = data_folder() / dataset
    if not folder.is_dir():
        pytest.skip(f"the benchmarks are not at {folder}; set TOOLKEN_DATA_DIR")
    tools = [json.loads(line)["name"] for line in (folder / "tools.jsonl").read_text(encoding="utf-8").splitlines()]
    loaded = load_demonstrations(folder / file, tools)
    assert len(loaded.demonstrations) == rows
    total = sum(1 for line in (folder / file).read_text(encoding="utf-8").split("\n") if line.strip())
    assert len(loaded.demonstrations) + len(loaded.dropped) == total


SPEC = ToolSpec(
    name="add",
    description="Add.",
    json_schema={
        "type": "object",
        "properties": {"a": {"type": "number"}, "b": {"type": "integer"}, "unit": {"enum": ["m", "km"]}},
        "required": ["a", "b"],
    },
)
MANY = ToolSpec(
    name="total",
    description="Add.",
    json_schema={
        "type": "object",
        "properties": {"numbers": {"type": "array", "items": {"type": "number"}, "minItems": 2}},
        "required": ["numbers"],
    },
)


@pytest.mark.parametrize(
    ("spec", "args", "read"),
    [
        (SPEC, ["2", "3"], {"a": 2, "b": 3}),
        (SPEC, {"b": "1,234", "a": "-.5"}, {"a": -0.5, "b": 1234}),
        (SPEC, ["39/4", 3, "km"], {"a": 9.75, "b": 3, "unit": "km"}),
        (MANY, ["1", "2.5", 3], {"numbers": [1, 2.5, 3]}),
        (MANY, [["1", "2"]], {"numbers": [1, 2]}),
        (SPEC, None, None),
    ],
)
def test_arguments_come_out_by_name_and_numerals_as_numbers(spec: ToolSpec, args: object, read: object) -> None:
    row = {"text": "x", "calls": [{"start": 1, "tool": spec.name, "args": args}]}
    assert check_demonstrations([row], [spec]).demonstrations[0].calls[0].args == read


@pytest.mark.parametrize(
    ("spec", "args", "reason"),
    [
        (SPEC, ["2"], "'b' is a required property"),
        (SPEC, ["2", "3.5"], "argument 'b'"),
        (SPEC, ["2", "1/0"], "argument 'b'"),
        (SPEC, ["two", 3], "argument 'a' of 'add': 'two' is not"),
        (SPEC, [1, 2, "m", 4], "4 arguments are too many"),
        (SPEC, {"a": 1, "b": 2, "c": 3}, "no argument 'c'"),
        (SPEC, [1, 2, "mile"], "'mile' is not one of"),
        (MANY, ["264"], "too short"),
    ],
)
def test_arguments_that_the_tool_does_not_take_drop_the_row(spec: ToolSpec, args: object, reason: str) -> None:
    row = {"text": "x", "calls": [{"start": 1, "tool": spec.name, "args": args}]}
    with pytest.raises(DemonstrationError, match=reason) as raised:
        check_demonstrations([row], [spec])
    assert f"{spec.name}(" in str(raised.value)


def test_a_file_may_mix_the_forms(tmp_path: Path) -> None:
    chat = [
        {"role": "user", "content": "2 and 3?"},
        {
            "role": "assistant",
            "tool_calls": [{"id": "c", "function": {"name": "add", "arguments": '{"a": 2, "b": 3}'}}],
        },
    ]
    marked = {"text": "Q: 2+3?\nA: 2+3=<add>(2, 3)=5."}
    loaded = load_demonstrations(written(tmp_path, GOOD, marked, {"messages": chat}, chat), [SPEC], strict=True)
    assert [d.line for d in loaded.demonstrations] == [1, 2, 3, 4]
    assert loaded.demonstrations[0].text == loaded.demonstrations[1].text
    assert loaded.demonstrations[0].calls == loaded.demonstrations[1].calls
    assert loaded.demonstrations[2].before == loaded.demonstrations[3].before


def test_a_text_with_neither_calls_nor_markup_is_asked_to_say_so() -> None:
    with pytest.raises(DemonstrationError, match='"calls": \\[\\]'):
        check_demonstrations([{"text": "Nothing <b>here</b>."}], [SPEC])


def test_strict_names_every_bad_row_and_the_next_step(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, *["nonsense"] * 23)
    assert len(load_demonstrations(path, ["add"]).dropped) == 23
    with pytest.raises(DemonstrationError) as raised:
        load_demonstrations(path, ["add"], strict=True)
    message = str(raised.value)
    assert message.startswith(f"{path}: 23 rows can't be used.\n  line 2: not JSON")
    assert "line 21: " in message
    assert "line 22: " not in message
    assert "and 3 more" in message
    assert "without strict" in message


@pytest.mark.parametrize(
    ("content", "reason"), [("{", "not JSON"), ("3", "holds int"), ("[]", "it holds no demonstration")]
)
def test_a_json_file_that_holds_no_rows_is_refused(tmp_path: Path, content: str, reason: str) -> None:
    (tmp_path / "rows.json").write_text(content)
    with pytest.raises(DemonstrationError, match=reason):
        load_demonstrations(tmp_path / "rows.json", ["add"])
