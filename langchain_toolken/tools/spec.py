"""What a toolken needs to know of a tool: its name, its description and the JSON schema of its arguments.

`tool_spec` reads a `ToolSpec` from anything that LangChain accepts as a tool, and checks it: the arguments of every
spec it returns can be decoded under a grammar. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import NoneType
from typing import Any, cast, get_args, get_type_hints

from langchain_core.tools import BaseTool
from langchain_core.tools import tool as to_tool
from langchain_core.utils.function_calling import convert_to_openai_function
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import is_typeddict

from langchain_toolken.errors import ToolkenError
from langchain_toolken.tools.grammar import faulty_field, schema_grammar
from langchain_toolken.tools.schemas import resolve, type_name, without_titles

ToolLike = BaseTool | Callable[..., Any] | type[BaseModel] | Mapping[str, Any]
"""What LangChain binds as a tool: a `BaseTool`, a typed function, a class of typed fields or a dict."""


class ToolError(ToolkenError, ValueError):
    """A tool, or a file of tools, that cannot be used. The message names it and says what to do."""


class ToolSpec(BaseModel):
    """A tool, as far as a toolken and the LM need to know it.

    Attributes:
        name: What calls name it by.
        description: What it does. The LM reads the first line before it writes the arguments.
        json_schema: The arguments: an object schema without titles, whose `$ref`s resolve within it.
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
    """Read a tool in any form that LangChain binds.

    The forms are LangChain tools, typed functions, pydantic models (both versions), TypedDicts, and dicts: OpenAI's
    (`{"type": "function", "function": {...}}` or only the inner part), Anthropic's, Bedrock's, or a JSON schema with a
    title. A plain function is read as `@tool` reads it.

    Arguments that LangChain injects (`InjectedState`, `InjectedToolCallId`, `RunnableConfig`, ...) are left out,
    because the LM does not write them.

    Raises:
        ToolError: `tool` is not a tool, has no description, or has arguments that decoding cannot be constrained to.
    """
    if isinstance(tool, ToolSpec):
        argument_grammar(tool)
        return tool
    name, description, parameters = _read(tool)
    if not (description or "").strip():
        raise ToolError(
            f"tool {name!r} has no description: give its function a docstring (or the tool a description); its first "
            "line is what the LM reads before it writes the arguments"
        )
    return _checked_spec(name, str(description), parameters)


def tool_specs(tools: Iterable[ToolLike | ToolSpec], *, allow_repeats: bool = False) -> list[ToolSpec]:
    """Read several tools, in order.

    Args:
        tools: What to read, each as `tool_spec` takes it.
        allow_repeats: Accept a tool that is given more than once, and return it once.

    Raises:
        ToolError: Two tools have one name, or `tool_spec` raises it.
    """
    found: dict[str, ToolSpec] = {}
    for spec in map(tool_spec, tools):
        if spec.name in found and not (allow_repeats and found[spec.name] == spec):
            raise ToolError(
                f"two tools are named {spec.name!r}: a call names its tool, so rename one of them, for instance with "
                '@tool("another_name")'
            )
        found[spec.name] = spec
    return list(found.values())


def schema_spec(schema: object) -> ToolSpec:
    """Read the schema of an answer. Unlike a tool, it needs no description.

    Args:
        schema: A pydantic model, a TypedDict, a JSON schema with a title, or a `ToolSpec`.

    Raises:
        ValueError: `schema` does not describe an object, or is a JSON schema without a title.
        ToolError: It has fields that decoding cannot be constrained to.
    """
    if isinstance(schema, ToolSpec):
        return schema
    wanted = 'a pydantic model, a TypedDict, or a JSON schema with "title", "type": "object" and "properties"'
    kind = schema.get("type") if isinstance(schema, Mapping) else None
    if not isinstance(schema, type | Mapping) or kind not in (None, "object", "function"):
        raise ValueError(f"{schema!r} is not the schema of an object: give {wanted}")
    try:
        name, description, parameters = _read(schema)
    except ToolError as error:
        raise ValueError(
            f"{schema!r} cannot be read as a schema ({error.__cause__ or error}): give {wanted}"
        ) from error
    return _checked_spec(name, description or f"Give a {name}.", parameters)


def argument_grammar(spec: ToolSpec) -> str:
    """Return the grammar of the tool's arguments, as `schema_grammar` makes it.

    Raises:
        ToolError: llguidance cannot constrain decoding to one of the fields. The message names it.
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


def function_tool(function: Callable[..., Any]) -> BaseTool:
    """Make a LangChain tool of a plain typed function.

    Raises:
        ToolError: It has no docstring, or LangChain cannot read its arguments.
    """
    name = getattr(function, "__name__", None)
    if name is None:
        raise _not_a_tool(function)
    if not (function.__doc__ or "").strip():
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


def _read(tool: object) -> tuple[str, str | None, Mapping[str, Any]]:
    """Return the name, the description and the arguments' schema of a tool, unchecked."""
    if isinstance(tool, BaseTool):
        schema = tool.tool_call_schema
        parameters = schema if isinstance(schema, dict) else cast("type[BaseModel]", schema).model_json_schema()
        return tool.name, tool.description, parameters
    if isinstance(tool, type) and issubclass(tool, BaseModel):
        parameters = tool.model_json_schema()
        top = resolve(parameters, parameters)
        return top.get("title", tool.__name__), top.get("description"), parameters
    if isinstance(tool, type):
        return _read_function(_class_function(tool), tool)
    if isinstance(tool, Mapping):
        inner = tool.get("function") if tool.get("type") == "function" else None
        return _read_function(_dict_function(inner if isinstance(inner, Mapping) else tool), tool)
    if callable(tool):
        return _read(function_tool(tool))
    raise _not_a_tool(tool)


def _class_function(kind: type) -> dict[str, Any]:
    """Return LangChain's function dict of a TypedDict or another class with typed fields.

    LangChain reads a TypedDict's field of type "… | None" as an optional one that is not null where it is given. Here
    it may be null.
    """
    try:
        function = convert_to_openai_function(kind)
        hints = get_type_hints(kind) if is_typeddict(kind) else {}
    except (AttributeError, ValueError, TypeError, KeyError, NameError) as error:
        raise _not_a_tool(kind, f" that LangChain can read ({error})") from error
    properties = function.get("parameters", {}).get("properties", {})
    for name, hint in hints.items():
        if name in properties and NoneType in get_args(hint) and "null" not in type_name(properties[name], function):
            described = {key: properties[name].pop(key) for key in ("description",) if key in properties[name]}
            properties[name] = {**described, "anyOf": [properties[name], {"type": "null"}]}
    return function


def _dict_function(tool: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return convert_to_openai_function(dict(tool))
    except (AttributeError, ValueError, TypeError, KeyError) as error:
        raise ToolError(
            f"{_short(tool)} does not describe a tool: give "
            '{"name": ..., "description": ..., "parameters": {"type": "object", "properties": {...}}}'
        ) from error


def _read_function(function: Mapping[str, Any], given: object) -> tuple[str, str | None, Mapping[str, Any]]:
    parameters = function.get("parameters") or {}
    if not isinstance(function["name"], str) or not isinstance(parameters, Mapping):
        raise ToolError(f"{_short(given)} does not describe a tool: its name is text, its parameters a JSON schema")
    return function["name"], function.get("description"), parameters


def _checked_spec(name: str, description: str, parameters: Mapping[str, Any]) -> ToolSpec:
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
        spec = ToolSpec(name=name, description=description.strip(), json_schema=schema)
    except ValidationError as error:
        raise ToolError(f"tool {name!r}: {error.errors()[0]['msg']}") from error
    argument_grammar(spec)
    return spec


def _not_a_tool(given: object, why: str = "") -> ToolError:
    return ToolError(
        f"{_short(given)} is not a tool{why}: give a LangChain tool (@tool), a typed function with a docstring, a "
        "pydantic model, a TypedDict, or an OpenAI-style dict"
    )


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
