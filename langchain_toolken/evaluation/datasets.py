"""The toolken papers' datasets in one JSONL form: tools, demonstrations, and questions with the expected tool.

Each dataset is a folder with these files:

- `tools.jsonl`: one tool per line; the line number is the tool's index.
- train files: rows of `{"text", "calls": [{"start", "tool", "args", "result"}]}`.
- test files: rows of `{"question", "tool"}`.

FuncQA, GSM8K-XL and KAMEL come from ToolkenGPT (arXiv 2305.11554), SimpleToolQuestions from Chain-of-Tools (arXiv
2503.16779). This package contains none of the data.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_toolken.errors import ToolkenError
from langchain_toolken.tools.spec import ToolSpec

# The datasets do not name the parameters of their tools.
_ANY_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}


class DatasetError(ToolkenError, ValueError):
    """A dataset file is missing or malformed; the message names the file and line."""


@dataclass(frozen=True)
class ToolQuestion:
    """A text that ends where a tool should be called.

    Attributes:
        text: The text.
        tool: The name of that tool.
        asked: The question in it, as a chat model knows it from the user's message; "" where it is not known.
    """

    text: str
    tool: str
    asked: str = ""


@dataclass(frozen=True, eq=False)
class ToolDataset:
    """What toolkens are fitted on.

    Attributes:
        tools: The tools, in the order of their indices.
        names: Maps a tool's name in the dataset's files to its name in `tools`.
        demonstrations: Rows of the train file, with the names of `tools` and without arguments.
    """

    tools: tuple[ToolSpec, ...]
    names: Mapping[str, str]
    demonstrations: tuple[dict[str, Any], ...]

    def first(self, count: int) -> ToolDataset:
        """Keep the first `count` tools and the demonstrations that call only those, as KAMEL-30 does of 234."""
        kept = {spec.name for spec in self.tools[:count]}
        rows = tuple(row for row in self.demonstrations if all(call["tool"] in kept for call in row["calls"]))
        names = {old: new for old, new in self.names.items() if new in kept}
        return ToolDataset(self.tools[:count], names, rows)


def read_tool_specs(file: Path) -> tuple[list[ToolSpec], dict[str, str]]:
    """Read a `tools.jsonl`.

    A tool's name is the text between "<" and ">". KAMEL names its tools by Wikidata numbers (P1408) and adds function
    names (broadcasted_places); those are used instead, followed by the number where two tools share one.

    Returns:
        The tools, and a map from each name in the file to the name of its tool.

    Raises:
        DatasetError: If the file is missing or malformed.
    """
    rows = list(read_rows(file))
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


def tool_names(file: Path) -> dict[str, str]:
    """Return the tools' names by those that a `tools.jsonl` and the files next to it use."""
    return read_tool_specs(file)[1]


def read_dataset(folder: Path, train: str = "train.jsonl") -> ToolDataset:
    """Read the tools and demonstrations of one dataset.

    The arguments of calls are dropped: toolkens are fitted on where a tool is called, not on what it is called with.

    Raises:
        DatasetError: If a file is missing or malformed, or a call names a tool that is not in tools.jsonl.
    """
    specs, names = read_tool_specs(folder / "tools.jsonl")
    file = folder / train
    rows = []
    for number, row in enumerate(read_rows(file), start=1):
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
    r"""Read test questions.

    Args:
        file: The test file.
        names: Maps a tool's name in the file to its name; see `ToolDataset`.
        prompt: A text that contains "{question}" and ends where the tool should be called. The papers use "Question:
            {question}\nAnswer: The answer is" for KAMEL, and the question alone for SimpleToolQuestions.

    Raises:
        DatasetError: If the file is missing or malformed, or a question's tool is not in `names`.
    """
    questions = []
    for number, row in enumerate(read_rows(file), start=1):
        try:
            asked = row["question"]
            questions.append(ToolQuestion(prompt.replace("{question}", asked), names[row["tool"]], asked))
        except (KeyError, TypeError) as error:
            raise DatasetError(f"{file}, line {number}: no question, or an unknown tool ({error!r})") from error
    return questions


def read_rows(file: Path) -> Iterator[dict[str, Any]]:
    """Read a JSONL file, a row at a time.

    Raises:
        DatasetError: The file can't be read, or a line is not a JSON object.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise DatasetError(f"{file} can't be read ({error.strerror}): give the folder with the datasets") from error
    # Not splitlines(): a row of GSM8K contains U+2028, which JSON allows unescaped.
    for number, line in enumerate(text.removesuffix("\n").split("\n"), start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DatasetError(f"{file}, line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise DatasetError(f"{file}, line {number} is not a JSON object")
        yield row
