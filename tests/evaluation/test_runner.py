"""evaluation.runner: what is right about an agent's calls and answer, and the kind of a wrong one."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.evaluation.questions import ExpectedCall, Question
from langchain_toolken.evaluation.runner import Graded, grade, summarize
from langchain_toolken.nano.tools import divide, multiply
from langchain_toolken.tools.spec import tool_spec
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.toolken_sets import scripted_toolkens

TRAIN = Question(
    "How far does a train go at 66 km/h in 20 minutes?",
    "22",
    (ExpectedCall("multiply", ("66", "20")), ExpectedCall("divide", ("1320", "60"))),
)
TIMES, BY = {"numbers": [66, 20]}, {"a": 1320, "b": 60}


def graded(*calls: tuple[str, dict[str, Any]], answer: str) -> Graded:
    """Grade an agent that makes `calls` and ends with `answer`; the LM alone answers "about 20"."""
    said = [reasoning(" It is ", name) for name, _ in calls]
    engine = ScriptedEngine(
        [*said, reasoning(answer), reasoning(" about 20")], [completion("", arguments) for _, arguments in calls]
    )
    toolkens = scripted_toolkens(tool_spec(multiply), tool_spec(divide))
    (one,) = grade(ToolkenChat.from_engine(engine, toolkens), [multiply, divide], [TRAIN], tolerance="0.001")
    return one


@pytest.mark.parametrize(
    ("calls", "answer", "error"),
    [
        ((), " 22 km", None),
        ((), " 23 km", "no call"),
        ((("divide", BY),), " km.", None),
        ((("divide", {"a": 66, "b": 20}),), " km.", "wrong arguments"),
        ((("multiply", TIMES),), " km.", "later step"),
        ((("multiply", TIMES), ("divide", {"a": 1320, "b": 6})), " km.", "later step"),
        ((("multiply", TIMES), ("divide", BY)), " km, so #### 7", "right result, wrong answer"),
    ],
)
def test_a_wrong_answer_has_its_kind(calls: Any, answer: str, error: str | None) -> None:
    one = graded(*calls, answer=answer)
    assert (one.error, one.right) == (error, error is None)
    assert [call.tool for call in one.calls] == [name for name, _ in calls]


def test_a_first_call_of_no_tool_that_is_needed_is_a_wrong_tool() -> None:
    one = graded(("divide", BY), answer=" 5")
    only_multiply = Question("66 times 20?", "1320", TRAIN.calls[:1])
    engine = ScriptedEngine([reasoning(" ", "divide"), reasoning("!"), reasoning("?")], [completion("", BY)])
    llm = ToolkenChat.from_engine(engine, scripted_toolkens(tool_spec(multiply), tool_spec(divide)))
    (other,) = grade(llm, [multiply, divide], [only_multiply])
    assert (one.right_tool, other.error) == (False, "wrong tool")


def test_calls_keep_their_arguments_and_results_and_shares_are_averages() -> None:
    right, wrong = graded(("multiply", TIMES), ("divide", BY), answer=" km."), graded(answer=" far")
    assert [(call.arguments, call.result) for call in right.calls] == [(TIMES, "1320"), (BY, "22")]
    assert (right.right_tool, right.right_arguments, right.plain_text, right.plain_right) == (
        *(True, True),
        *("about 20", False),
    )
    summary = summarize([right, wrong])
    assert (summary.questions, summary.right, summary.right_arguments, summary.harmed) == (2, 0.5, 0.5, 0.0)
    with pytest.raises(ValueError, match="no questions"):
        summarize([])
