"""Look-ups: the right arguments find the answer, others do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from langchain_toolken.evaluation.datasets import DatasetError, read_rows, tool_names
from langchain_toolken.evaluation.graders import names_answer
from langchain_toolken.evaluation.worlds.knowledge import (
    Fact,
    KnowledgeWorld,
    LookUp,
    read_kamel,
    read_simple_tool_questions,
)
from langchain_toolken.evaluation.worlds.subjects import kamel_subjects
from tests.support.benchmarks import benchmark_folder

LOOK_UPS = [LookUp("employer", "gets the employers of a person", "person"), LookUp("capital", "gets the capital")]
FACTS = [
    Fact("employer", "Ana Lima", ("Acme", "Globex")),
    Fact("capital", "The Netherlands", ("Amsterdam",), alias="Holland"),
    Fact("capital", "Ana Lima", ("none",)),
]


@pytest.fixture
def world() -> KnowledgeWorld:
    return KnowledgeWorld(LOOK_UPS, FACTS)


def call(world: KnowledgeWorld, tool: str, subject: str) -> str:
    found = {each.name: each for each in world.tools()}[tool]
    return str(found.invoke(dict.fromkeys(found.args, subject)))


def test_the_right_arguments_find_all_answers(world: KnowledgeWorld) -> None:
    assert call(world, "employer", "Ana Lima") == "Acme, Globex"
    assert world.asked == [("employer", "Ana Lima")]


@pytest.mark.parametrize("subject", ["the netherlands", "Netherlands", '"The  Netherlands".', "holland"])
def test_spelling_does_not_matter_and_a_question_s_own_wording_counts(world: KnowledgeWorld, subject: str) -> None:
    assert call(world, "capital", subject) == "Amsterdam"


@pytest.mark.parametrize("subject", ["Ana", "Ana Lima's sister", "", "The Netherlands"])
def test_another_subject_is_not_found(world: KnowledgeWorld, subject: str) -> None:
    assert call(world, "employer", subject) == f"not found: employer of {subject!r} is not known"
    assert not world.asked


def test_drawing_shows_what_was_looked_up(world: KnowledgeWorld) -> None:
    call(world, "capital", "Holland")
    texts = " ".join(text.get_text().replace("\n", " ") for text in world.draw().axes[0].texts)
    assert "The Netherlands" in texts
    assert "Amsterdam" in texts
    assert "capital" in texts
    assert "Acme" not in texts


def write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_kamel_s_questions_can_be_answered_by_calls(tmp_path: Path) -> None:
    tool = {"name": "<P108>", "function": "employer", "parameter": "person", "description": "gets employers"}
    write(tmp_path / "tools.jsonl", [tool, {**tool, "name": "<P1>", "function": "other"}])
    questions = ["Who were employers of Ana Lima?", "Who were employers of Bo Ek?", "Who were employers of Bo Ek?"]
    answer = [{"chosen": "Acme", "alternative": ["ACME Inc."]}, {"chosen": "Globex", "alternative": []}]
    rows = [{"question": question, "tool": "<P108>", "answer": answer} for question in questions]
    odd = {"question": "what is it?", "tool": "<P1>", "answer": answer}
    write(tmp_path / "test_30.jsonl", rows[:2])
    write(tmp_path / "test_60.jsonl", [*rows[2:], odd])
    world = read_kamel(tmp_path, tools=1)
    assert [tool.name for tool in world.tools()] == ["employer"]
    assert call(world, "employer", "Bo Ek") == "Acme, Globex"
    assert world.unplaced == ("what is it?",)


def test_simple_tool_questions_can_be_answered_by_calls(tmp_path: Path) -> None:
    write(tmp_path / "tools.jsonl", [{"name": "<people/born>", "description": "born"}])
    row = {"question": "Where is Al Connell Sr. from?", "tool": "<people/born>", "param": "Al Connell, Snr."}
    write(tmp_path / "test.jsonl", [{**row, "answer": "Perth"}, {**row, "param": "X-9", "answer": "None"}])
    world = read_simple_tool_questions(tmp_path)
    assert call(world, "people/born", "Al Connell, Snr.") == "Perth"
    assert call(world, "people/born", "Al Connell Sr") == "Perth"
    assert call(world, "people/born", "X-9") == "None"
    assert world.unplaced == ("Where is Al Connell Sr. from?",)


def test_a_malformed_row_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    write(tmp_path / "tools.jsonl", [{"name": "<a>"}])
    write(tmp_path / "test.jsonl", [{"question": "?"}])
    write(tmp_path / "test_30.jsonl", [{"question": "?"}])
    with pytest.raises(DatasetError, match=r"test.jsonl, line 1"):
        read_simple_tool_questions(tmp_path)
    with pytest.raises(DatasetError, match=str(tmp_path)):
        read_kamel(tmp_path)


def test_nearly_every_question_of_the_papers_data_is_answered_by_a_call_with_its_own_words() -> None:
    folder = benchmark_folder("kamel")
    world, names = read_kamel(folder), tool_names(folder / "tools.jsonl")
    assert len(world.tools()) == 234
    assert len(world.unplaced) == 1
    rows = [row for file in folder.glob("test_*.jsonl") for row in read_rows(file)]
    asked = [(names[row["tool"]], row["question"]) for row in rows]
    subjects = kamel_subjects(asked)
    found = [world.answers(each[0], subjects.get(each, "")) for each in asked]
    right = [
        names_answer(", ".join(answers), [row["answer"][0]["chosen"]]) for row, answers in zip(rows, found, strict=True)
    ]
    assert sum(right) >= 0.99 * len(rows)


@pytest.mark.parametrize(("seen", "tools", "unplaced"), [(True, 1836, 57), (False, 837, 45)])
def test_simple_tool_questions_are_in_the_graph(seen: bool, tools: int, unplaced: int) -> None:
    world = read_simple_tool_questions(benchmark_folder("stquestions"), seen=seen)
    assert len(world.tools()) == tools
    assert len(world.unplaced) == unplaced
