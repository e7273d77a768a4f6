"""Retrieval: BM25 finds the tool by its name and description, or the five among which the LM chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from langchain_toolken.evaluation.attempts import Attempt, TraceStep
from langchain_toolken.evaluation.methods.in_context import EXAMPLES, examples_of
from langchain_toolken.evaluation.methods.method import Answerer, Bench, Change
from langchain_toolken.evaluation.methods.text_agent import Shown, TextAgent, list_of_tools
from langchain_toolken.evaluation.methods.worked_examples import nearest
from langchain_toolken.evaluation.tasks import TaskKind, TaskQuestion
from langchain_toolken.toolkens.lexical import LexicalMatch, description_document
from langchain_toolken.tools.spec import ToolSpec

RETRIEVED = 5
"""Tools in the prompt."""

_RANKED = 10


@dataclass(frozen=True)
class BM25:
    """The tool that BM25 has first; there is no LM, and nothing says whether a tool is needed."""

    name: str = "bm25"
    says: str = "no LM: the tool whose name and description share most words with the question (BM25)"
    kinds: frozenset[TaskKind] = frozenset({"tool"})
    random: bool = False
    learns: bool = False
    changed_by: frozenset[Change] = frozenset()

    def prepare(self, bench: Bench) -> Answerer:
        """Index the tools' descriptions."""
        ranked = _by_words(bench.task.specs)

        def answer(questions: Sequence[TaskQuestion]) -> list[Attempt]:
            found = [(each, tuple(spec.name for spec in ranked(each.text)[:_RANKED])) for each in questions]
            return [
                Attempt(
                    question=each.id,
                    ranked=names,
                    trace=(TraceStep(kind="prompt", text=each.text), TraceStep(kind="tool", text=", ".join(names[:5]))),
                )
                for each, names in found
            ]

        return answer


@dataclass(frozen=True)
class Retrieval:
    """BM25 over names and descriptions, then as `in_context`."""

    name: str = "retrieval"
    says: str = "the 5 tools and the 4 worked examples that BM25 finds for the question, in the prompt"
    kinds: frozenset[TaskKind] = frozenset({"number", "tool"})
    random: bool = False
    learns: bool = False
    changed_by: frozenset[Change] = frozenset()

    def prepare(self, bench: Bench) -> Answerer:
        """Index the tools' descriptions."""
        ranked = _by_words(bench.task.specs)
        find = nearest(bench.task.demonstrations, EXAMPLES)

        def show(question: TaskQuestion) -> Shown:
            found = ranked(question.text)[:RETRIEVED]
            kept, text = list_of_tools(bench.engine, found, bench.engine.context_length // 2)
            examples = examples_of(bench, thoughts=False, worked=find(question.text))
            return Shown(kept, f"{text}{examples}")

        return TextAgent(bench, show, thoughts=False).answer


def _by_words(specs: Sequence[ToolSpec]) -> Callable[[str], list[ToolSpec]]:
    """Return what sorts tools by how well their names and descriptions match a text, the best first."""
    match = LexicalMatch("description", 1.0, tuple(map(description_document, specs)))

    def ranked(text: str) -> list[ToolSpec]:
        scores = match.scores(text).tolist()
        return [specs[k] for k in sorted(range(len(specs)), key=lambda k: (-scores[k], k))]

    return ranked
