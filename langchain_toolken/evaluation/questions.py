"""Questions with known answers: FuncQA one-hop from the papers' data, and nano's own, held out of its pre-training."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

from langchain_toolken.errors import ToolkenError
from langchain_toolken.nano.problems.word_problems import OPERATIONS, HeldOut, multi_step, one_step


class QuestionsError(ToolkenError, ValueError):
    """A file of questions can't be used; the message names the file and line."""


@dataclass(frozen=True)
class ExpectedCall:
    """The call that answers a question or one of its steps. Operands are plain numerals."""

    tool: str
    operands: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question, its answer (a plain numeral), and the calls that lead to it in order."""

    text: str
    answer: str
    calls: tuple[ExpectedCall, ...]


_FUNCTION = re.compile(r"<(?P<tool>\w+)>\((?P<operands>[^()]*)\)")


def read_funcqa_one_hop(path: str | Path) -> list[Question]:
    """Read FuncQA's one-hop test, rows of `{"question", "answer", "func": "<power>(0.89, 8)=0.39"}`.

    Raises:
        QuestionsError: If a row is malformed.
    """
    questions = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n"), 1):
        try:
            row = json.loads(line)
            match = _FUNCTION.search(row["func"])
            answer = str(row["answer"])
            text = row["question"].strip()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise QuestionsError(f"{path}, line {number}: not a FuncQA one-hop question ({error!r})") from error
        if match is None:
            raise QuestionsError(f"{path}, line {number}: no call such as <add>(1, 2) in func: {row['func']!r}")
        operands = tuple(operand.strip() for operand in match["operands"].split(","))
        questions.append(Question(text, answer, (ExpectedCall(match["tool"], operands),)))
    return questions


def nano_questions(count: int, held_out: HeldOut, seed: int = 2026) -> list[Question]:
    """Generate word problems in the style of nano's pre-training text, with parts that were held out of it.

    As in the pre-training text, 62% of the problems take one step (the 13 operations in turn) and the others two to
    four.

    Args:
        count: Number of questions.
        held_out: "numbers" asks in known wordings, with names and number ranges that pre-training never shows.
            "wordings" also asks in wordings that it never shows.
        seed: The same seed gives the same questions.
    """
    questions = []
    for number in range(count):
        rng = Random(f"held out {held_out} {seed}:{number}")
        if number % 100 < 62:
            problem = one_step(rng, OPERATIONS[number % len(OPERATIONS)], held_out=held_out)
        else:
            problem = multi_step(rng, held_out=held_out)
        calls = tuple(ExpectedCall(step.operation, step.operands) for step in problem.steps)
        questions.append(Question(problem.question, problem.result, calls))
    return questions
