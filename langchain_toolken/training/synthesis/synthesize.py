"""Make demonstrations from tools' names and descriptions, and keep only those that pass checks.

A writer (`writers`: a chat model, or the local LM) drafts a request, the beginning of the answer, and the call. A draft
becomes a row if it passes these checks, in this order (the reason of a rejection is in quotes):

1. It can be read ("unreadable").
2. Its arguments match the tool's schema ("schema").
3. Their values are in the request (`checks.missing_arguments`; "arguments").
4. Asked which tool the request needs, the writer names this one ("other tool"). Otherwise a sum of two numbers would
   pass for every tool of a calculator.
5. No earlier row has nearly the same request (`checks.NearDuplicates`; "duplicate").
6. If the tool may be run: it runs ("failed"), and the answer doesn't already contain its result ("result given away").
   The result becomes part of the row.

Requests that need no tool go through 1, 4 ("needs a tool") and 5. Rows have OpenAI's chat format, which `fit` reads:
the request, the assistant's words and its call and, if the tool ran, the result and the rest of the sentence. Without a
result a row ends with the call, so it teaches when to call but not that no call should follow the result. So let tools
run where possible (benchmarks/synthesis.py measures this).
"""

from __future__ import annotations

import asyncio
import json
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool

from langchain_toolken.decoding.engine import Engine
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import Style
from langchain_toolken.tools.arguments import checked_arguments
from langchain_toolken.tools.spec import ToolLike, ToolSpec, tool_specs
from langchain_toolken.training.synthesis.checks import missing_arguments, similarity
from langchain_toolken.training.synthesis.drafts import RESULT, Draft, SynthesisError, Writer
from langchain_toolken.training.synthesis.file import (
    NO_TOOL,
    Reason,
    SynthesisFile,
    SynthesisWarning,
    opened_synthesis_file,
)
from langchain_toolken.training.synthesis.writers import writer_for

# Other tools that a prompt describes in addition to the one meant. More would fill small LMs' contexts; those with the
# most similar descriptions are taken first, because they are the likeliest to be confused with it.
_RIVALS = 15


@dataclass(frozen=True)
class Synthesis:
    """The result of `synthesize`.

    Attributes:
        rows: In OpenAI's chat format, those of earlier runs included.
        kept: Number of rows by tool (`NO_TOOL` for requests that need none), over all runs that wrote the file.
        rejected: Number of rejected drafts by tool and reason, over all runs that wrote the file.
        given_up: The tools that were given up.
        file: The file of the rows, None if there is none.
    """

    rows: tuple[dict[str, Any], ...]
    kept: Mapping[str, int]
    rejected: Mapping[str, Mapping[Reason, int]]
    given_up: tuple[str, ...]
    file: Path | None

    @property
    def reasons(self) -> Counter[Reason]:
        """How many drafts were rejected, by reason, over all tools."""
        return sum((Counter(counts) for counts in self.rejected.values()), Counter())


def synthesize(
    tools: Iterable[ToolLike | ToolSpec],
    per_tool: int = 20,
    *,
    generator: BaseChatModel | str | Writer | None = None,
    engine: Engine | None = None,
    out: str | Path | None = None,
    without_tool: int | None = None,
    execute: bool | Collection[str] = False,
    give_up_after: int = 80,
    style: Style | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Synthesis:
    """Make demonstrations for each tool, and requests that need no tool.

    Args:
        tools: The tools.
        per_tool: Demonstrations per tool.
        generator: What writes them: a chat model, "provider:model" for LangChain's `init_chat_model`, or a `Writer`.
            None: the LM of `engine`.
        engine: The local LM, for generator None.
        out: JSONL file that rows are appended to as they are made. Rows already in it count, so a stopped run can be
            continued. Rejected drafts go to a file next to it (demos.jsonl: demos.rejected.jsonl), with the reasons.
            With the local LM, the same seed and the same tools the file is the same whether or not the run was
            interrupted. A last line that was cut off is dropped, with a warning.
        without_tool: Requests that need no tool. None: half as many as demonstrations with a call, because toolkens
            that never see an answer without a call fire everywhere.
        execute: True, or names of tools that may be run on the drafted arguments. By default nothing is run, because a
            tool may have side effects. With True, tools whose metadata have MCP's hint `readOnlyHint: False` or
            `destructiveHint: True` are not run; name them to run them.
        give_up_after: A tool is given up, with a warning, after this many drafts in a row without a row. 80 drafts are
            enough to find something that passes once in 20 (with probability 98%). Those of earlier runs that wrote
            `out` count: a larger number goes on with a tool that was given up.
        style: How the local LM is asked. None: "chat" if its tokenizer has a chat template.
        seed: With the local LM, makes the run deterministic. For a chat model see `ChatModelWriter`.
        progress: Called with (done, total, what).

    Raises:
        SynthesisError: There is no generator (`writer_for`), `out` holds something else, the generator fails (rows made
            so far stay in `out`), no row was made, or a tool to run is unknown or can't be run.
        ToolError: As `tool_specs`.
        WriteError: `out` can't be written. The rows made so far are in it, and the same call goes on from there.
        ValueError: A count is out of range.

    Warns:
        SynthesisWarning: A tool was given up, a torn last line was dropped from `out`, or another process is writing
            `out`: this one waits, and goes on with its rows.
    """
    given = list(tools)
    specs = tool_specs(given)
    if not specs:
        raise ValueError("there are no tools to make demonstrations for; give at least one")
    if per_tool < 1 or give_up_after < 1 or (without_tool is not None and without_tool < 0):
        raise ValueError("per_tool and give_up_after must be 1 or more, without_tool 0 or more")
    runnable = _runnable(given, specs, execute)
    if generator is None or isinstance(generator, BaseChatModel | str):
        generator = writer_for(generator, engine, style=style, seed=seed)
    with opened_synthesis_file(None if out is None else Path(out), [spec.name for spec in specs]) as store:
        plain = (per_tool * len(specs) + 1) // 2 if without_tool is None else without_tool
        run = _Run(specs, runnable, generator, store, progress, seed, per_tool * len(specs) + plain)
        given_up = [spec.name for spec in specs if not run.make(spec, per_tool, give_up_after)]
        if not any(store.kept[spec.name] for spec in specs):
            reasons = sum((Counter(counts) for counts in store.rejected.values()), Counter())
            raise SynthesisError(
                f"no demonstration was made ({_counted(reasons)}). Give a stronger generator, better descriptions, or "
                "demonstrations of your own" + (f". Rejected drafts are in {store.rejections}" if store.path else "")
            )
        if plain and not run.make(None, plain, give_up_after):
            given_up.append(NO_TOOL)
        made = Synthesis(tuple(store.rows), dict(store.kept), dict(store.rejected), tuple(given_up), store.path)
    for name in given_up:
        what = f"tool '{name}'" if name else "requests that need no tool"
        wanted = per_tool if name else plain
        warnings.warn(
            f"{what}: {store.kept[name]} of {wanted} rows, given up after {give_up_after} drafts without one "
            f"({_counted(Counter(made.rejected.get(name, {})))}); a larger give_up_after goes on",
            SynthesisWarning,
            stacklevel=2,
        )
    return made


@dataclass
class _Run:
    """The state of one run, which makes the rows of one tool after another."""

    specs: list[ToolSpec]
    runnable: Mapping[str, BaseTool]
    writer: Writer
    store: SynthesisFile
    progress: Progress | None
    seed: int
    total: int

    def make(self, spec: ToolSpec | None, wanted: int, give_up_after: int) -> bool:
        """Draft until there are `wanted` rows of a tool (None: without a tool); return False if it was given up."""
        name = NO_TOOL if spec is None else spec.name
        kept, misses = self.store.kept, self.store.misses
        self._report()
        while kept[name] < wanted and misses[name] < give_up_after:
            drafts, skipped = self._drafts(spec, name)
            for draft, choice in list(zip(drafts, self._choices(spec, drafts), strict=True))[skipped:]:
                if kept[name] >= wanted or misses[name] >= give_up_after:
                    break
                self._judge(spec, name, draft, choice)
        return kept[name] >= wanted

    def _drafts(self, spec: ToolSpec | None, name: str) -> tuple[list[Draft], int]:
        """Return the next batch, and how many of its drafts an earlier run has kept or rejected."""
        number, skipped = divmod(self.store.drafted(name), self.writer.batch)
        kept = self.store.requests[name]
        try:
            if spec is None:
                return self.writer.without_tool(self._rivals(None), number, kept), skipped
            return self.writer.for_tool(spec, number, kept), skipped
        except Exception as error:
            raise self._failed(error) from error

    def _choices(self, spec: ToolSpec | None, drafts: Sequence[Draft]) -> list[str | None]:
        """Ask the writer which tool each draft's request needs; only for drafts without a fault."""
        sound = [place for place, draft in enumerate(drafts) if _fault(spec, draft) is None]
        if not sound:
            return [None] * len(drafts)
        rivals = self._rivals(spec)
        try:
            chosen = self.writer.choose([drafts[place].request for place in sound], rivals)
        except Exception as error:
            raise self._failed(error) from error
        by_place = dict(zip(sound, chosen, strict=True))
        return [by_place.get(place) for place in range(len(drafts))]

    def _rivals(self, spec: ToolSpec | None) -> list[ToolSpec]:
        rng = Random(f"{self.seed} {NO_TOOL if spec is None else spec.name}")
        others = [other for other in self.specs if spec is None or other.name != spec.name]
        if spec is not None and len(others) > _RIVALS:
            others = sorted(others, key=lambda other: -similarity(other.description, spec.description))
        among = others[:_RIVALS] if spec is not None else rng.sample(others, min(_RIVALS + 1, len(others)))
        among = [*among, spec] if spec is not None else among
        rng.shuffle(among)
        return among

    def _judge(self, spec: ToolSpec | None, name: str, draft: Draft, choice: str | None) -> None:
        """Keep or reject one draft, and record it either way."""
        fault = _fault(spec, draft)
        if fault is None and choice != (None if spec is None else spec.name):
            chosen = f"the generator says that the request needs {choice or 'no tool'}"
            fault = ("needs a tool" if spec is None else "other tool", chosen)
        if fault is None and (other := self.store.duplicates.like(draft.request)) is not None:
            fault = ("duplicate", f"like {other!r}")
        result: str | None = None
        if fault is None and spec is not None and spec.name in self.runnable:
            result, error = _executed(self.runnable[spec.name], _arguments(spec, draft))
            if result is None:
                fault = ("failed", error)
            elif result.strip() and draft.answer.partition(RESULT)[0].rstrip().endswith(result.strip()):
                fault = ("result given away", f"the answer already says {result!r}")
        if fault is not None:
            self.store.reject(name, draft, *fault)
            return
        self.store.keep(name, _row(spec, draft, result))
        self._report()

    def _report(self) -> None:
        if self.progress is not None:
            self.progress(min(sum(self.store.kept.values()), self.total), self.total, "synthesis")

    def _failed(self, error: Exception) -> SynthesisError:
        where = (
            f"; {len(self.store.rows)} rows are in {self.store.path}: run it again to continue"
            if self.store.path
            else ""
        )
        return SynthesisError(f"the generator failed ({type(error).__name__}: {error}){where}")


def _fault(spec: ToolSpec | None, draft: Draft) -> tuple[Reason, str] | None:
    """Return what is wrong with a draft on its own, or None."""
    if draft.fault:
        return "unreadable", draft.fault
    if not draft.request.strip():
        return "unreadable", "the request is empty"
    if spec is None:
        return None if draft.answer.strip() else ("unreadable", "the answer is empty")
    try:
        arguments = checked_arguments(spec, draft.arguments or {})
    except ValueError as error:
        return "schema", str(error)
    missing = missing_arguments(spec, arguments, draft.request)
    return ("arguments", f"not in the request: {', '.join(missing)}") if missing else None


def _arguments(spec: ToolSpec, draft: Draft) -> dict[str, Any]:
    return checked_arguments(spec, draft.arguments or {})


def _row(spec: ToolSpec | None, draft: Draft, result: str | None) -> dict[str, Any]:
    user = {"role": "user", "content": draft.request.strip()}
    if spec is None:
        return {"messages": [user, {"role": "assistant", "content": draft.answer.strip()}]}
    lead, _, rest = draft.answer.partition(RESULT)
    function = {"name": spec.name, "arguments": json.dumps(_arguments(spec, draft), ensure_ascii=False)}
    call = {"id": "call_1", "type": "function", "function": function}
    messages: list[dict[str, Any]] = [
        user,
        # The LM itself writes a space before the result (`prompts.turns.join_result`).
        {"role": "assistant", "content": lead.strip(), "tool_calls": [call]},
    ]
    if result is not None:
        messages.append({"role": "tool", "tool_call_id": "call_1", "content": result})
        if rest.strip():
            messages.append({"role": "assistant", "content": rest.rstrip()})
    return {"messages": messages}


def _runnable(
    given: Sequence[ToolLike | ToolSpec], specs: Sequence[ToolSpec], execute: bool | Collection[str]
) -> dict[str, BaseTool]:
    """Return the tools that may be run, by name."""
    if execute is False:
        return {}
    tools = {spec.name: tool for spec, tool in zip(specs, given, strict=True) if isinstance(tool, BaseTool)}
    if execute is True:
        return {name: tool for name, tool in tools.items() if not _may_change_things(tool)}
    for name in execute:
        if name not in tools:
            known = ", ".join(tools) or "none"
            raise SynthesisError(f"'{name}' can't be run; the tools that can be run are: {known}")
    return {name: tools[name] for name in execute}


def _may_change_things(tool: BaseTool) -> bool:
    hints = tool.metadata or {}
    return hints.get("readOnlyHint") is False or hints.get("destructiveHint") is True


def _executed(tool: BaseTool, arguments: dict[str, Any]) -> tuple[str | None, str]:
    """Run the tool; return (result, "") or (None, what went wrong)."""
    call = {"type": "tool_call", "name": tool.name, "args": arguments, "id": "call_1"}
    try:
        if getattr(tool, "func", tool) is None:  # only a coroutine; in another thread, as an event loop may run in this
            with ThreadPoolExecutor(1) as thread:
                message = thread.submit(lambda: asyncio.run(tool.ainvoke(call))).result()
        else:
            message = tool.invoke(call)
    except Exception as error:  # noqa: BLE001 - a user's tool may raise anything
        return None, f"{type(error).__name__}: {error}"
    if not isinstance(message, ToolMessage):
        return str(message), ""
    return (None, message.text) if message.status == "error" else (str(message.text), "")


def _counted(reasons: Counter[Reason]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "nothing was drafted"
