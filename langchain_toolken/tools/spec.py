"""What a tool is to a toolken: its name, its description and the JSON schema of its arguments.

`ToolSpec` is that, `tool_spec` reads it off anything LangChain takes for a tool, `argument_grammar` turns it into the
grammar that arguments are decoded under, and `load_tools` finds the tools of a file or a module. Every tool is checked
once, here: what comes out can be constrained. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

from langchain_core.tools import BaseTool
from langchain_core.tools import tool as to_tool
from langchain_core.utils.function_calling import convert_to_openai_function
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import is_typeddict

from langchain_toolken.errors import ToolkenError
from langchain_toolken.tools.schemas import (
    faulty_field,
    resolve,
    schema_grammar,
    type_name,
    typed_dict_function,
    without_titles,
)

ToolLike = BaseTool | Callable[..., Any] | type[BaseModel] | Mapping[str, Any]
"""What LangChain binds as a tool: a `BaseTool`, a typed function, a pydantic model or an OpenAI-style dict."""


class ToolError(ToolkenError, ValueError):
    """A tool, or a file of tools, that cannot be used. The message names it and says what to do."""


class ToolSpec(BaseModel):
    """One tool as a toolken sees it.

    `json_schema` describes the arguments: an object schema whose `$ref`s resolve within it and which carries no titles.
    """

    model_config = ConfigDict(frozen=True)

    name: str = Field(min_length=1)
    description: str
    json_schema: dict[str, Any]

    @property
    def signature(self) -> str:
        """The tool as a typed call: `divide(a: number, b: number, digits?: integer)`; `?` marks an optional field."""
        required = self.json_schema.get("required", [])
        fields = (
            f"{name}{'' if name in required else '?'}: {type_name(field, self.json_schema)}"
            for name, field in self.json_schema.get("properties", {}).items()
        )
        return f"{self.name}({', '.join(fields)})"

    @property
    def summary(self) -> str:
        """The first line of the description."""
        return next(iter(self.description.strip().splitlines()), "").strip()


def tool_spec(tool: ToolLike | ToolSpec) -> ToolSpec:
    """The `ToolSpec` of a LangChain tool, typed function, pydantic model, TypedDict or OpenAI-style dict.

    Arguments that LangChain injects (`InjectedState`, `InjectedToolCallId`, `RunnableConfig`, ...) are not in it: an LM
    never writes them. A dict may be the outer form, `{"type": "function", "function": {...}}`, or the inner one.

    Raises `ToolError` for a tool without a description and for arguments that decoding cannot be constrained to.
    """
    if isinstance(tool, ToolSpec):
        spec = tool
    elif isinstance(tool, BaseTool):
        schema = tool.tool_call_schema
        parameters = schema if isinstance(schema, dict) else cast("type[BaseModel]", schema).model_json_schema()
        spec = _spec(tool.name, tool.description, parameters)
    elif isinstance(tool, Mapping):
        spec = _dict_spec(tool)
    elif isinstance(tool, type) and issubclass(tool, BaseModel):
        parameters = tool.model_json_schema()
        top = resolve(parameters, parameters)
        spec = _spec(top.get("title", tool.__name__), top.get("description"), parameters)
    elif isinstance(tool, type) and is_typeddict(tool):
        spec = _dict_spec(typed_dict_function(tool))
    elif callable(tool):
        return tool_spec(function_tool(tool))
    else:
        raise ToolError(
            f"{tool!r} is not a tool: give a LangChain tool (@tool), a typed function with a docstring, a pydantic "
            "model, or an OpenAI-style dict"
        )
    argument_grammar(spec)
    return spec


def tool_specs(tools: Iterable[ToolLike | ToolSpec]) -> list[ToolSpec]:
    """The spec of each tool, in order. Raises `ToolError` if two have one name, or as `tool_spec` does."""
    specs = [tool_spec(tool) for tool in tools]
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise ToolError(
                f"two tools are named {spec.name!r}: a toolken stands for one tool, so rename one of them, "
                'for instance with @tool("another_name")'
            )
        seen.add(spec.name)
    return specs


def argument_grammar(spec: ToolSpec) -> str:
    """The llguidance grammar of the tool's arguments: one compact JSON object, valid against `spec.json_schema`.

    Whitespace is fixed, since a weak LM pads flexible whitespace for ever (DESIGN §6). Objects that list their
    properties take no others, as the functions behind them do not.

    Raises `ToolError` that names the tool and the field which llguidance cannot constrain.
    """
    grammar, fault = schema_grammar(spec.json_schema)
    if not fault:
        return grammar
    field, reason = faulty_field(spec.json_schema)
    place = f"its argument {field!r}" if field else "its arguments"
    raise ToolError(
        f"tool {spec.name!r}: {place} cannot be constrained while decoding ({reason or fault}); use numbers, strings, "
        "booleans, enums, lists and nested objects of these"
    )


def _spec(name: str, description: str | None, parameters: Mapping[str, Any]) -> ToolSpec:
    if not (description or "").strip():
        raise ToolError(
            f"tool {name!r} has no description: give its function a docstring (or the tool a description); its first "
            "line is what the LM reads before it writes the arguments"
        )
    schema = without_titles(parameters)
    schema.pop("description", None)
    top = schema.pop("$ref", None)
    if top is not None:
        # A model that contains itself: pydantic puts all of it into $defs. Its fields belong on top.
        target = resolve({"$ref": top}, schema)
        schema = {**target, **schema}
        schema.pop("description", None)
    schema.setdefault("type", "object")
    if schema["type"] != "object":
        raise ToolError(
            f"tool {name!r}: its arguments are of type {schema['type']!r}; a tool takes named arguments, an object"
        )
    schema.setdefault("properties", {})
    try:
        return ToolSpec(name=name, description=str(description).strip(), json_schema=schema)
    except ValidationError as error:
        raise ToolError(f"tool {name!r}: {error.errors()[0]['msg']}") from error


def _dict_spec(tool: Mapping[str, Any]) -> ToolSpec:
    inner = tool["function"] if tool.get("type") == "function" and isinstance(tool.get("function"), Mapping) else tool
    try:
        function = convert_to_openai_function(dict(inner))
    except (ValueError, TypeError, KeyError) as error:
        raise ToolError(
            f"{_short(tool)} does not describe a tool: give "
            '{"name": ..., "description": ..., "parameters": {"type": "object", "properties": {...}}}'
        ) from error
    parameters = function.get("parameters") or {}
    if not isinstance(function["name"], str) or not isinstance(parameters, Mapping):
        raise ToolError(f"{_short(tool)} does not describe a tool: its name is text, its parameters a JSON schema")
    return _spec(function["name"], function.get("description"), parameters)


def function_tool(function: Callable[..., Any]) -> BaseTool:
    name = getattr(function, "__name__", repr(function))
    if not (getattr(function, "__doc__", None) or "").strip():
        raise ToolError(f"tool {name!r} has no description: give its function a docstring")
    try:
        made = to_tool(function)
    except (ValueError, TypeError, NameError) as error:
        raise ToolError(
            f"tool {name!r}: LangChain cannot read its arguments ({error}); give each one a type"
        ) from error
    if not isinstance(made, BaseTool):
        raise ToolError(f"tool {name!r}: {type(function).__name__} is not a function that LangChain makes a tool of")
    return made


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
