"""Questions with known answers: FuncQA and GSM8K-XL from the papers' data, and nano's own, held out of its training."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

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
_STEP = re.compile(r"\s*(?P<first>-?[\d.,]+)\s*(?P<sign>[-+*/])\s*(?P<second>-?[\d.,]+)")
_SIGNS = {"+": "add", "-": "subtract", "*": "multiply", "/": "divide"}


def read_funcqa_one_hop(path: str | Path) -> list[Question]:
    """Read FuncQA's one-hop test, rows of `{"question", "answer", "func": "<power>(0.89, 8)=0.39"}`.

    Raises:
        QuestionsError: If a row is malformed.
    """
    return _read(path, lambda row: [_function(row["func"])])


def read_funcqa_multi_hop(path: str | Path) -> list[Question]:
    """Read FuncQA's multi-hop test, rows of `{"question", "answer", "calculation": ["<add>(1, 2)=3", …]}`.

    Raises:
        QuestionsError: If a row is malformed.
    """
    return _read(path, lambda row: [_function(step) for step in row["calculation"]])


def read_gsm8k_xl(path: str | Path) -> list[Question]:
    """Read GSM8K-XL's test, rows of `{"question", "answer", "process": ["4096-27-64 = 4005.0", …]}`.

    A question's calls are the first operation of each step that begins with one. A step may have more, and another
    order of the steps may be right too.

    Raises:
        QuestionsError: If a row is malformed.
    """

    def calls(row: Mapping[str, Any]) -> list[ExpectedCall]:
        steps = filter(None, map(_STEP.match, row["process"]))
        return [ExpectedCall(_SIGNS[step["sign"]], (step["first"], step["second"])) for step in steps]

    return _read(path, calls)


def _read(path: str | Path, calls_of: Callable[[Mapping[str, Any]], Sequence[ExpectedCall]]) -> list[Question]:
    questions = []
    for number, line in enumerate(Path(path).read_text(encoding="utf-8").removesuffix("\n").split("\n"), 1):
        try:
            row = json.loads(line)
            questions.append(Question(row["question"].strip(), str(row["answer"]), tuple(calls_of(row))))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise QuestionsError(f"{path}, line {number}: not a question with its calls ({error!r})") from error
    return questions


def _function(text: str) -> ExpectedCall:
    match = _FUNCTION.search(text)
    if match is None:
        raise ValueError(f"no call such as <add>(1, 2) in {text!r}")
    return ExpectedCall(match["tool"], tuple(operand.strip() for operand in match["operands"].split(",")))


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
