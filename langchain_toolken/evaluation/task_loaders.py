"""The registry of tasks: each name with what reads it from a folder of datasets, and where the datasets come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from langchain_core.messages import HumanMessage
from langchain_core.tools import BaseTool, StructuredTool

from langchain_toolken.evaluation.attempts import Attempt
from langchain_toolken.evaluation.datasets import DatasetError, read_rows, tool_names
from langchain_toolken.evaluation.graders import final_number, names_answer, same_call, same_number
from langchain_toolken.evaluation.nano_demonstrations import nano_demonstrations
from langchain_toolken.evaluation.questions import (
    ExpectedCall,
    Question,
    QuestionsError,
    nano_questions,
    read_funcqa_multi_hop,
    read_funcqa_one_hop,
    read_gsm8k_xl,
)
from langchain_toolken.evaluation.tasks import Grade, Loader, Task, TaskQuestion
from langchain_toolken.evaluation.worlds import household_plans
from langchain_toolken.evaluation.worlds.arithmetic import GSM8K_XL_TOOLS
from langchain_toolken.evaluation.worlds.knowledge import KnowledgeWorld, read_kamel, read_simple_tool_questions
from langchain_toolken.nano.tools import MATH_TOOLS
from langchain_toolken.tools.spec import ToolSpec, tool_specs
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration, DemonstrationError
from langchain_toolken.training.demonstrations.load import gather_demonstrations

_TOOLKENGPT = "https://github.com/Ber666/ToolkenGPT (its data archive)"
SOURCES = {
    "funcqa": _TOOLKENGPT,
    "gsm8k_xl": _TOOLKENGPT,
    "kamel": _TOOLKENGPT,
    "virtualhome": _TOOLKENGPT,
    "stquestions": "https://github.com/fairyshine/Chain-of-Tools",
    "metatool": "https://github.com/HowieHwong/MetaTool",
}
"""Where the authors of each dataset publish it."""

_PUBLISHED_AT = (
    "Its authors publish them at {}; bring them into the JSONL form of langchain_toolken/evaluation/datasets.py"
)

QUESTION = "Q: {question}\nA:"
_PAPERS_TOLERANCE = "0.001"
# ToolkenGPT words KAMEL's questions so, in its prompts and in its evaluation.
_KAMEL = "Question: {question}\nAnswer: The answer is"


def load_task(name: str, data_dir: Path | None) -> Task:
    """Load a task by its name.

    Args:
        name: One of `TASKS`.
        data_dir: The folder with all datasets; only "nano" needs none.

    Raises:
        DatasetError: There is no such task, or its data are missing; the message says where they are published.
    """
    if name not in TASKS:
        raise DatasetError(f"there is no task {name!r}; choose among {', '.join(TASKS)}")
    dataset = next((each for each in SOURCES if name.startswith(each)), None)
    if dataset is None:
        return TASKS[name](Path())
    if data_dir is None or not (data_dir / dataset).is_dir():
        where = "give --data-dir, a folder with" if data_dir is None else f"{data_dir} has no folder"
        raise DatasetError(f"{name} needs its data: {where} {dataset!r}. {_PUBLISHED_AT.format(SOURCES[dataset])}")
    try:
        return TASKS[name](data_dir / dataset)
    except (DatasetError, DemonstrationError, QuestionsError, OSError) as error:
        raise DatasetError(
            f"{name} can't be read from {data_dir / dataset}: {error}. {_PUBLISHED_AT.format(SOURCES[dataset])}"
        ) from error


def grade_number(question: TaskQuestion, attempt: Attempt, *, tools: Mapping[str, ToolSpec], tolerance: str) -> Grade:
    """Grade the final number, and the first call against all calls that the question needs."""
    expected, first = question.calls, attempt.calls[0] if attempt.calls else None
    return Grade(
        right=same_number(final_number(attempt.text), question.answers[0], tolerance),
        right_tool=first is not None and any(first.tool == call.tool for call in expected),
        right_arguments=first is not None
        and first.tool in tools
        and any(same_call(tools[first.tool], first.arguments, call) for call in expected),
        called=first is not None,
    )


def grade_tool(question: TaskQuestion, attempt: Attempt) -> Grade:
    """Grade the first tool; of a request that needs none, whether one is called.

    The mark "answered" says whether the answer, with results in place, names what the data expect: the right tool
    called with the right subject. It is there only for answers in which a tool has run.
    """
    called = bool(attempt.calls)
    if question.tool is None:
        return Grade(right=not called, called=called)
    right = attempt.first_tool == question.tool
    marks = []
    if attempt.ranked:
        marks.append(("among five", question.tool in attempt.ranked[:5]))
    if question.answers and any(call.result is not None for call in attempt.calls):
        marks.append(("answered", names_answer(attempt.text, question.answers)))
    return Grade(right=right, right_tool=right, called=called, marks=tuple(marks))


def grade_plan(question: TaskQuestion, attempt: Attempt) -> Grade:
    """Grade a plan as ToolkenGPT does: right if it is successful, with marks for grounded, executable and reached."""
    task = household_plans.read_household_task(question.text + question.answers[0], f"question {question.id}")
    grade = household_plans.grade_plan(task, attempt.text)
    marks = (("grounded", grade.grounded), ("executable", grade.executable), ("reached", grade.reached))
    return Grade(right=grade.successful, called=bool(attempt.calls), marks=marks)


def _number_task(
    name: str,
    tools: Sequence[BaseTool],
    demonstrations: Sequence[Demonstration],
    questions: Sequence[Question],
    dev: Sequence[Question] = (),
    tolerance: str = _PAPERS_TOLERANCE,
) -> Task:
    by_name = {spec.name: spec for spec in tool_specs(tools)}
    return Task(
        name=name,
        kind="number",
        tools=tuple(tools),
        demonstrations=tuple(demonstrations),
        questions=_numbered(questions),
        dev=_numbered(dev),
        layout=QUESTION,
        grader=partial(grade_number, tools=by_name, tolerance=tolerance),
    )


def _numbered(questions: Sequence[Question]) -> tuple[TaskQuestion, ...]:
    return tuple(TaskQuestion(str(n), each.text, (each.answer,), each.calls) for n, each in enumerate(questions))


def _usable(file: Path, tools: Sequence[BaseTool]) -> tuple[Demonstration, ...]:
    return gather_demonstrations(file, list(tools), docstrings=False, strict=False).demonstrations


def _nano(_: Path) -> Task:
    asked = [*nano_questions(100, "numbers"), *nano_questions(100, "wordings")]
    shown = gather_demonstrations(nano_demonstrations(25, seed=7), MATH_TOOLS, docstrings=False, strict=False)
    return _number_task("nano", MATH_TOOLS, shown.demonstrations, asked, tolerance="0")


def _funcqa(folder: Path, *, hops: str) -> Task:
    read = read_funcqa_one_hop if hops == "one_hop" else read_funcqa_multi_hop
    shown = _usable(folder / "train.jsonl", MATH_TOOLS)
    return _number_task(f"funcqa_{hops}", MATH_TOOLS, shown, read(folder / f"test_{hops}.jsonl"))


def _gsm8k_xl(folder: Path) -> Task:
    shown = _usable(folder / "train.jsonl", GSM8K_XL_TOOLS)
    return _number_task("gsm8k_xl", GSM8K_XL_TOOLS, shown, read_gsm8k_xl(folder / "test.jsonl"))


def lookup_tool(name: str, description: str, parameter: str) -> BaseTool:
    """Make a tool that takes one text and knows nothing: enough for tasks that are graded by the tool."""
    schema = {"type": "object", "properties": {parameter: {"type": "string"}}, "required": [parameter]}
    return StructuredTool.from_function(
        lambda **_: "unknown", name=name, description=description, args_schema=schema, infer_schema=False
    )


def _lookup_task(
    name: str, folder: Path, *, world: Callable[[Path], KnowledgeWorld], files: tuple[str, str | None, str], layout: str
) -> Task:
    tools, train, test = files
    names = tool_names(folder / tools)
    made = world(folder).tools()
    known = {tool.name for tool in made}
    questions = [
        TaskQuestion(
            str(number),
            row["question"],
            _alternatives(row.get("answer")),
            (ExpectedCall(names[row["tool"]], (row["param"],) if "param" in row else ()),),
        )
        for number, row in enumerate(read_rows(folder / test))
    ]
    shown: tuple[Demonstration, ...] = ()
    if train is not None:
        renamed = (
            {**row, "calls": [{**call, "tool": names[call["tool"]]} for call in row["calls"]]}
            for row in read_rows(folder / train)
        )
        shown = gather_demonstrations(
            [row for row in renamed if all(call["tool"] in known for call in row["calls"])],
            made,
            docstrings=False,
            strict=False,
        ).demonstrations
    return Task(name, "tool", tuple(made), shown, tuple(questions), layout, grade_tool)


def _alternatives(answer: object) -> tuple[str, ...]:
    """Return the texts that are right: KAMEL lists answers with alternatives, SimpleToolQuestions has one text."""
    if not isinstance(answer, list):
        return () if answer is None else (str(answer),)
    found: list[str] = []
    for one in answer:
        found += [one["chosen"], *one["alternative"]]
    return tuple(dict.fromkeys(found))


def _metatool(folder: Path) -> Task:
    made = [lookup_tool(row["name"], row["description"], "request") for row in read_rows(folder / "tools.jsonl")]
    shown = [
        Demonstration(
            text="", calls=(DemonstratedCall(start=0, tool=row["tool"]),), before=(HumanMessage(row["question"]),)
        )
        for row in read_rows(folder / "train.jsonl")
    ]
    asked = [
        TaskQuestion(str(number), row["question"], calls=(ExpectedCall(row["tool"], ()),))
        for number, row in enumerate(read_rows(folder / "dev.jsonl"))
    ]
    plain = [
        TaskQuestion(f"plain {number}", row["question"])
        for number, row in enumerate(read_rows(folder / "no_call_dev.jsonl"))
    ]
    return Task("metatool", "tool", tuple(made), tuple(shown), (*asked, *plain), "{question}", grade_tool)


PLAN_END = "[END]"


def _virtualhome(folder: Path) -> Task:
    written = {row["name"].strip("<>[]"): row["name"] for row in read_rows(folder / "tools.jsonl")}
    names = {text: name for name, text in written.items()}
    made = [_step_tool(name, text) for name, text in written.items()]

    def shown(row: Demonstration) -> Demonstration:
        calls = tuple(call.model_copy(update={"tool": names[call.tool], "args": {}}) for call in row.calls)
        return row.model_copy(update={"calls": calls})

    train = [shown(_plan_row(row)) for row in read_rows(folder / "train.jsonl")]
    questions = []
    for number, row in enumerate(read_rows(folder / "dev.jsonl")):
        asked, _, plan = row["text"].rpartition("Plan:\n")
        questions.append(TaskQuestion(str(number), f"{asked}Plan:\n", (plan.strip(),)))
    task = Task("virtualhome", "plan", tuple(made), tuple(train), tuple(questions), "{question}", grade_plan)
    return replace(task, written=written)


def _plan_row(row: dict[str, object]) -> Demonstration:
    """Read a plan; what each call writes is its result, so that training does not take it for words."""
    calls = row["calls"]
    assert isinstance(calls, list)
    return Demonstration.model_construct(
        text=str(row["text"]),
        calls=tuple(
            DemonstratedCall.model_construct(start=call["start"], tool=call["tool"], args=None, result=call["tool"])
            for call in calls
        ),
    )


def _step_tool(name: str, text: str) -> BaseTool:
    kind = "The end of the plan." if text == PLAN_END else "An object." if text.startswith("<") else "An action."
    return StructuredTool.from_function(
        lambda: text,
        name=name,
        description=f"{name.replace('_', ' ').lower()}: {kind}",
        args_schema={"type": "object", "properties": {}},
        infer_schema=False,
    )


TASKS: dict[str, Loader] = {
    "nano": _nano,
    "funcqa_one_hop": partial(_funcqa, hops="one_hop"),
    "funcqa_multi_hop": partial(_funcqa, hops="multi_hop"),
    "gsm8k_xl": _gsm8k_xl,
    **{
        f"kamel_{count}": partial(
            _lookup_task,
            f"kamel_{count}",
            world=partial(read_kamel, tools=count),
            files=("tools.jsonl", "train_synthetic.jsonl", f"test_{count}.jsonl"),
            layout=_KAMEL,
        )
        for count in (30, 60, 100, 234)
    },
    "stquestions_seen": partial(
        _lookup_task,
        "stquestions_seen",
        world=read_simple_tool_questions,
        files=("tools.jsonl", "train.jsonl", "test.jsonl"),
        layout="{question}",
    ),
    "stquestions_unseen": partial(
        _lookup_task,
        "stquestions_unseen",
        world=partial(read_simple_tool_questions, seen=False),
        files=("tools_unseen.jsonl", None, "test_unseen.jsonl"),
        layout="{question}",
    ),
    "metatool": _metatool,
    "virtualhome": _virtualhome,
}
"""The tasks by name."""
