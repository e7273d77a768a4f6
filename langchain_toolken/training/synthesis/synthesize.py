"""Demonstrations without data: requests written from tools' names and descriptions, and only the sound ones kept.

A writer (`training.synthesis_writers`: a chat model, or the local LM) drafts a request, how the answer begins, and the
call. A draft becomes a row if all of this holds, in this order:

1. it could be read at all ("unreadable");
2. its arguments keep to the tool's schema ("schema");
3. their values stand in the request (`synthesis_checks.missing_arguments`; "arguments");
4. asked which tool the request needs, the writer says this one ("other tool"): sums of two numbers pass for all of
   a calculator's tools otherwise;
5. no earlier row has nearly the same request (`synthesis_checks.NearDuplicates`; "duplicate");
6. only where running the tool was allowed: it runs ("failed"), and the answer doesn't already say what it gives
   ("result given away"). The result goes into the row.

Requests that need no tool are made alike: 1, 4 (no tool chosen) and 5. Rows have OpenAI's chat form, which `fit` reads:
the request, the assistant's words and its call, and, if the tool ran, the result and the rest of the sentence. Without
a result a row ends with the call, because what follows depends on it: when to call is learnt, but not that no call is
due behind the result. So let tools run where they can (measured: benchmarks/synthesis.py).
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
from langchain_toolken.training.synthesis.file import NO_TOOL, Reason, SynthesisFile, SynthesisWarning
from langchain_toolken.training.synthesis.writers import RESULT, Draft, SynthesisError, Writer, writer_for

_RIVALS = 15
# As many tools as a prompt describes beside the one meant: more crowd out small LMs' contexts, and the likeliest rivals
# are those with similar descriptions, which are taken first.


@dataclass(frozen=True)
class Synthesis:
    """What was made.

    rows: in OpenAI's chat form, those that the file held before included. kept, rejected: counts by tool (`NO_TOOL` for
    requests that need none), over all runs that wrote the file. given_up: the tools at which it was given up.
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
    """Make `per_tool` demonstrations for each of `tools`, and some requests that need none.

    generator: who writes: a chat model, "provider:model" for LangChain's `init_chat_model`, or a `Writer` of your own;
        None: the LM of `engine` (in `style`; None: "chat" if its tokenizer has a chat template).
    out: JSONL that rows are appended to as they come. Rows that are there count, so that a run which was stopped goes
        on where it was. Beside it (demos.jsonl: demos.rejected.jsonl) stands every rejected draft and why; a run goes
        on behind the drafts that both files hold. With the local LM, the same seed and the same tools the file is the
        same whether or not it was interrupted. A last line that a kill cut off is dropped, with a warning.
    without_tool: how many requests that need no tool; None: half as many as there are to be calls, since toolkens
        that never see an answer without a call fire everywhere.
    execute: True or names: these tools may be run on the arguments drafted. Nothing is run by default, because a
        tool may do things. Tools whose metadata carry MCP's hints `readOnlyHint: False` or `destructiveHint: True` are
        run only if they are named.
    give_up_after: a tool that yields no row in so many drafts in a row is given up, with a warning that names it; the
        others go on. 80 is enough to find what passes once in 20 drafts (with 98%).

    Deterministic under `seed` with the local LM. What it does for a chat model: `ChatModelWriter`.

    Raises:
        SynthesisError: no generator (as `writer_for`); `out` holds something else; the generator fails (rows made so
            far stay in `out`); no row at all was made; a tool to run is not among the tools, or can't be run.
        ToolError: as `tool_specs`.
        ValueError: a count is out of range.
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
    store = SynthesisFile(None if out is None else Path(out), [spec.name for spec in specs])
    plain = (per_tool * len(specs) + 1) // 2 if without_tool is None else without_tool
    run = _Run(specs, runnable, generator, store, progress, seed, per_tool * len(specs) + plain)
    given_up = [spec.name for spec in specs if not run.make(spec, per_tool, give_up_after)]
    if not any(store.kept[spec.name] for spec in specs):
        reasons = sum((Counter(counts) for counts in store.rejected.values()), Counter())
        raise SynthesisError(
            f"no demonstration was made ({_counted(reasons)}). Give a stronger generator, better descriptions, or "
            "demonstrations of your own" + (f". What was rejected stands in {store.rejections}" if store.path else "")
        )
    if plain and not run.make(None, plain, give_up_after):
        given_up.append(NO_TOOL)
    made = Synthesis(tuple(store.rows), dict(store.kept), dict(store.rejected), tuple(given_up), store.path)
    for name in given_up:
        what = f"tool '{name}'" if name else "requests that need no tool"
        wanted = per_tool if name else plain
        warnings.warn(
            f"{what}: {store.kept[name]} of {wanted} rows, given up after {give_up_after} drafts without one "
            f"({_counted(Counter(store.rejected.get(name, {})))})",
            SynthesisWarning,
            stacklevel=2,
        )
    return made


@dataclass
class _Run:
    """One run's state: makes the rows of one tool after another."""

    specs: list[ToolSpec]
    runnable: Mapping[str, BaseTool]
    writer: Writer
    store: SynthesisFile
    progress: Progress | None
    seed: int
    total: int

    def make(self, spec: ToolSpec | None, wanted: int, give_up_after: int) -> bool:
        """Draft until `wanted` rows of a tool (None: of requests without one) are there; False if it was given up."""
        name = NO_TOOL if spec is None else spec.name
        misses = 0
        self._report()
        while self.store.kept[name] < wanted:
            drafts, skipped = self._drafts(spec, name)
            for draft, choice in list(zip(drafts, self._choices(spec, drafts), strict=True))[skipped:]:
                if self.store.kept[name] >= wanted:
                    break
                misses = 0 if self._judged(spec, name, draft, choice) else misses + 1
                if misses >= give_up_after:
                    return False
        return True

    def _drafts(self, spec: ToolSpec | None, name: str) -> tuple[list[Draft], int]:
        """The next batch, and how many of its drafts an earlier run has dealt with."""
        number, skipped = divmod(self.store.drafted(name), self.writer.batch)
        kept = self.store.requests[name]
        try:
            if spec is None:
                return self.writer.without_tool(self._rivals(None), number, kept), skipped
            return self.writer.for_tool(spec, number, kept), skipped
        except Exception as error:
            raise self._failed(error) from error

    def _choices(self, spec: ToolSpec | None, drafts: Sequence[Draft]) -> list[str | None]:
        """What the writer says that each draft's request needs; asked only for drafts that are sound so far."""
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

    def _judged(self, spec: ToolSpec | None, name: str, draft: Draft, choice: str | None) -> bool:
        """Keep or reject one draft, writing it down either way."""
        fault = _fault(spec, draft)
        if fault is None and choice != (None if spec is None else spec.name):
            chosen = f"the generator takes it for a request of {choice or 'no tool'}"
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
            return False
        self.store.keep(name, _row(spec, draft, result))
        self._report()
        return True

    def _report(self) -> None:
        if self.progress is not None:
            self.progress(min(sum(self.store.kept.values()), self.total), self.total, "synthesis")

    def _failed(self, error: Exception) -> SynthesisError:
        where = (
            f"; {len(self.store.rows)} rows are in {self.store.path}: run it again to go on" if self.store.path else ""
        )
        return SynthesisError(f"the generator failed ({type(error).__name__}: {error}){where}")


def _fault(spec: ToolSpec | None, draft: Draft) -> tuple[Reason, str] | None:
    """What is wrong with a draft by itself; None if nothing is."""
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
        # A space before the result is the LM's own (`prompts.format.join_result`).
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
    """The tools that may be run, by name."""
    if execute is False:
        return {}
    tools = {spec.name: tool for spec, tool in zip(specs, given, strict=True) if isinstance(tool, BaseTool)}
    if execute is True:
        return {name: tool for name, tool in tools.items() if not _may_change_things(tool)}
    for name in execute:
        if name not in tools:
            known = ", ".join(tools) or "none"
            raise SynthesisError(f"'{name}' is to be run and is not among the tools that can be (they are: {known})")
    return {name: tools[name] for name in execute}


def _may_change_things(tool: BaseTool) -> bool:
    hints = tool.metadata or {}
    return hints.get("readOnlyHint") is False or hints.get("destructiveHint") is True


def _executed(tool: BaseTool, arguments: dict[str, Any]) -> tuple[str | None, str]:
    """(result, "") or (None, what went wrong)."""
    call = {"type": "tool_call", "name": tool.name, "args": arguments, "id": "call_1"}
    try:
        if getattr(tool, "func", tool) is None:  # it has a coroutine only; a thread of its own, as a loop may run here
            with ThreadPoolExecutor(1) as thread:
                message = thread.submit(lambda: asyncio.run(tool.ainvoke(call))).result()
        else:
            message = tool.invoke(call)
    except Exception as error:  # noqa: BLE001 - somebody else's tool may raise anything
        return None, f"{type(error).__name__}: {error}"
    if not isinstance(message, ToolMessage):
        return str(message), ""
    return (None, message.text) if message.status == "error" else (str(message.text), "")


def _counted(reasons: Counter[Reason]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "nothing was drafted"
