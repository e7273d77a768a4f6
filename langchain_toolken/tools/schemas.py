"""JSON schemas of tools' arguments: what their parts are called, and the grammar that arguments are decoded under.

Plain functions over schemas as they come from pydantic, LangChain, or whoever wrote a dict. Loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import NoneType
from typing import Any, get_args, get_type_hints

from langchain_core.utils.function_calling import convert_to_openai_function
from llguidance import LLMatcher

# Where a JSON schema holds further schemas. Everything else (default, const, enum, examples) is data and left alone.
_SCHEMA_MAPS = ("properties", "$defs", "definitions", "patternProperties")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS = ("items", "additionalProperties", "not", "contains", "propertyNames")


def without_titles(schema: Any, _keyword: str = "") -> Any:
    """A copy of `schema` without the titles that pydantic gives; fields that are named "title" stay."""
    if not isinstance(schema, Mapping):
        return schema
    copy = _map_schemas(schema, without_titles)
    copy.pop("title", None)
    return copy


def resolve(schema: Any, root: Mapping[str, Any]) -> Any:
    """What a local `$ref` points to, or `schema` itself; `{}` (anything) for one that points nowhere."""
    for _ in range(32):
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            break
        target: Any = root
        for part in schema["$ref"].removeprefix("#").strip("/").split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            target = target.get(key, {}) if isinstance(target, Mapping) else {}
        schema = target
    return schema


def type_name(schema: Any, root: Mapping[str, Any]) -> str:
    """A field's type as the signature shows it."""
    schema = resolve(schema, root)
    if not isinstance(schema, Mapping):
        return "any"
    if "const" in schema:
        return _literal(schema["const"])
    if isinstance(schema.get("enum"), list):
        return " | ".join(_literal(value) for value in schema["enum"])
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if isinstance(alternatives, list):
        return " | ".join(dict.fromkeys(type_name(alternative, root) for alternative in alternatives))
    if isinstance(schema.get("allOf"), list) and len(schema["allOf"]) == 1 and "type" not in schema:
        return type_name(schema["allOf"][0], root)
    kind = schema.get("type")
    if isinstance(kind, list):
        return " | ".join(type_name({**schema, "type": one}, root) for one in kind)
    if kind == "array":
        return f"list[{type_name(schema['items'], root)}]" if isinstance(schema.get("items"), Mapping) else "list"
    if isinstance(kind, str):
        return kind
    return "object" if "properties" in schema or "allOf" in schema else "any"


def schema_grammar(schema: Mapping[str, Any]) -> tuple[str, str]:
    """The llguidance grammar of one compact JSON object of `schema`, and why llguidance refuses it ("" if it does not).

    Whitespace is fixed, since a weak LM pads flexible whitespace for ever (DESIGN §6). Objects that list their
    properties take no others.
    """
    return _grammar(json.dumps(_closed(schema)))


def typed_dict_function(typed_dict: type) -> dict[str, Any]:
    """LangChain's function dict of a TypedDict, in which fields of a type "… | None" may be null.

    LangChain reads them as optional, and a value that is given as one that is not None.
    """
    function = convert_to_openai_function(typed_dict)
    properties = function.get("parameters", {}).get("properties", {})
    for name, hint in get_type_hints(typed_dict).items():  # without the Annotated around it
        if name in properties and NoneType in get_args(hint) and "null" not in type_name(properties[name], function):
            said = {key: properties[name].pop(key) for key in ("description",) if key in properties[name]}
            properties[name] = {**said, "anyOf": [properties[name], {"type": "null"}]}
    return function


def faulty_field(root: Mapping[str, Any]) -> tuple[str, str]:
    """The path of the innermost field that fails by itself, such as "person.birthday", and llguidance's reason."""
    path: list[str] = []
    reason = ""
    schema: Any = root
    definitions = {key: root[key] for key in ("$defs", "definitions") if key in root}
    while len(path) < 32:
        if isinstance(schema, Mapping) and isinstance(schema.get("items"), Mapping):
            schema = resolve(schema["items"], root)
        fields = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
        for name, field in fields.items():
            alone = {**definitions, "type": "object", "properties": {name: field}, "required": [name]}
            fault = schema_grammar(alone)[1]
            if fault:
                path.append(name)
                reason = " ".join(fault.split())
                schema = resolve(field, root)
                break
        else:
            break
    return ".".join(path), reason


def _map_schemas(schema: Mapping[str, Any], change: Callable[[Any, str], Any]) -> dict[str, Any]:
    """A copy of `schema` with `change(subschema, keyword)` in place of every schema directly inside it."""
    copy = dict(schema)
    for key in _SCHEMA_MAPS:
        if isinstance(copy.get(key), Mapping):
            copy[key] = {name: change(inner, key) for name, inner in copy[key].items()}
    for key in _SCHEMA_LISTS:
        if isinstance(copy.get(key), list):
            copy[key] = [change(inner, key) for inner in copy[key]]
    for key in _SCHEMAS:
        if isinstance(copy.get(key), Mapping):
            copy[key] = change(copy[key], key)
    return copy


def _closed(schema: Any, keyword: str = "") -> Any:
    """`schema` in which objects that list their properties take no others."""
    if not isinstance(schema, Mapping):
        return schema
    copy = _map_schemas(schema, _closed)
    # The branches of an allOf describe one object together: each closed by itself, they would contradict each other.
    if keyword != "allOf" and "properties" in copy and "patternProperties" not in copy and "allOf" not in copy:
        copy.setdefault("additionalProperties", False)
    return copy


def _literal(value: object) -> str:
    return repr(value) if isinstance(value, str) else json.dumps(value)


@lru_cache(maxsize=4096)
def _grammar(schema: str) -> tuple[str, str]:
    grammar = LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False})
    return grammar, LLMatcher.validate_grammar(grammar).strip()
