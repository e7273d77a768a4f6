"""Everything an LM reads about a tool: the card after a trigger, and descriptions of tools that it calls in writing.

A tool called by its toolken has no text in the prompt; its card comes after the trigger. Tools that the LM calls in
writing are described in the prompt. Descriptions are content, since anyone may have written them, an MCP server for
instance: a chat template gets a stand-in for each of their texts, as for messages, and sees only JSON Schema's own
keywords.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from langchain_toolken.prompts.tool_calls import CallLayout, in_plain_text, unmarked
from langchain_toolken.prompts.turns import Turn

if TYPE_CHECKING:
    from langchain_toolken.tools.spec import ToolSpec

_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties"})  # their keys are names, not keywords
_KEYWORDS = _NAMED | {
    *("type", "required", "items", "prefixItems", "enum", "const", "default", "examples", "description", "title"),
    *("anyOf", "oneOf", "allOf", "not", "additionalProperties", "propertyNames", "contains", "$ref", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern"),
    *("minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties"),
}


def tool_card(spec: ToolSpec) -> str:
    """Return the card of the one tool that was called. It follows the trigger, and its arguments' JSON follows it."""
    return f"\nTool: {spec.signature}\n{spec.summary}\nArguments: "


def tool_choices(specs: Sequence[ToolSpec], reject: str | None) -> str:
    """Return the cards of tools to choose between, which the LM reads after the trigger.

    Args:
        specs: The tools.
        reject: What choosing no tool is called; None if a tool has to be chosen.
    """
    cards = [f"- {spec.signature}: {spec.summary}" for spec in specs]
    if reject is not None:
        cards.append(f"- {reject}: go on with words.")
    return "\n".join(["\nTools:", *cards, "Best:"])


def tool_name_lead() -> str:
    """Return the beginning of a card, up to the tool's name."""
    return "\nTool:"


def openai_tool(spec: ToolSpec) -> dict[str, Any]:
    """Return the tool in OpenAI's form, which chat templates take too."""
    function = {"name": spec.name, "description": spec.description, "parameters": spec.json_schema}
    return {"type": "function", "function": function}


def hidden_tool(spec: ToolSpec, hide: Callable[[str], str]) -> dict[str, Any]:
    """Return `openai_tool(spec)` with `hide(text)` in place of every text that is not JSON Schema's own.

    Descriptions are hidden line by line, because templates split them at line breaks.

    Args:
        spec: The tool.
        hide: Returns the stand-in for a text. The same text must get the same one: templates look names up in
            "required".
    """
    function = {
        "name": hide(spec.name),
        "description": "\n".join(hide(line) for line in spec.description.split("\n")),
        "parameters": _hidden(spec.json_schema, hide),
    }
    return {"type": "function", "function": function}


def _hidden(value: Any, hide: Callable[[str], str], *, names: bool = False) -> Any:
    if isinstance(value, str):
        return "\n".join(hide(line) if line else "" for line in value.split("\n"))
    if isinstance(value, list):
        return [_hidden(item, hide) for item in value]
    if not isinstance(value, dict):
        return value
    hidden: dict[str, Any] = {}
    for key, item in value.items():
        own = not names and key in _KEYWORDS
        types = item if isinstance(item, list) else [item]
        if own and key == "type" and all(isinstance(one, str) and one in _TYPES for one in types):
            hidden[key] = item
        else:
            hidden[key if own else hide(key)] = _hidden(item, hide, names=own and key in _NAMED)
    return hidden


def tool_list(specs: Sequence[ToolSpec], layout: CallLayout) -> str:
    """List the tools as plain text, for prompts without a chat template that supports tools."""
    listed = unmarked("\n".join(f"- {spec.signature}: {spec.summary}" for spec in specs), layout)
    form = f"{layout.marker}{layout.before_name}tool{layout.after_name}{{…}}}}"
    return f"You can call these tools. To call one, write {form}\n{listed}"


def with_tool_list(turns: Sequence[Turn], specs: Sequence[ToolSpec], layout: CallLayout, *, system: bool) -> list[Turn]:
    """Put a list of the tools in front of the conversation.

    Where calls begin with plain text, those in the conversation are written so, and content loses the marker.

    Args:
        turns: The conversation.
        specs: The tools.
        layout: How the LM writes calls.
        system: Whether the prompt can have a system message. If not, the list begins the first user message.
    """
    text = tool_list(specs, layout)
    if layout.marker_id is None:
        turns = [in_plain_text(turn, layout) for turn in turns]
    first = turns[0]
    if first.role in ("system", "developer"):
        return [Turn(first.role, f"{first.text}\n\n{text}"), *turns[1:]]
    if not system and first.role == "user":
        return [Turn("user", f"{text}\n\n{first.text}"), *turns[1:]]
    return [Turn("system", text), *turns]
