"""The tools that a caller gives the chat model: what `bind_tools` binds of them, and which ones `rank_tools` ranks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_toolken.chat.backtracing import validators_of
from langchain_toolken.chat.settings import choice_among
from langchain_toolken.prompts.tool_cards import openai_tool
from langchain_toolken.tools.spec import ToolSpec, tool_specs

if TYPE_CHECKING:
    from langchain_toolken.toolkens.set import ToolkenSet


def binding(tools: Sequence[Any], tool_choice: object) -> dict[str, Any]:
    """Return what `bind_tools` binds: keyword arguments of a call, which `settings.read_call_options` reads.

    Args:
        tools: Tools in any form that LangChain binds.
        tool_choice: As `settings.choice_among` takes it.

    Raises:
        ToolError: Something in `tools` is not a tool or has no description, or two tools have the same name.
        InvalidRequestError: `tool_choice` is not understood, or names a tool that is not in `tools`.
    """
    specs = tool_specs(tools, allow_repeats=True)
    choice_among(tool_choice, [spec.name for spec in specs])
    bound: dict[str, Any] = {"tools": [openai_tool(spec) for spec in specs]}
    if tool_choice is not None:
        bound["tool_choice"] = tool_choice
    if models := validators_of(tools):
        bound["argument_models"] = models
    return bound


def tools_to_rank(tools: Sequence[Any] | None, toolkens: ToolkenSet | None, k: int) -> Sequence[ToolSpec]:
    """Return the tools to rank: `tools` or, if it is None, all that have a toolken.

    Raises:
        ValueError: k, the number of tools to return, is less than 1, or there are no tools.
        ToolError: Something in `tools` is not a tool or has no description, or two tools have the same name.
    """
    if k < 1:
        raise ValueError(f"k must be 1 or more, not {k}.")
    every = () if toolkens is None else toolkens.specs
    specs = every if tools is None else tool_specs(tools, allow_repeats=True)
    if not specs:
        raise ValueError("There are no tools to rank: give tools=….")
    return specs
