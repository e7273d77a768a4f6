"""Tools described in the prompt, for LMs that call them by writing and not by toolken (DESIGN §3).

A description comes from whoever wrote the tool, an MCP server among them: in a chat template each of its texts is
hidden behind a stand-in, as messages are, and only JSON schema's own words reach the template.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from langchain_toolken.prompts.tool_calls import CallLayout
from langchain_toolken.prompts.turns import Turn

if TYPE_CHECKING:
    from langchain_toolken.tools.spec import ToolSpec

_TYPES = frozenset({"string", "number", "integer", "boolean", "object", "array", "null"})
_NAMED = frozenset({"properties", "$defs", "definitions", "patternProperties"})  # their keys are names somebody gave
_KEYWORDS = _NAMED | {
    *("type", "required", "items", "prefixItems", "enum", "const", "default", "examples", "description", "title"),
    *("anyOf", "oneOf", "allOf", "not", "additionalProperties", "propertyNames", "contains", "$ref", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern"),
    *("minItems", "maxItems", "uniqueItems", "minProperties", "maxProperties"),
}


def openai_tool(spec: ToolSpec) -> dict[str, Any]:
    """The tool as OpenAI's API and chat templates take it."""
    function = {"name": spec.name, "description": spec.description, "parameters": spec.json_schema}
    return {"type": "function", "function": function}


def hidden_tool(spec: ToolSpec, hide: Callable[[str], str]) -> dict[str, Any]:
    """`openai_tool` with `hide(text)` in place of every text that is not JSON schema's own.

    A description is hidden line by line, because templates cut it at line breaks. `hide` gives the same for the same
    text: templates look names up in "required".
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
    """The tools as plain text, for prompts without a chat template that knows tools."""
    listed = "\n".join(f"- {spec.signature}: {spec.summary}" for spec in specs)
    form = f"{layout.marker}{layout.before_name}tool{layout.after_name}{{…}}}}"
    return f"You can call these tools. To call one, write {form}\n{listed}"


def with_tool_list(turns: Sequence[Turn], text: str, *, system: bool) -> list[Turn]:
    """`turns` with a tool list in front of the conversation.

    system: the prompt has a place for a system message; otherwise the list opens the first user message.
    """
    first = turns[0]
    if first.role in ("system", "developer"):
        return [Turn(first.role, f"{first.text}\n\n{text}"), *turns[1:]]
    if not system and first.role == "user":
        return [Turn("user", f"{text}\n\n{first.text}"), *turns[1:]]
    return [Turn("system", text), *turns]


def tool_card(spec: ToolSpec) -> str:
    """The just-in-time card: the one tool that was called, after the trigger; its arguments' JSON follows."""
    return f"\nTool: {spec.signature}\n{spec.summary}\nArguments: "


def tool_choices(specs: Sequence[ToolSpec], reject: str | None) -> str:
    """Tools to choose between, behind the trigger: a card of each and, named `reject`, none; the choice follows."""
    cards = [f"- {spec.signature}: {spec.summary}" for spec in specs]
    if reject is not None:
        cards.append(f"- {reject}: go on with words.")
    return "\n".join(["\nTools:", *cards, "Best:"])


def tool_name_lead() -> str:
    """How a card begins: the name of a tool follows."""
    return "\nTool:"
