"""Toolkens follow their tools where these are named otherwise: the tools of MCP servers, as soon as names collide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from langchain_toolken.toolkens.examples import Examples
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.toolkens.slots import Slots
from langchain_toolken.tools.spec import ToolSpec


def new_names(toolkens: ToolkenSet, specs: Sequence[ToolSpec]) -> dict[str, str]:
    """Return how the set's tools are named now, by their old names, as far as that has changed.

    A tool of an MCP server is the same one if server and name on it are. A name that another tool of the set keeps is
    not given away.
    """
    now = {place_of(spec): spec.name for spec in specs if spec.origin is not None}
    found = {}
    for spec in toolkens.specs:
        name = None if spec.origin is None else now.get(place_of(spec))
        if name is not None and name != spec.name:
            found[spec.name] = name
    while taken := [old for old, name in found.items() if name in toolkens.names and name not in found]:
        for old in taken:
            del found[old]
    return found


def place_of(spec: ToolSpec) -> tuple[str, str] | None:
    """Return an MCP server's tool as server and name there; None for other tools."""
    return None if spec.origin is None else (spec.origin.server, spec.origin.tool)


def renamed(toolkens: ToolkenSet, names: Mapping[str, str]) -> ToolkenSet:
    """Name tools of a set otherwise. Their rows, examples and evidence stay; the words of descriptions follow the name.

    Args:
        toolkens: The set.
        names: New names by old ones.

    Raises:
        ToolkenSetError: Two tools would have one name.
    """
    if not names:
        return toolkens
    specs = tuple(spec.model_copy(update={"name": names.get(spec.name, spec.name)}) for spec in toolkens.specs)
    added = {names.get(name, name): how for name, how in toolkens.provenance.added.items()}
    return replace(
        toolkens,
        specs=specs,
        examples=_renamed_examples(toolkens.examples, names),
        evidence=None if toolkens.evidence is None else toolkens.evidence.describe(toolkens.specs, specs),
        provenance=toolkens.provenance.model_copy(update={"added": added}),
    )


def _renamed_examples(examples: Examples, names: Mapping[str, str]) -> Examples:
    settings, slots = examples.settings, examples.slots
    if settings is not None:
        figures = {
            "tools": {names.get(name, name): one for name, one in settings.tools.items()},
            "copied": {names.get(name, name): one for name, one in settings.copied.items()},
            "choices": {names.get(name, name): one for name, one in settings.choices.items()},
        }
        settings = settings.model_copy(update=figures)
    if slots is not None:
        slots = Slots({names.get(name, name): one for name, one in slots.of_tool.items()})
    calls = tuple(call.model_copy(update={"tool": names.get(call.tool, call.tool)}) for call in examples.calls)
    return Examples(calls, settings, slots)
