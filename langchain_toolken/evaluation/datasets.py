"""The toolken papers' datasets in one JSONL form: tools, demonstrations, and questions with the tool that is due.

A folder for each dataset: `tools.jsonl` (a tool a line; its place is its index), train files with rows of
`{"text", "calls": [{"start", "tool", "args", "result"}]}` and test files with `{"question", "tool"}`. Where they come
from: FuncQA, GSM8K-XL and KAMEL with ToolkenGPT (arXiv 2305.11554), SimpleToolQuestions with Chain-of-Tools (arXiv
2503.16779). None of it is in this package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_toolken.errors import ToolkenError
from langchain_toolken.tools.spec import ToolSpec

# The papers' tools take what a text says, and their argument names are not given.
_ANY_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


class DatasetError(ToolkenError, ValueError):
    """A dataset's file that is missing or not of its form; the message names the file and line."""


@dataclass(frozen=True)
class ToolQuestion:
    """A text that ends where a tool is to be called, and that tool's name."""

    text: str
    tool: str


@dataclass(frozen=True, eq=False)
class ToolDataset:
    """What toolkens are fitted on. names: the tools' names by the names that the files have for them."""

    tools: tuple[ToolSpec, ...]
    names: Mapping[str, str]
    demonstrations: tuple[dict[str, Any], ...]

    def first(self, count: int) -> ToolDataset:
        """The first `count` tools and the demonstrations that call no others (KAMEL-30 is the first 30 of 234)."""
        kept = {spec.name for spec in self.tools[:count]}
        rows = tuple(row for row in self.demonstrations if all(call["tool"] in kept for call in row["calls"]))
        names = {old: new for old, new in self.names.items() if new in kept}
        return ToolDataset(self.tools[:count], names, rows)


def read_tool_specs(file: Path) -> tuple[list[ToolSpec], dict[str, str]]:
    """The tools of a `tools.jsonl`, and their names by the file's own.

    A name is what stands between "<" and ">". KAMEL's are Wikidata's numbers (P1408), and beside each stands a function
    name (broadcasted_places), which is taken; where two tools share one, the number is put behind it.
    """
    rows = list(_rows(file))
    shared = [row.get("function") for row in rows]
    specs: list[ToolSpec] = []
    names: dict[str, str] = {}
    for number, row in enumerate(rows, start=1):
        try:
            own = str(row["name"]).strip("<>")
            function = row.get("function")
            name = own if function is None else function if shared.count(function) == 1 else f"{function}_{own}"
            specs.append(
                ToolSpec(name=name, description=row.get("description") or name, json_schema=dict(_ANY_ARGUMENTS))
            )
            names[row["name"]] = name
        except (KeyError, TypeError) as error:
            raise DatasetError(f"{file}, line {number}: a tool needs a name ({error!r})") from error
    return specs, names


def read_dataset(folder: Path, train: str = "train.jsonl") -> ToolDataset:
    """Tools and demonstrations of one dataset. Calls lose their arguments: toolkens are fitted on where, not with what.

    Raises DatasetError for a file that is missing or not of its form, or a call of a tool that is not in tools.jsonl.
    """
    specs, names = read_tool_specs(folder / "tools.jsonl")
    file = folder / train
    rows = []
    for number, row in enumerate(_rows(file), start=1):
        try:
            calls = [
                {key: names[value] if key == "tool" else value for key, value in call.items() if key != "args"}
                for call in row["calls"]
            ]
            rows.append({"text": row["text"], "calls": calls})
        except (KeyError, TypeError, AttributeError) as error:
            raise DatasetError(f"{file}, line {number}: no text, no calls, or an unknown tool ({error!r})") from error
    return ToolDataset(tuple(specs), names, tuple(rows))


def read_tool_questions(file: Path, names: Mapping[str, str], prompt: str = "{question}") -> list[ToolQuestion]:
    """Test questions, laid out as `prompt` says, each ending where its tool is due.

    KAMEL's papers prompt "Question: {question}\\nAnswer: The answer is"; SimpleToolQuestions call behind the question.

    Raises DatasetError as `read_dataset`.
    """
    questions = []
    for number, row in enumerate(_rows(file), start=1):
        try:
            questions.append(ToolQuestion(prompt.replace("{question}", row["question"]), names[row["tool"]]))
        except (KeyError, TypeError) as error:
            raise DatasetError(f"{file}, line {number}: no question, or an unknown tool ({error!r})") from error
    return questions


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{file} can't be read ({error.strerror}): give the folder with the datasets") from error
    # Not splitlines(): a line of GSM8K holds U+2028, which JSON allows unescaped.
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DatasetError(f"{file}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DatasetError(f"{file}, line {number} is not a JSON object")
        yield row
