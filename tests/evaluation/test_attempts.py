"""evaluation.attempts: one line an attempt; a torn last line is not read and is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from langchain_toolken.disk.writing import WriteError
from langchain_toolken.evaluation.attempts import Attempt, AttemptedCall, AttemptFile


def attempt(question: str, text: str = "") -> Attempt:
    return Attempt(question=question, text=text, calls=(AttemptedCall(tool="add", arguments={"numbers": [1, 2]}),))


def test_attempts_come_back_as_they_were(tmp_path: Path) -> None:
    file = AttemptFile(tmp_path / "new" / "run.jsonl")
    file.append([attempt("0", "line\nbreak \u2028 and “quotes”")])
    file.append([attempt("1")])
    assert list(file.read().values()) == [attempt("0", "line\nbreak \u2028 and “quotes”"), attempt("1")]


@pytest.mark.parametrize("left", [1, 20, 60])
def test_a_torn_last_line_is_not_read_and_the_next_attempt_takes_its_place(tmp_path: Path, left: int) -> None:
    file = AttemptFile(tmp_path / "run.jsonl")
    file.append([attempt("0"), attempt("1")])
    whole = file.path.read_bytes()
    file.path.write_bytes(whole[: whole.index(b"\n") + 1 + left])
    assert list(file.read()) == ["0"]
    file.append([attempt("1"), attempt("2")])
    assert list(file.read()) == ["0", "1", "2"]
    assert file.path.read_bytes().startswith(whole)


def test_a_question_that_was_answered_twice_keeps_its_first_answer(tmp_path: Path) -> None:
    file = AttemptFile(tmp_path / "run.jsonl")
    file.append([attempt("0", "first"), attempt("0", "second")])
    assert file.read()["0"].text == "first"


def test_a_line_of_another_version_is_named(tmp_path: Path) -> None:
    file = AttemptFile(tmp_path / "run.jsonl")
    file.append([attempt("0")])
    file.path.write_bytes(file.path.read_bytes() + b'{"asked": 1}\n')
    with pytest.raises(ValueError, match=r"run\.jsonl, line 2 .* delete the file"):
        file.read()


def test_a_write_that_fails_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(WriteError, match=r"run\.jsonl can't be written"):
        AttemptFile(tmp_path / "taken" / "run.jsonl").append([attempt("0")])


def test_the_first_tool_is_the_one_called_or_else_the_one_ranked_first() -> None:
    assert attempt("0").first_tool == "add"
    assert Attempt(question="0", ranked=("ln", "add")).first_tool == "ln"
    assert Attempt(question="0").first_tool is None
