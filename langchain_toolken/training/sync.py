"""Keep a toolken set in sync with tools that change, such as those of MCP servers (`toolken sync`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from langchain_toolken.errors import ToolkenError
from langchain_toolken.toolkens.renaming import new_names, place_of, renamed
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.mcp import MCPTools
from langchain_toolken.tools.spec import ToolSpec, schema_fault, tool_specs
from langchain_toolken.training.fit import fit
from langchain_toolken.training.options import Demonstrations, Model, Tools
from langchain_toolken.training.result import FitResult
from langchain_toolken.training.steps import Gathered, fit_result, read_tools, the_lm
from langchain_toolken.training.update import update


@dataclass(frozen=True)
class Changes:
    """What differs between a set and the tools there are now: names of tools.

    Attributes:
        added: Tools without a toolken.
        updated: Tools whose description or arguments changed.
        dropped: Tools of servers that no longer list them.
        renamed: Tools that are named otherwise now, new names by old ones.
    """

    added: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.updated or self.dropped or self.renamed)


@dataclass(frozen=True, eq=False)
class SyncResult:
    """A set that is in sync.

    Attributes:
        toolkens: The set.
        changes: What was done.
        fit: How new toolkens were made; None if nothing had changed.
    """

    toolkens: ToolkenSet
    changes: Changes
    fit: FitResult | None = None


def changes_of(toolkens: ToolkenSet, specs: Sequence[ToolSpec]) -> Changes:
    """Compare a set with the tools there are now.

    A tool of an MCP server is the same one under another name if server and name on it are the same: its name changes
    where that of another server's tool begins or ceases to be the same. It has changed if the hash of how the server
    lists it has. Tools of the set that come from no server are never dropped.
    """
    return _following(toolkens, specs)[1]


def _following(toolkens: ToolkenSet, specs: Sequence[ToolSpec]) -> tuple[ToolkenSet, Changes]:
    """Return the set without the tools that are gone, under today's names, and all changes."""
    now = {spec.name: spec for spec in specs}
    places = {place_of(spec) for spec in specs}
    ours = {place_of(spec) for spec in toolkens.specs}
    dropped = tuple(
        spec.name
        for spec in toolkens.specs
        if spec.origin is not None
        and place_of(spec) not in places
        # Under its name there may be a tool that the set does not know, as after a server's name has changed.
        and (spec.name not in now or place_of(now[spec.name]) in ours)
    )
    kept = toolkens.remove(dropped)
    names = new_names(kept, specs)
    kept = renamed(kept, names)
    before = {spec.name: spec for spec in kept.specs}
    changes = Changes(
        added=tuple(name for name in now if name not in before),
        updated=tuple(name for name, spec in before.items() if name in now and _differ(spec, now[name])),
        dropped=dropped,
        renamed=tuple(names.items()),
    )
    return kept, changes


def sync(
    toolkens: ToolkenSet,
    tools: Tools,
    demonstrations: Demonstrations = None,
    *,
    model: Model | None = None,
    **load: Any,
) -> SyncResult:
    """Add, update, rename and drop what changed. Without changes no LM is loaded.

    Rows that were fitted on demonstrations stay bit for bit as they are, under a new name too; a tool's new description
    and arguments are taken over, and its demonstrations that break the new schema are left out. New tools are fitted as
    `update` fits them. A set that was fitted on no demonstrations is fitted anew, so that it is what a fit of today's
    tools gives.

    Args:
        toolkens: The set.
        tools: All tools that its servers list now, `mcp(...)`. Tools of the set that come from no server stay.
        demonstrations: Of new tools.
        model: The LM; None for the one that the set was fitted for.
        **load: Arguments of `load_language_model`.

    Raises:
        ToolkenSetError: The set belongs to another LM. Other errors are those of `fit`.
    """
    made = read_tools(tools)
    specs = tool_specs(made)
    kept, changes = _following(toolkens, specs)
    if not changes:
        return SyncResult(toolkens, changes)
    if model is None:
        model, load = toolkens.made_for.model_id, {"revision": toolkens.made_for.revision, **load}
    lm = the_lm(model, load)
    toolkens.check_fits(lm.identity)
    now = {spec.name: spec for spec in specs}
    if not toolkens.provenance.demonstrations:
        by_name = dict(zip(now, made, strict=True))
        ordered = [by_name.pop(spec.name, spec) for spec in kept.specs]
        ours = toolkens.provenance
        done = fit(lm, [*ordered, *by_name.values()], demonstrations, style=ours.style, reinjection=ours.reinjection)
    elif changes.added:
        done = update(lm, _fitting(kept, now), made, demonstrations)
    else:
        described = _fitting(kept, now).describe([now.get(spec.name, spec) for spec in kept.specs])
        done = fit_result(lm, described, Gathered(dropped=(), unseen=()))
    return SyncResult(done.toolkens, changes, done)


def sync_folder(
    folder: str | Path,
    tools: Tools,
    demonstrations: Demonstrations = None,
    *,
    model: Model | None = None,
    **load: Any,
) -> SyncResult:
    """Bring the set in `folder` in sync, and save it there if anything changed. See `sync`."""
    synced = sync(ToolkenSet.load(folder), tools, demonstrations, model=model, **load)
    if synced.fit is not None:
        synced.fit.save(folder)
    return synced


def keep_in_sync(
    folder: str | Path,
    tools: MCPTools,
    demonstrations: Demonstrations = None,
    *,
    model: Model | None = None,
    synced: Callable[[SyncResult], None] | None = None,
    failed: Callable[[ToolkenError], None] | None = None,
    **load: Any,
) -> SyncResult:
    """Bring the set in `folder` in sync now, and again whenever a server says that its tools have changed.

    It goes on until the tools are closed. The LM stays loaded after it is first needed.

    Args:
        folder: The set's folder.
        tools: The running servers.
        demonstrations: Of new tools.
        model: See `sync`.
        synced: Called with each later result, in another thread.
        failed: Called with what went wrong later, in another thread; the set stays as it was, and the next change is
            tried again. None: it is logged.
        **load: See `sync`.

    Returns:
        The first result.
    """
    first = sync_folder(folder, tools, demonstrations, model=model, **load)
    lm: Model | None = first.fit.lm if first.fit is not None else model

    def again() -> None:
        nonlocal lm
        try:
            tools.refresh()
            done = sync_folder(folder, tools, demonstrations, model=lm, **load)
        except ToolkenError as error:
            if failed is None:
                raise
            failed(error)
            return
        if done.fit is not None:
            lm = done.fit.lm
        if synced is not None:
            synced(done)

    tools.watch(again)
    return first


def _differ(before: ToolSpec, now: ToolSpec) -> bool:
    if before.origin is not None and now.origin is not None:
        return before.origin != now.origin
    return before != now


def _fitting(toolkens: ToolkenSet, now: dict[str, ToolSpec]) -> ToolkenSet:
    """Leave out demonstrated calls that break what the tools take now: cards would show the LM what no longer fits."""
    calls = toolkens.examples.calls
    kept = [one for one in calls if one.tool not in now or schema_fault(now[one.tool], dict(one.arguments)) is None]
    return (
        toolkens
        if len(kept) == len(calls)
        else replace(toolkens, examples=replace(toolkens.examples, calls=tuple(kept)))
    )
