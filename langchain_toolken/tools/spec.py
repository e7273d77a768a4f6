"""What a toolken needs to know of a tool: its name, its description and the JSON schema of its arguments.

`tool_spec` reads a `ToolSpec` from anything that LangChain accepts as a tool, and checks it: the arguments of every
spec it returns can be decoded under a grammar. Loads no torch.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import NoneType
from typing import Any, cast, get_args, get_type_hints

from langchain_core.tools import BaseTool
from langchain_core.tools import tool as to_tool
from langchain_core.utils.function_calling import convert_to_openai_function
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError
from pydantic.v1 import BaseModel as OldBaseModel
from typing_extensions import is_typeddict

from langchain_toolken.errors import ToolkenError
from langchain_toolken.tools.checks import argument_fault
from langchain_toolken.tools.grammar import SchemaGrammar, schema_grammar
from langchain_toolken.tools.schemas import ANNOTATIONS, SchemaError, plain_schema, resolve, schema_text
from langchain_toolken.tools.signatures import signature, type_name

ToolLike = BaseTool | Callable[..., Any] | type[BaseModel] | Mapping[str, Any]
"""What LangChain binds as a tool: a `BaseTool`, a typed function, a class of typed fields or a dict."""


class ToolError(ToolkenError, ValueError):
    """A tool, or a file of tools, that cannot be used. The message names it and says what to do."""


class MCPError(ToolError):
    """An MCP server that can't be used, or a call that did not reach its end. The message names the server."""


class ToolOrigin(BaseModel):
    """Which tool of which MCP server a tool is. `tools.mcp` writes it into the metadata of the tools it makes.

    Attributes:
        server: The server's name in the file of servers.
        tool: The tool's name there; calls may name it otherwise, where two servers have one of that name.
        sha256: Of the name, the description and the arguments' schema, as the server listed them.
    """

    model_config = ConfigDict(frozen=True)

    server: str
    tool: str
    sha256: str


class ToolSpec(BaseModel):
    """A tool, as far as a toolken and the LM need to know it.

    Attributes:
        name: What calls name it by.
        description: What it does. The LM reads the first line before it writes the arguments.
        json_schema: The arguments: an object schema without titles, whose `$ref`s resolve within it.
        origin: Where an MCP server's tool comes from, so that a set can be kept in sync; None for other tools.
    """

    model_config = ConfigDict(frozen=True)

    name: str = Field(min_length=1)
    description: str
    json_schema: dict[str, Any]
    origin: ToolOrigin | None = None

    @property
    def signature(self) -> str:
        """The tool as a typed call: `divide(a: number, b: number, digits?: integer)`; `?` marks an optional field."""
        return signature(self.name, self.json_schema)

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

    A tool without a description, as MCP servers may have them, is described by its name, with a warning. Keywords of
    its schema that a grammar can't hold are warned of too; the arguments are checked against them when decoded.

    Raises:
        ToolError: `tool` is not a tool, is a function without a docstring, or has arguments that decoding cannot be
            constrained to.
    """
    if isinstance(tool, ToolSpec):
        _warn_of_left_out(tool.name, _grammar(tool).left_out)
        return tool
    name, description, parameters = _read(tool)
    if not (description or "").strip():
        description = name
        _warn_of_description(name)
    spec = _checked_spec(name, str(description), parameters)
    _warn_of_left_out(name, _grammar(spec).left_out)
    origin = origin_of(tool)
    return spec if origin is None else spec.model_copy(update={"origin": origin})


def origin_of(tool: object) -> ToolOrigin | None:
    """Return which tool of which MCP server a LangChain tool is; None for others."""
    of_mcp = (tool.metadata or {}).get("mcp") if isinstance(tool, BaseTool) else None
    found = of_mcp.get("origin") if isinstance(of_mcp, Mapping) else None
    try:
        return None if found is None else ToolOrigin.model_validate(found)
    except ValidationError:
        return None  # another package's metadata of that name


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
    spec = _checked_spec(name, description or f"Give a {name}.", parameters)
    _warn_of_left_out(name, _grammar(spec).left_out)
    return spec


def argument_grammar(spec: ToolSpec) -> str:
    """Return the grammar of the tool's arguments, as `schema_grammar` makes it.

    Raises:
        ToolError: llguidance cannot constrain decoding to one of the fields. The message names it.
    """
    return _grammar(spec).text


def takes_no_arguments(spec: ToolSpec) -> bool:
    """Return whether `{}` is the only arguments object that is decoded, so that no step of the LM is needed."""
    return _grammar(spec).fixed


def schema_fault(spec: ToolSpec, arguments: dict[str, Any]) -> str | None:
    """Return why decoded arguments break the tool's schema, or None if they don't.

    The grammar holds most of the schema; this checks all of it.
    """
    fault = argument_fault(spec.json_schema, arguments)
    if fault is None:
        return None
    place, message = fault
    return f"The arguments break the schema of {spec.name!r}{f' at {place!r}' if place else ''}: {message}."


def _grammar(spec: ToolSpec) -> SchemaGrammar:
    grammar = schema_grammar(spec.json_schema)
    if grammar.fault:
        place = f"its argument {grammar.field!r}" if grammar.field else "its arguments"
        raise ToolError(
            f"tool {spec.name!r}: {place} cannot be constrained while decoding ({grammar.fault}); use numbers, "
            "strings, booleans, enums, lists and nested objects of these"
        )
    return grammar


@lru_cache(maxsize=4096)  # every call reads its tools again; one warning each is enough
def _warn_of_left_out(name: str, left_out: tuple[str, ...]) -> None:
    if left_out:
        listed = ", ".join(left_out[:5]) + (f" and {len(left_out) - 5} more" if len(left_out) > 5 else "")
        warnings.warn(
            f"tool {name!r}: decoding can't hold {listed}. The arguments are checked for that when they are there; a "
            "call that fails is reported in invalid_tool_calls.",
            UserWarning,
            stacklevel=3,
        )


@lru_cache(maxsize=4096)
def _warn_of_description(name: str) -> None:
    warnings.warn(
        f"tool {name!r} has no description and is described by its name: give it one, whose first line the LM reads "
        "before it writes the arguments",
        UserWarning,
        stacklevel=3,
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
        return tool.name, tool.description, _model_schema(tool.name, lambda: tool.tool_call_schema)
    if isinstance(tool, type) and issubclass(tool, BaseModel | OldBaseModel):
        parameters = _model_schema(tool.__name__, lambda: tool)
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


def _model_schema(name: str, model: Callable[[], object]) -> dict[str, Any]:
    """Return the JSON schema of the pydantic model (of either version), or of the dict, that `model` returns."""
    try:
        made = model()
        if isinstance(made, dict):
            return made
        if isinstance(made, type) and issubclass(made, OldBaseModel):
            return made.schema()
        return cast("type[BaseModel]", made).model_json_schema()
    except (AttributeError, ValueError, TypeError, KeyError, NameError, RecursionError, PydanticUserError) as error:
        raise ToolError(
            f"tool {name!r}: its arguments have no JSON schema ({error}); use numbers, strings, booleans, enums, lists "
            "and nested objects of these"
        ) from error


def _class_function(kind: type) -> dict[str, Any]:
    """Return LangChain's function dict of a TypedDict or another class with typed fields.

    LangChain reads a TypedDict's field of type "… | None" as an optional one that is not null where it is given. Here
    it may be null.
    """
    try:
        function = convert_to_openai_function(kind)
        hints = get_type_hints(kind) if is_typeddict(kind) else {}
    except (AttributeError, ValueError, TypeError, KeyError, NameError, RecursionError) as error:
        raise _not_a_tool(kind, f" that LangChain can read ({error})") from error
    properties = function.get("parameters", {}).get("properties", {})
    for name, hint in hints.items():
        if name in properties and NoneType in get_args(hint) and "null" not in type_name(properties[name], function):
            described = {key: properties[name].pop(key) for key in ("description",) if key in properties[name]}
            properties[name] = {**described, "anyOf": [properties[name], {"type": "null"}]}
    return function


def _dict_function(tool: Mapping[str, Any]) -> dict[str, Any]:
    if "name" in tool and isinstance(tool.get("inputSchema"), Mapping):  # MCP's own form
        return {"name": tool["name"], "description": tool.get("description"), "parameters": tool["inputSchema"]}
    if "title" in tool and not {"name", "toolSpec"} & set(tool):
        # A JSON schema. LangChain would drop all of one whose fields are not in "properties".
        schema = {key: value for key, value in tool.items() if key not in ("title", "description")}
        return {"name": tool["title"], "description": tool.get("description"), "parameters": schema}
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
    try:
        schema = plain_schema(parameters)
        schema_text({"name": name, "description": description})
    except SchemaError as error:
        raise ToolError(f"tool {name!r}: it cannot be read: {error}") from error
    schema.pop("description", None)
    if "$ref" in schema and not set(schema) - ANNOTATIONS - {"$ref"}:
        # A model that contains itself: pydantic puts all of it into $defs. Its fields belong on top.
        top = resolve(schema, schema)
        if isinstance(top, Mapping) and top:
            schema = {**top, **{key: value for key, value in schema.items() if key != "$ref"}}
            schema.pop("description", None)
    kinds = schema.setdefault("type", "object")
    if "object" not in (kinds if isinstance(kinds, list) else [kinds]):
        raise ToolError(f"tool {name!r}: its arguments are of type {kinds!r}; a tool takes named arguments, an object")
    schema["type"] = "object"
    if not set(schema) - ANNOTATIONS - {"type", "required", "additionalProperties"}:
        schema["properties"] = {}
    try:
        return ToolSpec(name=name, description=description.strip(), json_schema=schema)
    except ValidationError as error:
        raise ToolError(f"tool {name!r}: {error.errors()[0]['msg']}") from error


def _not_a_tool(given: object, why: str = "") -> ToolError:
    return ToolError(
        f"{_short(given)} is not a tool{why}: give a LangChain tool (@tool), a typed function with a docstring, a "
        "pydantic model, a TypedDict, or an OpenAI-style dict"
    )


def _short(value: object) -> str:
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number too long to be written
        name = value.get("name") if isinstance(value, Mapping) else None
        text = repr(name) if isinstance(name, str) else f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:79] + "…"
