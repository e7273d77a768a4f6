"""What a fit tells its caller besides the toolkens: dropped rows, tools without calls, names that say nothing."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from langchain_toolken.toolkens.priors import says_nothing
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import DroppedRow

# A warning names the line that called whoever calls these functions.
_CALLER = 3


class ToolkenFitWarning(UserWarning):
    """Toolkens were made, but not from what a user might think: rows dropped, tools without demonstrations."""


def warn(message: str) -> None:
    """A ToolkenFitWarning for whoever called the caller."""
    warnings.warn(message, ToolkenFitWarning, stacklevel=_CALLER)


def warn_of_dropped(dropped: Sequence[DroppedRow]) -> None:
    """Names the first rows that were not used, if any."""
    if dropped:
        shown = "; ".join(map(str, dropped[:5])) + ("; …" if len(dropped) > 5 else "")
        message = f"{len(dropped)} demonstrations were dropped. {shown}"
        warnings.warn(message, ToolkenFitWarning, stacklevel=_CALLER)


def warn_of_unseen(unseen: Sequence[str]) -> None:
    """Names the first tools that no demonstration calls, if any."""
    if unseen:
        shown = ", ".join(unseen[:10]) + (f" and {len(unseen) - 10} more" if len(unseen) > 10 else "")
        message = (
            f"no demonstration calls {shown}: their toolkens only learn when not to fire, and stay near their priors"
        )
        warnings.warn(message, ToolkenFitWarning, stacklevel=_CALLER)


def warn_of_names(specs: Sequence[ToolSpec]) -> None:
    """Of those that say nothing, where a prior would be made of them."""
    for described, advice in (
        (True, "say nothing, so the descriptions take their place in the priors"),
        (False, "say nothing and there is no description, so the priors are noise: describe the tools or rename them"),
    ):
        names = [spec.name for spec in specs if says_nothing(spec.name) and bool(spec.description.strip()) == described]
        if names:
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            warnings.warn(f"the names {shown} {advice}", ToolkenFitWarning, stacklevel=_CALLER)
