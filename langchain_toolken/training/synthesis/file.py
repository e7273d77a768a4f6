"""The file of synthesised rows, written as they are made so that a stopped run can be continued."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from langchain_toolken.disk.lock import held
from langchain_toolken.disk.reading import read_file
from langchain_toolken.disk.writing import writing
from langchain_toolken.training.synthesis.checks import NearDuplicates
from langchain_toolken.training.synthesis.drafts import Draft, SynthesisError

Reason = Literal[
    "unreadable", "schema", "arguments", "other tool", "duplicate", "failed", "result given away", "needs a tool"
]
"""Why a draft is not kept; `synthesize` explains each."""

NO_TOOL = ""
"""Stands for the requests that need no tool, in counts by tool."""


class SynthesisWarning(UserWarning):
    """Fewer rows were made than requested, a torn last line was removed, or another process is writing the file."""


@contextmanager
def opened_synthesis_file(path: Path | None, names: Sequence[str]) -> Iterator[SynthesisFile]:
    """Open the file of rows for this process alone; wait for another one that writes it.

    Args:
        path: The JSONL file; None keeps everything in memory.
        names: The tools' names.

    Raises:
        SynthesisError: The file holds something else.
        WriteError: It can't be written.

    Warns:
        SynthesisWarning: Another process is writing it, or its last line was torn and is dropped.
    """
    if path is None:
        yield SynthesisFile(None, names)
        return
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)

    def tell() -> None:
        what = "another process is writing it. Waiting until it has finished, to go on with its rows"
        warnings.warn(f"{path}: {what}", SynthesisWarning, stacklevel=6)

    with held(path.with_name(f".{path.name}.lock"), on_wait=tell):
        yield SynthesisFile(path, names)


@dataclass
class SynthesisFile:
    """Rows and rejected drafts, in memory and, line by line, on disk.

    Attributes:
        path: The JSONL file; None keeps everything in memory.
        names: The tools' names.
        rows: The rows, those of earlier runs included.
        kept: Number of rows by tool.
        rejected: Number of rejected drafts by tool and reason.
        requests: The rows' requests by tool.
        duplicates: The rows' requests, to find near-duplicates of.
        misses: Number of rejected drafts by tool since its last row.

    Raises:
        SynthesisError: The file holds something else.
    """

    path: Path | None
    names: Sequence[str]
    rows: list[dict[str, Any]] = field(default_factory=list)
    kept: Counter[str] = field(default_factory=Counter)
    rejected: dict[str, Counter[Reason]] = field(default_factory=dict)
    requests: dict[str, list[str]] = field(default_factory=dict)
    duplicates: NearDuplicates = field(default_factory=NearDuplicates)
    misses: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        names = [*self.names, NO_TOOL]
        self.kept.update(dict.fromkeys(names, 0))
        self.rejected = {name: Counter() for name in names}
        self.requests = {name: [] for name in names}
        if self.path is None:
            return
        for number, row in _lines(self.path):
            tool, request = _read_row(self.path, number, row)
            self._count(tool, request, row)
        for number, row in _lines(self.rejections):
            if not isinstance(row.get("tool"), str) or not isinstance(row.get("reason"), str):
                raise SynthesisError(f"{self.rejections}, line {number} is not a rejected draft; choose another file")
            self.rejected.setdefault(row["tool"], Counter())[row["reason"]] += 1
            # Rejected since the tool's last row, which no line of this file tells by itself.
            self.misses[row["tool"]] += row.get("kept") == self.kept[row["tool"]]

    @property
    def rejections(self) -> Path:
        """The file of rejected drafts, next to that of the rows."""
        assert self.path is not None
        return self.path.with_suffix(f".rejected{self.path.suffix or '.jsonl'}")

    def drafted(self, name: str) -> int:
        """Return how many of a tool's drafts have been kept or rejected."""
        return self.kept[name] + sum(self.rejected[name].values())

    def keep(self, name: str, row: dict[str, Any]) -> None:
        """Add a row."""
        if self.path is not None:
            _append(self.path, row)
        self.misses[name] = 0
        self._count(name, row["messages"][0]["content"], row)

    def reject(self, name: str, draft: Draft, reason: Reason, detail: str) -> None:
        """Record a draft that is not kept, and why."""
        if self.path is not None:
            facts = {"tool": name, "kept": self.kept[name], "reason": reason, "detail": detail}
            facts["request"] = draft.request
            _append(self.rejections, {**facts, "answer": draft.answer, "arguments": draft.arguments})
        self.rejected[name][reason] += 1
        self.misses[name] += 1

    def _count(self, name: str, request: str, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.kept[name] += 1
        self.requests.setdefault(name, []).append(request)
        self.duplicates.add(request)


def _append(path: Path, row: dict[str, Any]) -> None:
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _lines(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return the file's rows with their line numbers; remove a last line that was cut off from the file."""
    if not path.exists():
        return []
    try:
        whole = read_file(path)
    except OSError as error:
        raise SynthesisError(f"{path} can't be read ({error.strerror}); choose another file") from error
    end = whole.rfind(b"\n") + 1
    if end < len(whole):
        with writing(path):
            os.truncate(path, end)
        warnings.warn(
            f"{path}: its last line was cut off (the run was killed while writing it) and was dropped",
            SynthesisWarning,
            stacklevel=2,
        )
    rows = []
    for number, line in enumerate(whole[:end].split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)  # with NaN, which the LM may have drafted
        except (ValueError, RecursionError) as error:
            raise SynthesisError(
                f"{path}, line {number} is not JSON ({error}); fix it or choose another file"
            ) from error
        if not isinstance(row, dict):
            raise SynthesisError(f"{path}, line {number} is not an object; choose another file")
        rows.append((number, row))
    return rows


def _read_row(path: Path, number: int, row: dict[str, Any]) -> tuple[str, str]:
    """Return (tool, request) of a row that an earlier run wrote."""
    try:
        user, assistant = row["messages"][:2]
        calls = assistant.get("tool_calls") or []
        tool = calls[0]["function"]["name"] if calls else NO_TOOL
        if user["role"] != "user" or assistant["role"] != "assistant" or not isinstance(user["content"], str):
            raise ValueError("other roles")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise SynthesisError(
            f"{path}, line {number} was not written by synthesis; the file is unchanged. Choose another file"
        ) from error
    return str(tool), str(user["content"])
