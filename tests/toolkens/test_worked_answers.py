"""toolkens.worked_answers: which stand before a question, what ends an answer, and what a set saves and refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.examples import WORKED_FILE, Examples
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.toolkens.worked_answers import MOST_KEPT, WorkedAnswer, WorkedAnswers, kept_answers
from tests.support.tiny import make_tokenizer
from tests.support.toolken_sets import make, same

PENS = WorkedAnswer(question="How many pens do 3 boxes hold?", answer="They hold 3*5=15.", tools=("a",))
CAKES = WorkedAnswer(question="How many cakes are left?", answer="There are 9-2=7.", tools=("b",))
PEN = WorkedAnswer(question="What does a pen cost?", answer="It costs 8/4=2.", tools=("a", "b"))
WORKED = WorkedAnswers(shown=2, answers=(PENS, CAKES, PEN))
TOKENIZER = make_tokenizer()


def texts(messages: list[BaseMessage]) -> list[str]:
    return [str(message.content) for message in messages]


def test_the_nearest_is_shown_last_and_a_questions_own_answer_not_at_all() -> None:
    assert WORKED.nearest("How many pens do 12 boxes hold?") == [CAKES, PENS]
    assert WORKED.nearest(PENS.question) == [PEN, CAKES]


def test_they_come_after_the_system_message_and_are_the_same_whatever_has_been_answered() -> None:
    asked: list[BaseMessage] = [SystemMessage("Be brief."), HumanMessage("How many pens do 12 boxes hold?")]
    call = {"name": "a", "args": {"x": 1}, "id": "1"}
    later = [*asked, AIMessage("What does it cost?", tool_calls=[call]), ToolMessage("cakes", tool_call_id="1")]
    before = WORKED.before(asked, TOKENIZER, 1000)
    shown = [CAKES.question, CAKES.answer, PENS.question, PENS.answer]
    assert texts(before) == ["Be brief.", *shown, "How many pens do 12 boxes hold?"]
    assert WORKED.before(later, TOKENIZER, 1000)[: len(before)] == before


def test_the_farthest_are_left_out_where_there_is_no_room() -> None:
    asked: list[BaseMessage] = [HumanMessage("How many pens do 12 boxes hold?")]
    one = sum(len(TOKENIZER(text)["input_ids"]) for text in (PENS.question, PENS.answer))
    assert texts(WORKED.before(asked, TOKENIZER, one + 2))[:-1] == [PENS.question, PENS.answer]
    assert WORKED.before(asked, TOKENIZER, 3) == asked


def test_an_answer_ends_where_no_worked_answer_goes_on() -> None:
    lines = WorkedAnswer(question="And two?", answer="One.\nTwo.")
    paragraphs = WorkedAnswer(question="And three?", answer="One.\n\nTwo.")
    assert WORKED.endings == ("\n",)
    assert WorkedAnswers(shown=1, answers=(PENS, lines)).endings == ("\n\n",)
    assert WorkedAnswers(shown=1, answers=(PENS, lines, paragraphs)).endings == ()


def test_only_answers_that_call_no_other_tools_are_kept_for_some_tools() -> None:
    assert WORKED.select(["a", "b", "c"]) is WORKED
    chosen = WORKED.select(["b"])
    assert chosen is not None
    assert chosen.answers == (CAKES,)
    assert chosen.nearest("How many pens do 12 boxes hold?") == [CAKES]
    assert WORKED.select(["c"]) is None


def test_a_set_keeps_each_answer_once_none_of_a_page_and_a_bounded_number_from_everywhere() -> None:
    many = [WorkedAnswer(question=f"{n}?", answer="x") for n in range(3 * MOST_KEPT)]
    kept = kept_answers(many)
    assert len(kept) == MOST_KEPT
    assert kept[-1].question == f"{3 * MOST_KEPT - 3}?"
    assert kept_answers([PENS, PENS, WorkedAnswer(question="Long?", answer="x" * 3000)]) == (PENS,)


def with_worked() -> ToolkenSet:
    return replace(make(["a", "b"]), examples=Examples(worked=WORKED))


def test_they_are_saved_selected_and_merged_with_the_set(tmp_path: Path) -> None:
    toolkens = with_worked()
    toolkens.save(tmp_path / "set")
    assert same(ToolkenSet.load(tmp_path / "set"), toolkens)
    assert toolkens.select(["b"]).examples.worked == WorkedAnswers(shown=2, answers=(CAKES,))
    other = Examples(worked=WorkedAnswers(shown=4, answers=(PENS,)))
    assert toolkens.examples.merged(other).worked == WORKED
    assert toolkens.examples.merged(Examples()).worked == WORKED
    assert Examples().extended(other).worked == other.worked


def test_a_set_whose_worked_answers_were_deleted_loads_without_them(tmp_path: Path) -> None:
    with_worked().save(tmp_path / "set")
    (tmp_path / "set" / WORKED_FILE).unlink()
    assert ToolkenSet.load(tmp_path / "set").examples == Examples()


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"{", "the file: Invalid JSON"),
        (b'{"shown": 0, "answers": [{"question": "q", "answer": "a"}]}', "shown: "),
        (b'{"shown": 1, "answers": [{"question": "q", "answer": "a", "tools": ["c"]}]}', "an answer calls 'c'"),
    ],
)
def test_a_file_that_no_save_wrote_is_refused_with_what_is_wrong(content: bytes, fault: str) -> None:
    with pytest.raises(ToolkenSetError, match=f"set/{WORKED_FILE}: {fault}.* Delete the file, or fit anew"):
        Examples.of_files({WORKED_FILE: content}, None, ["a", "b"], Path("set"))
