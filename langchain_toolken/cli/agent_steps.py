"""An agent run in the terminal, each step shown as it happens."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from langchain_toolken.cli.terminal import as_json, shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_core.messages import AnyMessage
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph.state import CompiledStateGraph
    from rich.console import Console
    from rich.text import Text

    from langchain_toolken.agents.state import Step, ToolkenAgentState

_COLOURS = {
    "reason": "white",
    "toolken": "bold magenta",
    "complete": "cyan",
    "execute": "green",
    "reinject": "dim",
    "respond": "bold green",
    "stop": "bold red",
}
_LABEL_WIDTH = 10
_LEAST_SHOWN = 0.01  # probability of a runner-up
_BAR_WIDTH = 8
_EIGHTHS = " ▏▎▍▌▋▊▉"


def probability_bar(share: float) -> str:
    """Draw a share of 1 as a bar, to an eighth of a character."""
    eighths = round(share * _BAR_WIDTH * 8)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).strip() or _EIGHTHS[1]


class StepPrinter:
    """Prints one agent run: text as it streams, then each finished step in the colour of its kind."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._in_text = False
        self._calls = 0  # in the LM's last answer

    def _label(self, kind: str) -> Text:
        return shown(f"  {kind:<{_LABEL_WIDTH}}", style=_COLOURS[kind])

    def text(self, piece: str) -> None:
        """Print a piece of the LM's text. New lines are indented to align with the label."""
        if not self._in_text:
            self.console.print(self._label("reason"), end="")
            self._in_text = True
        indented = piece.replace("\n", "\n" + " " * (_LABEL_WIDTH + 2))
        self.console.print(shown(indented, style=_COLOURS["reason"]), end="", soft_wrap=True)

    def step(self, step: Step) -> None:
        """Print a finished step. The text of a reason step has been streamed already, so only its toolken is shown."""
        if self._in_text:
            self.console.print()
            self._in_text = False
        kind = step["kind"]
        if kind == "reason":
            if "tool" in step:
                near = [one for one in step.get("runners_up", [])[:2] if one["probability"] >= _LEAST_SHOWN]
                others = ", ".join(f"{one['name']} {_rated(one['probability'])}" for one in near)
                line = shown(f"<{step['tool']}> {_rated(step['probability'])}", style=_COLOURS["toolken"])
                self.console.print(
                    self._label("toolken") + line + shown(f"  then {others}" if others else "", style="dim")
                )
            self._calls = 0
            return
        if kind == "complete" and "arguments" in step:
            self._calls += 1
            said = f"{step['tool']}({as_json(step['arguments'])})"
            said += f"  {_rated(step['probability'])}" if "probability" in step else ""
        elif kind == "complete":  # one of several calls, with arguments that are no valid ones
            said = f"{step['tool']} is not called: {step['text']}"
        elif kind == "execute":
            said = f"{step['tool']}: {step['result']}" if self._calls > 1 else step["result"]
        else:
            said = step["text"].replace("\n", " ")
        style = _COLOURS["stop"] if step.get("failed") else _COLOURS[kind]
        self.console.print(self._label(kind) + shown(said, style=style), soft_wrap=True)


def _rated(probability: float) -> str:
    return f"{probability_bar(probability)} {probability:.2g}"


def show_run(
    agent: CompiledStateGraph[ToolkenAgentState, None, ToolkenAgentState, ToolkenAgentState],
    messages: list[AnyMessage],
    console: Console,
    answer: Callable[[Any], Any] | None = None,
) -> dict[str, Any]:
    """Run an agent and print every step as it happens.

    Args:
        agent: The agent. It needs a checkpointer if one of its tools interrupts; each run gets a thread id of its own.
        messages: The conversation so far.
        console: Where to print.
        answer: Called in this thread with the value of an interrupt (`langgraph.types.interrupt`). The run resumes
            with what it returns.

    Returns:
        The agent's final state.

    Raises:
        RuntimeError: If a tool interrupts and there is no `answer`.
    """
    from langgraph.types import Command

    printer = StepPrinter(console)
    state: dict[str, Any] = {}
    config: RunnableConfig = {"configurable": {"thread_id": str(uuid.uuid4())}}
    pending: Any = {"messages": messages}
    while pending is not None:
        stream = agent.stream(pending, config, stream_mode=["updates", "custom", "values"])
        pending = None
        for mode, update in stream:
            if not isinstance(update, dict):
                continue
            if mode == "custom":
                if update.get("kind") in ("reason", "thought"):  # tools may stream what they like
                    printer.text(update["text"])
            elif mode == "values":
                state = update
            elif interrupts := update.get("__interrupt__"):
                if answer is None:
                    raise RuntimeError(
                        f"a tool interrupted the run with {interrupts[0].value!r}; pass `answer` to reply to it"
                    )
                pending = Command(resume=answer(interrupts[0].value))
            else:
                for node in update.values():
                    for step in (node or {}).get("steps", []):
                        printer.step(step)
    return state
