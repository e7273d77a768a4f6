"""FuncQA's questions and nano's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langchain_toolken.evaluation.questions import (
    ExpectedCall,
    QuestionsError,
    nano_questions,
    read_funcqa_multi_hop,
    read_funcqa_one_hop,
    read_gsm8k_xl,
)
from langchain_toolken.nano.problems.word_problems import HeldOut
from langchain_toolken.nano.problems.words import HELD_OUT_PEOPLE, PEOPLE
from langchain_toolken.nano.tools import compute


def test_funcqa_rows_become_questions_with_the_call_that_answers_them(tmp_path: Path) -> None:
    rows = [
        {"question": " How far?", "answer": 2.01, "func": "<add>(0.38, 1.63)=2.01"},
        {"question": "pH?", "answer": "4.0787", "func": "-<log>(0.00008342)=4.0787"},
    ]
    file = tmp_path / "one_hop.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    first, second = read_funcqa_one_hop(file)
    assert (first.text, first.answer, first.calls) == ("How far?", "2.01", (ExpectedCall("add", ("0.38", "1.63")),))
    assert second.calls == (ExpectedCall("log", ("0.00008342",)),)


def test_each_step_of_a_longer_question_is_an_expected_call(tmp_path: Path) -> None:
    multi_hop, gsm8k = tmp_path / "multi_hop.jsonl", tmp_path / "gsm8k.jsonl"
    steps = ["<power>(1.238,5)=2.908", "<multiply>(2.908,535323)=1556750.9"]
    multi_hop.write_text(json.dumps({"question": "Profit?", "answer": "1556750.9", "calculation": steps}))
    process = ["4096-27-64 = 4005.0", "4005.0*8 = 32040.0", "(2+3)*4 = 20"]
    gsm8k.write_text(json.dumps({"question": "Eggs?", "answer": 32040.0, "process": process}))
    (profit,), (eggs,) = read_funcqa_multi_hop(multi_hop), read_gsm8k_xl(gsm8k)
    assert profit.calls == (ExpectedCall("power", ("1.238", "5")), ExpectedCall("multiply", ("2.908", "535323")))
    assert eggs.answer == "32040.0"
    assert eggs.calls == (ExpectedCall("subtract", ("4096", "27")), ExpectedCall("multiply", ("4005.0", "8")))


@pytest.mark.parametrize("bad", ["not json", '{"question": "a"}', '{"question": "a", "answer": 1, "func": "1+1"}'])
def test_a_row_that_is_no_question_is_named_by_file_and_line(tmp_path: Path, bad: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"question": "a", "answer": 1, "func": "<add>(0, 1)=1"}\n' + bad)
    with pytest.raises(QuestionsError, match=r"bad\.jsonl, line 2"):
        read_funcqa_one_hop(file)


@pytest.mark.parametrize("held_out", ["numbers", "wordings"])
def test_nanos_own_questions_are_reproducible_held_out_and_answered_by_their_calls(held_out: HeldOut) -> None:
    questions = nano_questions(100, held_out)
    assert questions == nano_questions(100, held_out)
    assert questions[:30] == nano_questions(30, held_out)
    assert {question.calls[0].tool for question in questions} >= {"add", "gcd", "choose", "ln", "power"}
    assert sum(len(question.calls) > 1 for question in questions) == 38
    for question in questions:
        last = question.calls[-1]
        assert compute(last.tool, list(last.operands)) == question.answer
    words = {word.removesuffix("'s").strip(".,?:;") for question in questions for word in question.text.split()}
    assert words & set(HELD_OUT_PEOPLE)
    assert not words & set(PEOPLE)
