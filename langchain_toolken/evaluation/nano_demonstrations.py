"""Demonstrations made from nano's own word problems."""

from __future__ import annotations

from random import Random

from langchain_toolken.nano.problems.word_problems import OPERATIONS, Step, WordProblem, one_step, some_problem
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration


def as_demonstration(problem: WordProblem) -> Demonstration:
    """Turn a worked word problem into a demonstration: its text, with a call wherever a result begins."""
    text = f"Q: {problem.question}\nA: "
    calls = []
    for part in problem.answer:
        if isinstance(part, Step):
            calls.append(
                DemonstratedCall(start=len(text), tool=part.operation, args=list(part.operands), result=part.result)
            )
            text += part.result
        else:
            text += part
    return Demonstration(text=f"{text}\n#### {problem.result}", calls=tuple(calls))


def nano_demonstrations(per_tool: int, seed: int) -> list[Demonstration]:
    """Generate demonstrations for the 13 math tools, in the style of nano's pre-training text.

    Args:
        per_tool: Number of one-step problems per operation. Half as many problems again come from the whole mix,
            which includes problems of several steps.
        seed: The same seed gives the same demonstrations.
    """
    rng = Random(f"demonstrations {seed}")
    problems = [one_step(rng, operation) for operation in OPERATIONS for _ in range(per_tool)]
    problems += [some_problem(rng) for _ in range(len(problems) // 2)]
    return [as_demonstration(problem) for problem in problems]
