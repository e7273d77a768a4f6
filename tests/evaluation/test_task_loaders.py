"""evaluation.task_loaders: every task is read from files in the datasets' form, and graded as its paper does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from langchain_toolken.evaluation.attempts import Attempt, AttemptedCall
from langchain_toolken.evaluation.datasets import DatasetError
from langchain_toolken.evaluation.task_loaders import SOURCES, TASKS, load_task

TASK = "Task 1:\nI am in ['bedroom']. The objects I can manipulate are ['couch'].\nGoal:\nRest\nHint:\nSit.\nPlan:\n"


def write(file: Path, *rows: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    add = {"start": 19, "tool": "<add>", "args": ["1", "2"], "result": "3"}
    for name in ("funcqa", "gsm8k_xl"):
        write(folder / name / "train.jsonl", {"text": "Q: 1 and 2?\nA: 1+2=3.", "calls": [add]})
    left = {"start": 27, "tool": "<subtract>", "args": ["9", "2", "3"], "result": "4"}
    rows = [
        {"text": "Q: 1 and 2?\nA: 1+2=3.", "calls": [add]},
        {"text": "Q: Is it 4?\nA: It is 9-2-3=4.", "calls": [left]},
    ]
    write(folder / "gsm8k_xl" / "train.jsonl", *rows)
    write(folder / "funcqa" / "test_one_hop.jsonl", {"question": "1 and 4?", "answer": 5, "func": "<add>(1, 4)=5"})
    write(
        folder / "funcqa" / "test_multi_hop.jsonl",
        {"question": "Twice 1 and 4?", "answer": "10", "calculation": ["<add>(1,4)=5", "<multiply>(2,5)=10"]},
    )
    write(folder / "gsm8k_xl" / "test.jsonl", {"question": "1 and 4?", "answer": 5.0, "process": ["1+4 = 5.0"]})
    tools = [
        {"name": f"<P{n}>", "function": f"look_{n}", "parameter": "who", "description": f"looks {n} up"}
        for n in range(40)
    ]
    write(folder / "kamel" / "tools.jsonl", *tools)
    text = "Who owns Nike? Phil."
    call = {"start": 15, "tool": "<P7>", "args": ["Nike"], "result": "Phil"}
    far = {**call, "tool": "<P35>"}
    write(folder / "kamel" / "train_synthetic.jsonl", {"text": text, "calls": [call]}, {"text": text, "calls": [far]})
    answer = [{"chosen": "Phil", "alternative": ["P. Knight"]}]
    for count in (30, 60, 100, 234):
        write(folder / "kamel" / f"test_{count}.jsonl", {"question": "Whose is it?", "tool": "<P7>", "answer": answer})
    for tail in ("", "_unseen"):
        write(folder / "stquestions" / f"tools{tail}.jsonl", {"name": "<a/b>", "description": "b of a"})
        asked = {"question": "What is its b?", "tool": "<a/b>", "param": "it", "answer": "c"}
        write(folder / "stquestions" / f"test{tail}.jsonl", asked)
    write(folder / "stquestions" / "train.jsonl", {"text": "Its b? c", "calls": [{"start": 7, "tool": "<a/b>"}]})
    write(folder / "metatool" / "tools.jsonl", {"name": "Chess", "description": "Plays chess."})
    write(folder / "metatool" / "train.jsonl", {"question": "A game?", "tool": "Chess", "shot": 0})
    write(folder / "metatool" / "dev.jsonl", {"question": "Your move?", "tool": "Chess"})
    write(folder / "metatool" / "no_call_dev.jsonl", {"question": "Why?"})
    steps = ("[FIND]", "<couch>", "[SIT]", "<couch>", "[END]")
    asked = f"{TASK}[FIND] <couch>\n[SIT] <couch>\n[END]"
    starts = [len(TASK), len(TASK) + 7, len(TASK) + 15, len(TASK) + 21, len(TASK) + 29]
    plan = {"text": asked, "calls": [{"start": at, "tool": name} for at, name in zip(starts, steps, strict=True)]}
    write(folder / "virtualhome" / "tools.jsonl", *({"name": name} for name in dict.fromkeys(steps)))
    for split in ("train", "dev"):
        write(folder / "virtualhome" / f"{split}.jsonl", plan)
    return folder


@pytest.mark.parametrize("name", sorted(TASKS))
def test_every_task_has_its_tools_demonstrations_and_questions(data: Path, name: str) -> None:
    task = load_task(name, data)
    tools = {spec.name for spec in task.specs}
    assert task.name == name
    assert task.questions
    assert all("{question}" not in task.prompt(each) for each in task.questions)
    assert all(call.tool in tools for each in task.questions for call in each.calls)
    called = {call.tool for one in task.demonstrations for call in one.calls}
    assert called <= tools
    assert bool(called) == (name != "stquestions_unseen")


@pytest.mark.parametrize(("dataset", "source"), SOURCES.items())
def test_missing_data_say_where_their_authors_publish_them(tmp_path: Path, dataset: str, source: str) -> None:
    name = next(each for each in TASKS if each.startswith(dataset))
    with pytest.raises(DatasetError, match=f"{name} needs its data.*{source.split(' ')[0]}"):
        load_task(name, tmp_path)
    with pytest.raises(DatasetError, match="--data-dir"):
        load_task(name, None)


def test_an_unknown_task_is_named_with_those_that_there_are() -> None:
    with pytest.raises(DatasetError, match="no task 'nona'; choose among nano, funcqa_one_hop"):
        load_task("nona", None)


def test_kamel_30_has_the_first_thirty_tools_and_only_their_demonstrations(data: Path) -> None:
    task = load_task("kamel_30", data)
    assert [spec.name for spec in task.specs] == [f"look_{n}" for n in range(30)]
    assert [one.calls[0].args for one in task.demonstrations] == [{"who": "Nike"}]
    assert task.questions[0].answers == ("Phil", "P. Knight")
    assert task.prompt(task.questions[0]) == "Question: Whose is it?\nAnswer: The answer is"


def test_numbers_are_graded_within_a_tenth_of_a_percent_and_nanos_own_exactly(data: Path) -> None:
    attempt = Attempt(question="0", text="so 5.004", calls=(AttemptedCall(tool="add", arguments={"numbers": [4, 1]}),))
    for name, right in (("funcqa_one_hop", True), ("gsm8k_xl", True)):
        task = load_task(name, data)
        grade = task.grader(task.questions[0], attempt)
        assert (grade.right, grade.right_tool, grade.right_arguments, grade.called) == (right, True, True, True)
    nano = load_task("nano", None)
    close = f"{int(nano.questions[0].answers[0])}.01"
    assert not nano.grader(nano.questions[0], Attempt(question="0", text=close)).right


def test_a_request_without_a_tool_is_right_without_a_call(data: Path) -> None:
    task = load_task("metatool", data)
    tool, plain = task.questions
    call = (AttemptedCall(tool="Chess"),)
    assert task.grader(tool, Attempt(question="0", calls=call)).right
    assert not task.grader(plain, Attempt(question="plain 0", calls=call)).right
    assert task.grader(plain, Attempt(question="plain 0", ranked=("Chess",))).right
    assert task.grader(plain, Attempt(question="plain 0")).right_tool is None


def test_a_plan_is_asked_for_with_all_text_before_it(data: Path) -> None:
    task = load_task("virtualhome", data)
    (question,) = task.questions
    assert question.text == TASK
    assert question.answers == ("[FIND] <couch>\n[SIT] <couch>\n[END]",)
    assert task.written == {"FIND": "[FIND]", "couch": "<couch>", "SIT": "[SIT]", "END": "[END]"}
    assert [call.result for call in task.demonstrations[0].calls][1:3] == ["<couch>", "[SIT]"]


@pytest.mark.parametrize(
    ("plan", "right", "marks"),
    [
        ("[WALK] <couch>\n[SIT] <couch>\n[END]", True, (True, True, True)),
        ("[FIND] <couch>", False, (True, True, False)),
        ("[SIT] <couch>", False, (True, False, False)),
        ("[SIT] <sofa>", False, (False, False, False)),
    ],
)
def test_a_plan_is_right_if_it_ends_as_the_gold_plan_does(
    data: Path, plan: str, right: bool, marks: tuple[bool, ...]
) -> None:
    task = load_task("virtualhome", data)
    grade = task.grader(task.questions[0], Attempt(question="0", text=plan))
    assert grade.right is right
    assert grade.marks == tuple(zip(("grounded", "executable", "reached"), marks, strict=True))


def test_look_ups_find_what_the_questions_ask_for_and_the_answer_is_marked(data: Path) -> None:
    task = load_task("stquestions_seen", data)
    assert task.tools[0].invoke({"name": "it"}) == "c"
    call = (AttemptedCall(tool="a/b", arguments={"name": "it"}, result="c"),)
    for text, answered in (("It is C.", True), ("It is d.", False)):
        grade = task.grader(task.questions[0], Attempt(question="0", text=text, calls=call))
        assert (grade.right, grade.marks) == (True, (("answered", answered),))
    chosen = Attempt(question="0", text='Action: {"name": "a/b"}', calls=(AttemptedCall(tool="a/b"),))
    grade = task.grader(task.questions[0], chosen)
    assert (grade.right, grade.marks) == (True, ()), "a method that only chooses is not marked by an answer"


def test_gsm8k_xl_s_demonstrations_may_subtract_several_numbers(data: Path) -> None:
    task = load_task("gsm8k_xl", data)
    assert [call.args for one in task.demonstrations for call in one.calls] == [
        {"numbers": [1, 2]},
        {"numbers": [9, 2, 3]},
    ]
