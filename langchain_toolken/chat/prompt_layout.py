"""How a chat model lays out its prompts, from its settings and from what its toolkens were fitted for."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from langchain_toolken.chat.settings import ToolMode
from langchain_toolken.prompts.format import PromptFormat, Reinjection, Style

if TYPE_CHECKING:
    from langchain_toolken.toolkens.set import ToolkenSet
    from langchain_toolken.toolkens.worked_answers import WorkedAnswers
    from langchain_toolken.tools.spec import ToolSpec


def prompt_layout(
    style: Style | None,
    reinjection: Reinjection | None,
    few_shot: str,
    tool_mode: ToolMode,
    toolkens: ToolkenSet | None,
    has_template: Callable[[], bool],
) -> PromptFormat:
    """Return the prompt format of a chat model.

    Args:
        style: The style that the caller asked for.
        reinjection: The re-injection that the caller asked for.
        few_shot: The examples that the caller gave.
        tool_mode: How tools are called. LMs that write their calls are trained with tool messages.
        toolkens: The given set.
        has_template: Whether the tokenizer has a chat template. It is called only if that decides.
    """
    fitted = None if toolkens is None or tool_mode == "prompt" else toolkens.provenance
    if style is None:
        style = fitted.style if fitted is not None else "chat" if has_template() else "completion"
    if reinjection is None and style == "chat":
        reinjection = "turn" if tool_mode == "prompt" else None if fitted is None else fitted.reinjection
    return PromptFormat(style, reinjection or "inline", few_shot)


def warn_if_overruled(
    style: Style | None, reinjection: Reinjection | None, tool_mode: ToolMode, toolkens: ToolkenSet | None
) -> None:
    """Warn if the caller puts results back in another way than the toolkens were fitted for."""
    learned = None if toolkens is None or tool_mode == "prompt" else toolkens.provenance.reinjection
    asked = "inline" if style == "completion" else reinjection
    if learned is None or asked in (None, learned):
        return
    given = f"reinjection={asked!r}" if style != "completion" else "style='completion', which puts results back inline,"
    warnings.warn(
        f"The toolkens were fitted for results put back as {learned!r}; {given} overrules that, and answers after a "
        "result may be worse. Leave it out to follow the toolkens.",
        UserWarning,
        stacklevel=4,
    )


def shown_answers(tool_mode: ToolMode, toolkens: ToolkenSet | None, tools: Sequence[ToolSpec]) -> WorkedAnswers | None:
    """Return the set's worked answers that call no other than `tools`; None where all tools are called in writing."""
    worked = None if toolkens is None or tool_mode == "prompt" or not tools else toolkens.examples.worked
    return None if worked is None else worked.select([spec.name for spec in tools])
