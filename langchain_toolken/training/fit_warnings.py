"""What a fit warns of: dropped rows, tools without calls, names that say nothing."""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from langchain_core.messages import HumanMessage

from langchain_toolken.toolkens.priors import says_nothing
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import Demonstration, DroppedRow

_PACKAGE = f"{Path(__file__).parents[1]}{os.sep}"


class ToolkenFitWarning(UserWarning):
    """Toolkens were made, but not from what a user might think: rows dropped, tools without demonstrations."""


def warn(message: str) -> None:
    """Issue a ToolkenFitWarning that names the user's line, the first one outside of this package."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, ToolkenFitWarning, stacklevel=level)


def warn_of_dropped(dropped: Sequence[DroppedRow]) -> None:
    """Warn of rows that were not used, naming the first ones."""
    if dropped:
        shown = "; ".join(map(str, dropped[:5])) + ("; …" if len(dropped) > 5 else "")
        warn(f"{len(dropped)} demonstrations were dropped. {shown}")


def warn_of_unseen(unseen: Sequence[str]) -> None:
    """Warn of tools that no demonstration calls, naming the first ones."""
    if unseen:
        shown = ", ".join(unseen[:10]) + (f" and {len(unseen) - 10} more" if len(unseen) > 10 else "")
        warn(f"no demonstration calls {shown}: their toolkens only learn when not to fire, and stay near their priors")


def warn_without_plain_requests(demonstrations: Sequence[Demonstration]) -> None:
    """Warn if some demonstrations call a tool as soon as they are asked, and none is asked something and calls none."""
    asked = [one for one in demonstrations if not one.before or isinstance(one.before[-1], HumanMessage)]
    at_once = any(call.start == 0 or not one.text[: call.start].strip() for one in asked for call in one.calls)
    if at_once and all(one.calls for one in asked):
        warn(
            "no demonstration is without a call: nothing in them shows which requests need no tool, and how many of "
            'those would get a call can\'t be measured on them. Add some: {"messages": [a question, its answer]}'
        )


def warn_of_names(specs: Sequence[ToolSpec]) -> None:
    """Warn of names that say nothing, where a prior would be made of them."""
    for described, advice in (
        (True, "say nothing, so the descriptions take their place in the priors"),
        (False, "say nothing and there is no description, so the priors are noise: describe the tools or rename them"),
    ):
        names = [spec.name for spec in specs if says_nothing(spec.name) and bool(spec.description.strip()) == described]
        if names:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            warn(f"the names {shown} {advice}")
