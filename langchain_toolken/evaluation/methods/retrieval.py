"""Retrieval and prompt: the five tools whose descriptions match the question best (BM25) are in the prompt."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_toolken.evaluation.methods.in_context import EXAMPLES, examples_of
from langchain_toolken.evaluation.methods.method import Answerer, Bench
from langchain_toolken.evaluation.methods.text_agent import Shown, TextAgent, list_of_tools
from langchain_toolken.evaluation.methods.worked_examples import nearest
from langchain_toolken.evaluation.tasks import TaskKind, TaskQuestion
from langchain_toolken.toolkens.lexical import LexicalMatch, description_document

RETRIEVED = 5
"""Tools in the prompt."""


@dataclass(frozen=True)
class Retrieval:
    """BM25 over names and descriptions, then as `in_context`."""

    name: str = "retrieval"
    says: str = "the 5 tools and the 4 worked examples that BM25 finds for the question, in the prompt"
    kinds: frozenset[TaskKind] = frozenset({"number", "tool"})
    random: bool = False

    def prepare(self, bench: Bench) -> Answerer:
        """Index the tools' descriptions."""
        specs = bench.task.specs
        match = LexicalMatch("description", 1.0, tuple(map(description_document, specs)))
        find = nearest(bench.task.demonstrations, EXAMPLES)

        def show(question: TaskQuestion) -> Shown:
            scores = match.scores(question.text).tolist()
            order = sorted(range(len(specs)), key=lambda k: (-scores[k], k))[:RETRIEVED]
            kept, text = list_of_tools(bench.engine, [specs[k] for k in order], bench.engine.context_length // 2)
            examples = examples_of(bench, thoughts=False, worked=find(question.text))
            return Shown(kept, f"{text}{examples}")

        return TextAgent(bench, show, thoughts=False).answer
