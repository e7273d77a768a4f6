"""Knowledge as a world: KAMEL's and SimpleToolQuestions' tools, which look things up in a graph of what is known.

The graph holds the facts that the data's test questions ask for. So a call with the right arguments returns the answer,
one with another subject finds nothing, and an answer can be graded end to end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import networkx as nx
from langchain_core.tools import BaseTool, StructuredTool, ToolException

from langchain_toolken.evaluation.datasets import DatasetError, read_rows, tool_names
from langchain_toolken.evaluation.worlds.drawing import Box, draw_boxes
from langchain_toolken.evaluation.worlds.subjects import kamel_subjects, words_for

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DRAWN = 5  # look-ups; one row


@dataclass(frozen=True)
class Fact:
    """What a tool knows of a subject.

    Attributes:
        relation: The tool's name.
        subject: What is asked about.
        answers: What the tool answers, in order.
        alias: How the question spells the subject, if otherwise.
    """

    relation: str
    subject: str
    answers: tuple[str, ...]
    alias: str | None = None


@dataclass(frozen=True)
class LookUp:
    """A tool to look things up with: its name, its description, and the name of its one parameter."""

    name: str
    description: str
    parameter: str = "name"


class KnowledgeWorld:
    """Look-ups in a graph.

    Attributes:
        graph: Subjects and answers as nodes, an edge from one to the other keyed by the relation.
        asked: The look-ups that found something: relation and subject, in order.
        unplaced: Questions whose subject could not be told from their words: no call can answer them.
    """

    def __init__(self, look_ups: Sequence[LookUp], facts: Iterable[Fact], unplaced: Sequence[str] = ()) -> None:
        self._look_ups = tuple(look_ups)
        self._subjects: dict[tuple[str, str], str] = {}
        self.graph = nx.MultiDiGraph()
        self.asked: list[tuple[str, str]] = []
        self.unplaced = tuple(unplaced)
        for fact in facts:
            subject = self._subjects.setdefault((fact.relation, folded(fact.subject)), fact.subject)
            if fact.alias is not None:
                self._subjects.setdefault((fact.relation, folded(fact.alias)), subject)
            for answer in fact.answers:
                self.graph.add_edge(subject, answer, key=fact.relation)

    def tools(self) -> list[BaseTool]:
        """Return one tool for each relation. A subject that is not known is an error that names both."""
        return [self._tool(look_up) for look_up in self._look_ups]

    def _tool(self, look_up: LookUp) -> BaseTool:
        schema = {
            "type": "object",
            "properties": {look_up.parameter: {"type": "string"}},
            "required": [look_up.parameter],
        }

        def find(**arguments: Any) -> str:
            subject = str(arguments[look_up.parameter])
            answers = self.answers(look_up.name, subject)
            if not answers:
                raise ToolException(f"not found: {look_up.name} of {subject!r} is not known")
            self.asked.append((look_up.name, self._subjects[look_up.name, folded(subject)]))
            return ", ".join(answers)

        return StructuredTool.from_function(
            find,
            name=look_up.name,
            description=look_up.description,
            args_schema=schema,
            infer_schema=False,
            handle_tool_error=True,
        )

    def answers(self, relation: str, subject: str) -> list[str]:
        """Look up without a tool; empty if nothing is known. Case, quotes and a leading "the" don't matter."""
        known = self._subjects.get((relation, folded(subject)))
        if known is None:
            return []
        return [answer for _, answer, key in self.graph.out_edges(known, keys=True) if key == relation]

    def draw(self) -> Figure:
        """Draw the last look-ups, or some facts before there are any. Needs matplotlib.

        Raises:
            DrawingError: If matplotlib is not installed.
        """
        some = (
            list(dict.fromkeys(self.asked))[-_DRAWN:]
            or list(dict.fromkeys((relation, subject) for subject, _, relation in self.graph.edges(keys=True)))[:_DRAWN]
        )
        boxes: dict[tuple[str, str], Box] = {}
        arrows = []
        for relation, subject in some:
            boxes["asked about", subject] = Box(f"? {subject}", "asked about", _wrapped(subject), bold=True)
            for answer in self.answers(relation, subject):
                boxes["found", answer] = Box(f"= {answer}", "found", _wrapped(answer))
                arrows.append((f"? {subject}", f"= {answer}", relation, False))
        return draw_boxes(list(boxes.values()), arrows, ("asked about", "found"))


def folded(name: str) -> str:
    """Bring spellings of a name together: case, quotes, dashes, white space, a leading "the", a final stop."""
    text = re.sub(r"[‐-―−]", "-", name.casefold())
    text = re.sub(r"[\"“”‘’'`]", "", text)
    return re.sub(r"\s+", " ", text).strip(" .,?!").removeprefix("the ")


def _wrapped(name: str) -> str:
    return re.sub(r"(.{12,}?) ", r"\1\n", name[:48])


def read_kamel(folder: Path, tools: int | None = None) -> KnowledgeWorld:
    """Build the world of KAMEL's test questions, from all test files of a folder.

    Args:
        folder: The folder with tools.jsonl and test_*.jsonl.
        tools: Keep the first of the tools, as KAMEL-30 does of 234.

    Raises:
        DatasetError: If a file is missing or malformed.
    """
    names = tool_names(folder / "tools.jsonl")
    rows = [(row, file) for file in sorted(folder.glob("test_*.jsonl")) for row in read_rows(file)]
    try:
        subjects = kamel_subjects((names[row["tool"]], row["question"]) for row, _ in rows)
        facts: list[Fact] = []
        unplaced: dict[str, None] = {}
        for row, _ in rows:
            relation = names[row["tool"]]
            subject = subjects.get((relation, row["question"]))
            if subject is None:
                unplaced[row["question"]] = None
            else:
                facts.append(Fact(relation, subject, tuple(str(each["chosen"]) for each in row["answer"])))
    except (KeyError, TypeError) as error:
        raise DatasetError(f"{folder}: a row of a test file has no question, tool or answer ({error!r})") from error
    return KnowledgeWorld(_look_ups(folder / "tools.jsonl", names, tools), facts, tuple(unplaced))


def read_simple_tool_questions(folder: Path, *, seen: bool = True) -> KnowledgeWorld:
    """Build the world of SimpleToolQuestions' test questions.

    Args:
        folder: The folder with tools.jsonl and test.jsonl, tools_unseen.jsonl and test_unseen.jsonl.
        seen: Take the tools that have demonstrations, or the others.

    Raises:
        DatasetError: If a file is missing or malformed.
    """
    kind = "" if seen else "_unseen"
    names = tool_names(folder / f"tools{kind}.jsonl")
    facts, unplaced = [], []
    file = folder / f"test{kind}.jsonl"
    for number, row in enumerate(read_rows(file), 1):
        try:
            question, subject = str(row["question"]), str(row["param"])
            alias = None if folded(subject) in folded(question) else words_for(subject, question)
            if alias is None and folded(subject) not in folded(question):
                unplaced.append(question)
            facts.append(Fact(names[row["tool"]], subject, (str(row["answer"]),), alias))
        except KeyError as error:
            raise DatasetError(f"{file}, line {number}: no question, tool, param or answer ({error!r})") from error
    return KnowledgeWorld(_look_ups(folder / f"tools{kind}.jsonl", names, None), facts, unplaced)


def _look_ups(file: Path, names: Mapping[str, str], tools: int | None) -> list[LookUp]:
    rows = list(read_rows(file))[:tools]
    return [LookUp(names[row["name"]], row.get("description") or "", row.get("parameter", "name")) for row in rows]
