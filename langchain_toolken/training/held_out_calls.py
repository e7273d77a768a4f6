"""The demonstrated calls whose arguments are known: those that a set keeps, and those that it tries its ways on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from langchain_toolken.decoding.local.copying import is_copied
from langchain_toolken.prompts.call_cards import Asked, CallExample, asked_in
from langchain_toolken.prompts.format import ANSWER, Reinjection
from langchain_toolken.toolkens.examples import chosen_examples
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.tools.value_kinds import fixed_choices
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration

CALLS_TRIED = 40
"""Most held-out calls."""

_CHOOSING = 8  # calls of a tool, and
_MOST_CHOOSING = 160  # calls of all tools, that its fixed choices are read in

_COPIED = 0.6  # of a parameter's values, from which on it counts as copied
_FEWEST_COPIED = 3  # values, below which a share says nothing
_COUNTED = 2  # values of its own that the share of all parameters counts as much as


@dataclass(frozen=True)
class ArgumentCalls:
    """The calls of some demonstrations whose arguments are known.

    Attributes:
        examples: What a set keeps of them.
        held_out: Calls to measure on, those of different tools in turn.
        copied: For each tool, the parameters whose values are mostly copied (`copied_parameters`).
        choosing: Calls of tools that have parameters of fixed choices.
        comparable: Whether the cards of these calls can show examples; not if each tool was called for one request.
    """

    examples: tuple[CallExample, ...]
    held_out: tuple[HeldOutCall, ...]
    copied: dict[str, tuple[str, ...]]
    choosing: tuple[HeldOutCall, ...] = ()
    comparable: bool = True


@dataclass(frozen=True)
class HeldOutCall:
    """A call of a demonstration.

    Attributes:
        spec: The tool.
        example: What was asked and the right arguments.
        demonstration: The demonstration.
        call: The call in it.
    """

    spec: ToolSpec
    example: CallExample
    demonstration: Demonstration
    call: DemonstratedCall


def argument_calls(
    demonstrations: Sequence[Demonstration],
    specs: Sequence[ToolSpec],
    reinjection: Reinjection,
    *,
    keep: bool = True,
    seed: int = 0,
) -> ArgumentCalls:
    """Gather the calls whose arguments the demonstrations show, and sample those to measure on.

    Args:
        demonstrations: The demonstrations, with checked arguments.
        specs: The tools.
        reinjection: Where results are in chat histories.
        keep: Whether a set may keep examples.
        seed: Decides which calls are sampled.
    """
    by_name = {spec.name: spec for spec in specs}
    found = [
        HeldOutCall(by_name[call.tool], example, demonstration, call)
        for demonstration in demonstrations
        for call in demonstration.calls
        if call.tool in by_name and (example := _example(demonstration, call, reinjection)) is not None
    ]
    kept = chosen_examples(one.example for one in found) if keep else ()
    with_others = [
        one
        for one in found
        if any(of_different_requests(one.example, other) for other in kept if other.tool == one.spec.name)
    ]
    of_tool: dict[str, list[HeldOutCall]] = {}
    for one in with_others or found:
        of_tool.setdefault(one.spec.name, []).append(one)
    rng = Random(f"held-out calls {seed}")
    shuffled = [rng.sample(calls, len(calls)) for _, calls in sorted(of_tool.items())]
    rng.shuffle(shuffled)
    in_turn = [
        calls[place] for place in range(max(map(len, shuffled), default=0)) for calls in shuffled if place < len(calls)
    ]
    copied = copied_parameters(one.example for one in found)
    with_choices = {spec.name for spec in specs if fixed_choices(spec)}
    choosing = [one for calls in shuffled for one in calls[:_CHOOSING] if one.spec.name in with_choices]
    held_out = tuple(in_turn[:CALLS_TRIED])
    return ArgumentCalls(kept, held_out, copied, tuple(choosing[:_MOST_CHOOSING]), comparable=bool(with_others))


def asked_of(demonstration: Demonstration, call: DemonstratedCall, reinjection: Reinjection) -> Asked:
    """Return what a call of a demonstration answers, as `call_cards.asked_in` does for a chat."""
    before = demonstration.text[: call.start]
    if demonstration.before:
        return asked_in(demonstration.before, reinjection, before)
    question, parted, answer = before.partition(ANSWER)
    if parted and question.startswith("Q:"):
        return Asked(question.removeprefix("Q:").strip(), answer)
    return Asked("", before)


def copied_parameters(examples: Iterable[CallExample]) -> dict[str, tuple[str, ...]]:
    """Return, for each tool, the parameters whose values mostly stand in what was asked, word for word.

    Where a parameter has one or two values, the share of all parameters together counts beside its own.
    """
    found: dict[tuple[str, str], list[bool]] = {}
    for example in examples:
        for name, value in example.arguments.items():
            found.setdefault((example.tool, name), []).append(is_copied(value, example.asked.text))
    every = [copied for own in found.values() for copied in own]
    if len(every) < _FEWEST_COPIED:
        return {}
    common = sum(every) / len(every)
    of_tool: dict[str, tuple[str, ...]] = {}
    for (tool, name), own in found.items():
        if sum(own) + _COUNTED * common >= _COPIED * (len(own) + _COUNTED):
            of_tool[tool] = (*of_tool.get(tool, ()), name)
    return of_tool


def same_arguments(spec: ToolSpec, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Return whether two arguments objects mean the same call: equal, but for arguments that have their default."""
    return _without_defaults(spec, one) == _without_defaults(spec, other)


def _without_defaults(spec: ToolSpec, arguments: Mapping[str, Any]) -> dict[str, Any]:
    fields, required = spec.json_schema.get("properties", {}), spec.json_schema.get("required", [])

    def is_default(name: str, value: Any) -> bool:
        field = fields.get(name)
        return name not in required and isinstance(field, Mapping) and value == field.get("default")

    return {name: value for name, value in arguments.items() if not is_default(name, value)}


def _example(demonstration: Demonstration, call: DemonstratedCall, reinjection: Reinjection) -> CallExample | None:
    if not isinstance(call.args, dict):
        return None
    try:
        asked = asked_of(demonstration, call, reinjection)
        return CallExample(tool=call.tool, request=asked.request, so_far=asked.so_far, arguments=call.args)
    except ValueError:  # a history without a layout, or a text that can't be saved
        return None


def of_different_requests(one: CallExample, other: CallExample) -> bool:
    """Return whether two calls are of different requests; of one request, each would give the other away."""
    if one.request or other.request:
        return one.request != other.request
    return one.so_far != other.so_far
