"""Questions with known answers: FuncQA one-hop (from the papers' data) and nano's own, held out of its pre-training."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from random import Random

from langchain_toolken.errors import ToolkenError
from langchain_toolken.nano.problems.word_problems import OPERATIONS, HeldOut, multi_step, one_step


class QuestionsError(ToolkenError, ValueError):
    """A file of questions can't be used; the message names file and line."""


@dataclass(frozen=True)
class ExpectedCall:
    """The call that answers a question (or its first step): tool and operands, as plain numerals."""

    tool: str
    operands: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question, its answer (a plain numeral) and the calls that lead there, in order."""

    text: str
    answer: str
    calls: tuple[ExpectedCall, ...]


_FUNCTION = re.compile(r"<(?P<tool>\w+)>\((?P<operands>[^()]*)\)")


def read_funcqa_one_hop(path: str | Path) -> list[Question]:
    """FuncQA's one-hop test, rows `{"question", "answer", "func": "<power>(0.89, 8)=0.39"}`. Raises QuestionsError."""
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
    """Word problems in the manner of nano's pre-training text, with what it never shows.

    held_out: "wordings" asks in templates, with names and in number ranges that pre-training never shows; "numbers"
    asks in wordings that it does show, with names and in ranges that it does not. 62% take one step (all 13 operations
    in turn), the others two to four: the shares of the pre-training text.
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
