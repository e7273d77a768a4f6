"""What a person sees in the terminal: an agent's steps as they happen, and progress bars for long work."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars
from rich.text import Text

from langchain_toolken.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AnyMessage
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph

    from langchain_toolken.agents import Step, ToolkenAgentState

_COLOURS = {
    "reason": "white",
    "toolken": "bold magenta",
    "complete": "cyan",
    "execute": "green",
    "reinject": "dim",
    "stop": "bold red",
}
_LABEL_WIDTH = 10


@contextmanager
def progress_bars(console: Console) -> Iterator[Progress]:
    """A `progress(done, total, what)` callback that draws one bar for each `what`."""
    columns = (TextColumn("{task.description:>24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def report(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, total=total)
            progress.update(tasks[what], completed=done, total=total)

        yield report


class StepPrinter:
    """Prints one agent run: words as they stream, then each step under its kind's colour."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._in_words = False

    def _label(self, kind: str) -> Text:
        return Text(f"  {kind:<{_LABEL_WIDTH}}", style=_COLOURS[kind])

    def words(self, piece: str) -> None:
        """A piece of what the LM writes; line breaks are shown indented under the label."""
        if not self._in_words:
            self.console.print(self._label("reason"), end="")
            self._in_words = True
        indented = piece.replace("\n", "\n" + " " * (_LABEL_WIDTH + 2))
        self.console.print(Text(indented, style=_COLOURS["reason"]), end="", soft_wrap=True)

    def step(self, step: Step) -> None:
        """A finished step; the words of a reason step have been shown already, its toolken has not."""
        if self._in_words:
            self.console.print()
            self._in_words = False
        kind = step["kind"]
        if kind == "reason":
            if "tool" in step:
                others = ", ".join(f"{name} {p:.2g}" for name, p in step.get("runners_up", [])[:2])
                line = Text(f"<{step['tool']}> p={step['probability']:.2f}", style=_COLOURS["toolken"])
                self.console.print(
                    self._label("toolken") + line + Text(f"  then {others}" if others else "", style="dim")
                )
            return
        if kind == "complete":
            shown = f"{step['tool']}({json.dumps(step['arguments'], ensure_ascii=False)})"
        elif kind == "execute":
            shown = step["result"]
        else:
            shown = step["text"].replace("\n", " ")
        style = _COLOURS["stop"] if step.get("failed") else _COLOURS[kind]
        self.console.print(self._label(kind) + Text(shown, style=style), soft_wrap=True)


def show_run(
    agent: CompiledStateGraph[ToolkenAgentState, None, ToolkenAgentState, ToolkenAgentState],
    messages: list[AnyMessage],
    console: Console,
    answer: Callable[[Any], Any] | None = None,
) -> dict[str, Any]:
    """Run `agent` on `messages` and print every step as it comes; the state at the end.

    answer: called in this thread with what a tool interrupts for (`langgraph.types.interrupt`), and the run goes on
    with what it returns. The agent needs a checkpointer for that; each run is a thread of its own.
    """
    from langgraph.types import Command

    printer = StepPrinter(console)
    state: dict[str, Any] = {}
    config: RunnableConfig = {"configurable": {"thread_id": str(uuid.uuid4())}}
    given: Any = {"messages": messages}
    while given is not None:
        stream = agent.stream(given, config, stream_mode=["updates", "custom", "values"])
        given = None
        for mode, update in stream:
            assert isinstance(update, dict)
            if mode == "custom":
                printer.words(update["text"])
            elif mode == "values":
                state = update
            elif interrupts := update.get("__interrupt__"):
                if answer is None:
                    raise RuntimeError(f"a tool asks for {interrupts[0].value!r} and nobody is there to answer")
                given = Command(resume=answer(interrupts[0].value))
            else:
                for node in update.values():
                    for step in (node or {}).get("steps", []):
                        printer.step(step)
    return state
