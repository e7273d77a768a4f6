"""Measure everyday requests on a real LM: the right tool, all arguments right, calls where none is needed.

    python benchmarks/everyday.py --model MODEL
    python benchmarks/everyday.py --model MODEL --demonstrations-per-tool 3
    python benchmarks/everyday.py --model MODEL --split dev --show 30
    python benchmarks/everyday.py --model MODEL --tool-mode prompt      # the LM reads all tools, no toolkens
    python benchmarks/everyday.py --model MODEL --one-call              # one call an answer, whatever the fit found
    python benchmarks/everyday.py --model MODEL --unfitted              # what ToolkenChat makes of descriptions itself

By default there are 72 demonstrations with a call, six for each tool, and 20 chats without one.

Twelve tools, their demonstrations and the requests are in `everyday/`; no request repeats the wording or the values of
a demonstration. Settings may be chosen by the dev split, never by the test split.

Toolkens are fitted with the package's defaults. Every request then goes through `ToolkenChat.bind_tools(...)`. Printed
are, with 95% intervals (Wilson's):

- right tool, and all arguments right, as shares of all requests that need a call;
- all arguments right when the right tool is forced;
- plain requests that got a call;
- follow-ups ("And in Milan?") whose second call is right;
- messages with two requests, of which both calls were made and no other;
- after the result, in an agent's loop: the answer ended by itself, another call was made, the answer ran to the limit.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Annotated, Any

import typer
from everyday.requests import Request, grade_call, read_demonstrations, read_requests
from everyday.tools import TOOLS
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from shares import Share

from langchain_toolken import ToolkenChat, fit_toolkens
from langchain_toolken.cli.progress_bars import progress_bars
from langchain_toolken.progress import Progress


class Mode(StrEnum):
    """How the tools are called."""

    toolken = "toolken"
    prompt = "prompt"


MOST_STEPS = 4  # answers of the LM to one message, in a loop with the tools
BY_NAME = {tool.name: tool for tool in TOOLS}


def spread(requests: Sequence[Request], most: int | None) -> Sequence[Request]:
    """Take at most `most` requests, evenly."""
    if most is None or most >= len(requests):
        return requests
    return [requests[i * len(requests) // most] for i in range(most)]


def grade_first(message: AIMessage, request: Request) -> str:
    """Grade an answer to a request for one call, or for none."""
    if request.expected:
        return grade_call(message, request.expected[0], TOOLS)
    return "needless call" if message.tool_calls or message.invalid_tool_calls else "right"


def grade_two(messages: Sequence[BaseMessage], request: Request) -> str:
    """Tell whether both calls were made and nothing else was called."""
    made = [call for message in messages if isinstance(message, AIMessage) for call in message.tool_calls]
    calls = [AIMessage("", tool_calls=[call]) for call in made]
    left = list(request.expected)
    for message in calls:
        right = next((one for one in left if grade_call(message, one, TOOLS) == "right"), None)
        if right is None:
            return "wrong or repeated call"
        left.remove(right)
    return "right" if not left else f"{len(calls)} of 2 calls"


def grade_end(messages: Sequence[BaseMessage]) -> str:
    """Tell how an answer went on after its first result."""
    calls = [(call["name"], str(call["args"])) for m in messages if isinstance(m, AIMessage) for call in m.tool_calls]
    last = messages[-1]
    if len(calls) > 1:
        return "repeated call" if calls[1] == calls[0] else "another call"
    if not isinstance(last, AIMessage) or last.tool_calls:
        return "did not end"
    if last.response_metadata.get("finish_reason") == "length":
        return "ran to the limit"
    return "right" if last.text.strip() else "ended without a word"


def written(message: BaseMessage) -> str:
    """Write a message in one line."""
    if isinstance(message, ToolMessage):
        return f"[result] {message.text}"
    calls = [*message.tool_calls, *message.invalid_tool_calls] if isinstance(message, AIMessage) else []
    shown = [f"{call['name']}({json.dumps(call['args'], ensure_ascii=False)})" for call in calls]
    text = " ".join(message.text.split())
    return " → ".join([*([repr(text)] if text else []), *shown]) or "(nothing)"


@dataclass(frozen=True)
class Shown:
    """A request and what came of it, for `--show`."""

    request: Request
    outcome: str
    messages: tuple[BaseMessage, ...]


@dataclass
class Session:
    """A chat model that is being measured, and what was found so far: by phase, its outcomes and its seconds."""

    chat: ToolkenChat
    progress: Progress
    batch_size: int
    outcomes: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    shown: list[Shown] = field(default_factory=list)

    def ask(self, phase: str, requests: Sequence[Request], *, forced: bool = False) -> list[str]:
        """Answer each request once, some at a time. `forced` forces the tool of the expected call."""
        began, messages = time.perf_counter(), dict[int, AIMessage]()
        groups: dict[str | None, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(request.expected[0].tool if forced else None, []).append(number)
        for choice, numbers in groups.items():
            model = self.chat.bind_tools(TOOLS, tool_choice=choice)
            for start in range(0, len(numbers), self.batch_size):
                some = numbers[start : start + self.batch_size]
                messages |= dict(zip(some, model.batch([requests[n].messages for n in some]), strict=True))
                self.progress(len(messages), len(requests), phase)
        found = [(request, grade_first(messages[n], request), [messages[n]]) for n, request in enumerate(requests)]
        return self._keep(phase, began, found)

    def run(self, phase: str, requests: Sequence[Request], grade: Callable[[list[BaseMessage]], str] | None) -> None:
        """Answer each request as an agent does: call, result, and on, until there is no call or too many.

        Without `grade`, both calls of a message with two requests are looked for.
        """
        began = time.perf_counter()
        model = self.chat.bind_tools(TOOLS)
        made: list[list[BaseMessage]] = [[] for _ in requests]
        going = list(range(len(requests)))
        for _ in range(MOST_STEPS):
            for start in range(0, len(going), self.batch_size):
                some = going[start : start + self.batch_size]
                answers = model.batch([[*requests[n].messages, *made[n]] for n in some])
                for number, message in zip(some, answers, strict=True):
                    results = [
                        ToolMessage(str(BY_NAME[call["name"]].invoke(call["args"])), tool_call_id=call["id"])
                        for call in message.tool_calls
                    ]
                    made[number] += [message, *results]
            going = [number for number in going if isinstance(made[number][-1], ToolMessage)]
            self.progress(len(requests) - len(going), len(requests), phase)
        found = [
            (request, grade(messages) if grade else grade_two(messages, request), messages)
            for request, messages in zip(requests, made, strict=True)
        ]
        self._keep(phase, began, found)

    def _keep(self, phase: str, began: float, found: Sequence[tuple[Request, str, Sequence[BaseMessage]]]) -> list[str]:
        self.seconds[phase] = time.perf_counter() - began
        self.outcomes[phase] = [outcome for _, outcome, _ in found]
        self.shown += [Shown(request, f"{phase}: {outcome}", tuple(made)) for request, outcome, made in found]
        return self.outcomes[phase]


def main(
    model: Annotated[str, typer.Option(help="The LM: a folder or a Hub id.")],
    demonstrations_per_tool: Annotated[str, typer.Option(help="How many of each tool: a number, or all (6).")] = "all",
    no_call: Annotated[int, typer.Option(help="Demonstrations without a call, at most 20.")] = 20,
    tool_mode: Annotated[Mode, typer.Option(help="prompt: the tools in the prompt, no toolkens.")] = Mode.toolken,
    parallel: Annotated[
        bool | None, typer.Option("--parallel/--one-call", help="parallel_tool_calls. Default: as the fit found.")
    ] = None,
    unfitted: Annotated[bool, typer.Option(help="No set: toolkens of names and descriptions.")] = False,
    split: Annotated[str, typer.Option(help="dev or test. Choose settings by dev only.")] = "test",
    seed: Annotated[int, typer.Option(help="Seed of the fit, and of which demonstrations are drawn.")] = 0,
    dtype: Annotated[str | None, typer.Option(help="The weights' dtype. Default: float32 on a CPU.")] = None,
    backend: Annotated[str | None, typer.Option(help="For a GGUF file: llama_cpp or transformers.")] = None,
    kept: Annotated[Path | None, typer.Option(help="Folder that the toolkens are saved in, or loaded from.")] = None,
    max_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 96,
    batch_size: Annotated[int, typer.Option(help="Requests that run through the LM together.")] = 16,
    loops: Annotated[int, typer.Option(help="Most requests that are also run on with the tools' results.")] = 24,
    most: Annotated[int | None, typer.Option(help="Most requests of each kind, for a quick look.")] = None,
    show: Annotated[int, typer.Option(help="Print this many requests with what came of them.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit, ask, grade and print."""
    console = Console(stderr=as_json)
    requests = read_requests(split, TOOLS)
    calls, plain, follow_ups, two = (
        spread([request for request in requests if request.kind == kind], most)
        for kind in ("call", "plain", "follow-up", "two")
    )
    per_tool = None if demonstrations_per_tool == "all" else int(demonstrations_per_tool)
    demonstrations = [] if unfitted else read_demonstrations(per_tool, no_call, seed)
    with progress_bars(console) as progress, tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        toolkens = (kept or Path(folder) / "toolkens") if tool_mode == "toolken" and not unfitted else None
        if toolkens is not None and not toolkens.exists():
            options: dict[str, Any] = {"dtype": dtype, "backend": backend, "seed": seed, "progress": progress}
            fit_toolkens(model, TOOLS, demonstrations, **options).save(toolkens)
        fit_seconds = time.perf_counter() - began
        chat = ToolkenChat(
            model=model,
            dtype=dtype,
            backend=backend,
            toolkens=toolkens,
            tool_mode=tool_mode.value,
            max_tokens=max_tokens,
            parallel_tool_calls=parallel,
        )
        session = Session(chat, progress, batch_size)
        free = session.ask("calls", calls)
        session.ask("tool forced", calls, forced=True)
        session.ask("plain", plain)
        session.ask("follow-ups", follow_ups)
        session.run("two requests", two, None)
        called = [request for request, outcome in zip(calls, free, strict=True) if outcome != "no call"]
        session.run("after the result", spread(called, loops), grade_end)

    found = session.outcomes
    shares = {
        "right tool": Share.of(one not in ("no call", "wrong tool") for one in free),
        "all arguments right": Share.of(one == "right" for one in free),
        "all arguments right, tool forced": Share.of(one == "right" for one in found["tool forced"]),
        "plain requests that got a call": Share.of(one != "right" for one in found["plain"]),
        "follow-ups right": Share.of(one == "right" for one in found["follow-ups"]),
        "two requests, both calls right": Share.of(one == "right" for one in found["two requests"]),
        "after the result, the answer ended": Share.of(one == "right" for one in found["after the result"]),
    }
    errors = {
        phase: {kind: count for kind, count in Counter(outcomes).most_common() if kind != "right"}
        for phase, outcomes in found.items()
    }
    settings = {
        "model": model,
        "tool_mode": tool_mode.value,
        "parallel": parallel,
        "split": split,
        "seed": seed,
        "dtype": dtype,
        "backend": backend,
        "demonstrations": len(demonstrations),
        "style": chat.prompt_format.style,
        "reinjection": chat.prompt_format.reinjection,
    }
    for one in Random(seed).sample(session.shown, min(show, len(session.shown))):
        console.rule(f"[dim]{escape(one.outcome)}", align="left")
        for message in (*one.request.messages, *one.messages):
            console.print(f"{message.type:>6}: {written(message)}", markup=False, highlight=False)
    if as_json:
        facts = {"settings": settings, "shares": {name: share.as_dict() for name, share in shares.items()}}
        seconds = {"fit": fit_seconds, **session.seconds}
        print(json.dumps({**facts, "errors": errors, "seconds": seconds}, indent=1))
        return
    console.print(settings)
    table = Table("what", "share (95%)")
    for name, share in shares.items():
        table.add_row(name, str(share))
    console.print(table)
    phases = Table("phase", "seconds", "each", "errors")
    phases.add_row("fit", f"{fit_seconds:.1f}", "", "")
    for phase, seconds in session.seconds.items():
        kinds = ", ".join(f"{count} {kind}" for kind, count in errors[phase].items())
        phases.add_row(phase, f"{seconds:.1f}", f"{seconds / max(1, len(found[phase])):.2f}", kinds)
    console.print(phases)


if __name__ == "__main__":
    typer.run(main)
