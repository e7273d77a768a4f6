"""The LM without tools: the answer at once, or after the steps that lead to it (chain of thought, arXiv 2201.11903)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_toolken.decoding.engine import DecodingRequest, Sampling
from langchain_toolken.evaluation.attempts import Attempt, TraceStep
from langchain_toolken.evaluation.methods.in_context import EXAMPLES, as_far_as_they_fit
from langchain_toolken.evaluation.methods.method import Answerer, Bench, Change
from langchain_toolken.evaluation.methods.plans import plain_plans
from langchain_toolken.evaluation.methods.text_agent import prompt_ids
from langchain_toolken.evaluation.methods.worked_examples import ANSWERED, QUESTION, few
from langchain_toolken.evaluation.tasks import TaskKind, TaskQuestion


@dataclass(frozen=True)
class Direct:
    """Examples of questions with nothing but their answers."""

    name: str = "direct"
    says: str = "no tools: 4 questions with their bare answers in the prompt"
    kinds: frozenset[TaskKind] = frozenset({"number", "plan"})
    random: bool = True
    learns: bool = False
    changed_by: frozenset[Change] = frozenset()

    def prepare(self, bench: Bench) -> Answerer:
        """Draw the examples."""
        if bench.task.kind == "plan":
            return plain_plans(bench)
        worked = few(bench.task.demonstrations, EXAMPLES, bench.seed)
        shown = [f"{QUESTION} {one.question}{ANSWERED} The answer is {one.answer}" for one in worked]
        return _written(bench, as_far_as_they_fit(bench.engine, shown), " The answer is")


@dataclass(frozen=True)
class ChainOfThought:
    """Examples of questions with the reasoning that leads to their answers."""

    name: str = "chain_of_thought"
    says: str = "no tools: 4 worked solutions in the prompt"
    kinds: frozenset[TaskKind] = frozenset({"number"})
    random: bool = True
    learns: bool = False
    changed_by: frozenset[Change] = frozenset()

    def prepare(self, bench: Bench) -> Answerer:
        """Draw the examples."""
        worked = few(bench.task.demonstrations, EXAMPLES, bench.seed)
        return _written(bench, as_far_as_they_fit(bench.engine, [one.text for one in worked]), "")


def _written(bench: Bench, shown: str, lead: str) -> Answerer:
    engine = bench.engine
    request = DecodingRequest(Sampling(max_tokens=bench.max_tokens), stop=("\nQ:", "\n\n"))

    def answer(questions: Sequence[TaskQuestion]) -> list[Attempt]:
        prompts = [prompt_ids(engine, f"{shown}{bench.task.prompt(each)}{lead}") for each in questions]
        return [
            Attempt(
                question=each.id,
                text=f"{lead}{said.text}".strip(),
                prompt_tokens=said.prompt_tokens,
                generated_tokens=len(said.token_ids),
                trace=(TraceStep(kind="prompt", text=each.text), TraceStep(kind="text", text=said.text.strip())),
            )
            for each, said in zip(questions, engine.reason(prompts, request), strict=True)
        ]

    return answer
