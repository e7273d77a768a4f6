"""Datasets in the papers' form: names, demonstrations, and questions that end where a tool should be called."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langchain_toolken.evaluation.datasets import DatasetError, read_dataset, read_tool_questions, read_tool_specs
from tests.support.benchmarks import benchmark_folder

TOOLS = [
    {"name": "<P19>", "function": "place_of_birth", "description": "gets where a person was born"},
    {"name": "<P50>", "function": "writer", "description": "gets the writer of a book"},
    {"name": "<P58>", "function": "writer", "description": "gets the writer of a film"},
    {"name": "<people/person/gender>", "description": "the gender of a person"},
]
ROWS = [
    {
        "text": "Where was Ada born? London",
        "calls": [{"start": 20, "tool": "<P19>", "args": ["Ada"], "result": "London"}],
    },
    {"text": "Who wrote Emma? Austen", "calls": [{"start": 16, "tool": "<P50>", "result": "Austen"}]},
    {"text": "Nothing to call here.", "calls": []},
]


def written(folder: Path, **files: list[dict[str, object]]) -> Path:
    for name, rows in files.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def test_numbers_give_way_to_function_names_and_shared_ones_stay_apart(tmp_path: Path) -> None:
    specs, names = read_tool_specs(written(tmp_path, tools=TOOLS) / "tools.jsonl")
    assert [spec.name for spec in specs] == ["place_of_birth", "writer_P50", "writer_P58", "people/person/gender"]
    assert names["<P50>"] == "writer_P50"
    assert specs[1].description == "gets the writer of a book"


def test_demonstrations_call_tools_by_their_new_names(tmp_path: Path) -> None:
    dataset = read_dataset(written(tmp_path, tools=TOOLS, train=ROWS))
    assert [[call["tool"] for call in row["calls"]] for row in dataset.demonstrations] == [
        *(["place_of_birth"], ["writer_P50"], []),
    ]
    assert "args" not in dataset.demonstrations[0]["calls"][0]
    first = dataset.first(1)
    assert [spec.name for spec in first.tools] == ["place_of_birth"]
    assert [row["text"] for row in first.demonstrations] == [ROWS[0]["text"], ROWS[2]["text"]]


def test_questions_end_where_the_tool_is_due(tmp_path: Path) -> None:
    written(tmp_path, tools=TOOLS, test=[{"question": "Who is {question}?", "tool": "<P58>"}])
    (question,) = read_tool_questions(
        tmp_path / "test.jsonl", {"<P58>": "writer_P58"}, "Question: {question}\nAnswer: The answer is"
    )
    assert question.text == "Question: Who is {question}?\nAnswer: The answer is"
    assert question.tool == "writer_P58"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "line 1 is not JSON"),
        ("[]", "line 1 is not a JSON object"),
        (
            '{"text": "a", "calls": [{"start": 0, "tool": "<unknown>"}]}',
            "line 1: no text, no calls, or an unknown tool",
        ),
        ('{"calls": []}', "line 1: no text"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, content: str, said: str) -> None:
    written(tmp_path, tools=TOOLS)
    (tmp_path / "train.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError, match=rf"train\.jsonl, {said}"):
        read_dataset(tmp_path)


def test_a_line_separator_inside_a_text_ends_no_line(tmp_path: Path) -> None:
    rows = [{"text": "Who wrote\u2028Emma?\x85 Austen", "calls": []}, *ROWS]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    written(tmp_path, tools=TOOLS)
    assert len(read_dataset(tmp_path).demonstrations) == 4
    assert "\u2028" in read_dataset(tmp_path).demonstrations[0]["text"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"tools\.jsonl can't be read"):
        read_dataset(tmp_path)


@pytest.mark.parametrize(
    ("name", "train", "tools", "rows"),
    [
        ("kamel", "train_synthetic.jsonl", 234, 8095),
        ("stquestions", "train.jsonl", 1836, 10483),
        ("funcqa", "train.jsonl", 13, 611),
        ("gsm8k_xl", "train.jsonl", 4, 6159),
    ],
)
def test_the_papers_data_is_read_whole(name: str, train: str, tools: int, rows: int) -> None:
    dataset = read_dataset(benchmark_folder(name), train)
    assert (len(dataset.tools), len(dataset.demonstrations)) == (tools, rows)
    assert len({spec.name for spec in dataset.tools}) == tools
