"""Write the demonstrations for examples/mytools.py.

    python -m pretraining.make_demos > examples/demos.jsonl

They are word problems from the generator of nano's pre-training text, with its operations renamed to the tools of
mytools.py, and small talk, which shows when not to call.
"""

from __future__ import annotations

from random import Random

from langchain_toolken.evaluation.nano_demonstrations import as_demonstration
from langchain_toolken.nano.problems.word_problems import multi_step, one_step
from langchain_toolken.training.demonstrations.demonstration import Demonstration
from pretraining.plain_texts import small_talk

NAMES = {"multiply": "total_price", "subtract": "what_is_left", "divide": "fair_share"}


def main(per_tool: int = 18, longer: int = 16, without_calls: int = 12) -> None:
    """Print demonstrations of one step, of several steps, and without calls, a JSON row each."""
    rng = Random("examples/demos.jsonl")
    problems = [one_step(rng, operation) for operation in NAMES for _ in range(per_tool)]
    while len(problems) < len(NAMES) * per_tool + longer:
        problem = multi_step(rng)
        if all(step.operation in NAMES and len(step.operands) == 2 for step in problem.steps):
            problems.append(problem)
    for problem in problems:
        row = as_demonstration(problem)
        calls = tuple(call.model_copy(update={"tool": NAMES[call.tool]}) for call in row.calls)
        print(
            row.model_copy(update={"calls": calls}).model_dump_json(
                exclude={"before", "line", "source"}, exclude_none=True
            )
        )
    for _ in range(without_calls):
        said, answer = small_talk(rng)[0]
        print(
            Demonstration(text=f"Q: {said}\nA: {answer}", calls=()).model_dump_json(
                exclude={"before", "line", "source"}
            )
        )


if __name__ == "__main__":
    main()
