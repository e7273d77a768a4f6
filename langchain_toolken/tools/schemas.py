"""JSON schemas as pydantic, LangChain and users write them: reading them in one form, and finding their fields.

Loads no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Where a JSON schema holds further schemas. Everything else (default, const, enum, examples) is data and left alone.
_SCHEMA_MAPS = ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMAS = (
    *("items", "additionalProperties", "not", "contains", "propertyNames", "if", "then", "else"),
    *("unevaluatedItems", "unevaluatedProperties", "contentSchema"),
)
_MAY_BE_NULL = frozenset({"default", "const", "examples"})
ANNOTATIONS = frozenset(
    {
        *("title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "discriminator"),
        *("$defs", "definitions", "$schema", "$id", "$anchor", "$comment", "contentMediaType", "contentEncoding"),
        *("contentSchema", "nullable", "example", "id", "x-guidance"),
    }
)

# serde_json, which llguidance reads schemas with, takes 128 levels of JSON; a nested field is two of them.
DEEPEST = 60
_DEEPEST_JSON = 2 * DEEPEST
_MOST_VISITED = 500  # schemas that speak of one object, visited in search of its fields


class SchemaError(ValueError):
    """A schema that can't be used. The message says why, and leaves out the tool, which the caller names."""


def schema_text(schema: Mapping[str, Any]) -> str:
    """Write a schema as JSON.

    Raises:
        SchemaError: It is no JSON: NaN, a number that is too long, half of a surrogate pair, Python objects; or it is
            nested too deeply.
    """
    level: list[Any] = [schema]
    for _ in range(_DEEPEST_JSON):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            break
    else:
        raise SchemaError(f"it is nested more than {DEEPEST} levels deep")
    try:
        text = json.dumps(schema, allow_nan=False, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start : error.end]
        raise SchemaError(f"it has half of a surrogate pair ({half!r}), which is no text") from error
    except (TypeError, ValueError) as error:
        raise SchemaError(f"it is no JSON: {error}") from error
    return text


def _inside(value: Any) -> Iterator[Any]:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return (one for one in inner if isinstance(one, Mapping | list | tuple))


def map_schemas(schema: Mapping[str, Any], change: Callable[[Any], Any]) -> dict[str, Any]:
    """Copy `schema` with `change(subschema)` in place of every schema directly inside it."""
    copy = dict(schema)
    for key in _SCHEMA_MAPS:
        if isinstance(copy.get(key), Mapping):
            copy[key] = {name: change(inner) for name, inner in copy[key].items()}
    for key in _SCHEMA_LISTS:
        if isinstance(copy.get(key), list):
            copy[key] = [change(inner) for inner in copy[key]]
    for key in _SCHEMAS:
        if key in copy:
            copy[key] = change(copy[key])
    return copy


def plain_schema(schema: Any) -> Any:
    """Copy `schema` in the form of draft 2020-12, without what has no meaning in it.

    Titles that pydantic adds are dropped, but fields named "title" stay. Keywords that are null are as good as absent,
    and the `[]` that PHP writes for an empty object is one. Tuples and bounds in the form of older drafts, as pydantic
    v1 writes them, become those of 2020-12. Infinite bounds exclude nothing, and an infinite default can't be written
    in JSON: both are dropped.

    Raises:
        SchemaError: It is nested too deeply.
    """
    try:
        return _plain(schema)
    except RecursionError as error:
        raise SchemaError(f"it is nested more than {DEEPEST} levels deep") from error


def _plain(schema: Any) -> Any:
    if schema is None or schema == []:
        return {}
    if not isinstance(schema, Mapping):
        return schema
    copy = {key: value for key, value in schema.items() if value is not None or key in _MAY_BE_NULL}
    copy.pop("title", None)
    copy.pop("$schema", None)
    for key in _SCHEMA_MAPS:
        if copy.get(key) == []:
            copy[key] = {}
    if isinstance(copy.get("items"), list):
        rest = copy.pop("additionalItems", None)
        copy["prefixItems"] = copy.pop("items")
        if not copy["prefixItems"]:
            del copy["prefixItems"]
        if rest is not None:
            copy["items"] = rest
    if isinstance(copy.get("required"), bool):  # draft 3, and a common mistake
        del copy["required"]
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(copy.get(exclusive), bool) and copy.pop(exclusive) and bound in copy:  # draft 4
            copy[exclusive] = copy.pop(bound)
    for key, vacuous in (("minimum", -math.inf), ("maximum", math.inf)):
        for bound in (key, f"exclusive{key.title()}"):
            if copy.get(bound) == vacuous:
                del copy[bound]
    for key in ("default", "examples"):
        if key in copy and not _finite(copy[key]):
            del copy[key]
    return map_schemas(copy, _plain)


def _finite(value: Any) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return all(_finite(one) for one in inner)


def resolve(schema: Any, root: Mapping[str, Any]) -> Any:
    """Follow a local `$ref`.

    Returns:
        What it points to; `schema` itself if it is no reference; `{}` (anything) if it points nowhere.
    """
    for _ in range(_MOST_VISITED):
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            return schema
        schema = target(schema["$ref"], root)
        if schema is None:
            return {}
    return {}


def target(reference: str, root: Mapping[str, Any]) -> Any:
    """Return the schema that a `$ref` of `root` points to; None if it points nowhere."""
    own = root.get("$id")
    pointer = reference.removeprefix(own.rstrip("#")) if isinstance(own, str) else reference
    if not pointer.startswith("#"):
        return None
    if pointer[1:] and not pointer.startswith("#/"):
        return _anchored(pointer[1:], root)
    found: Any = root
    for part in pointer[1:].strip("/").split("/") if pointer[1:].strip("/") else ():
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, Mapping):
            found = found.get(key)
        elif isinstance(found, list):
            found = found[int(key)] if key.isascii() and key.isdigit() and int(key) < len(found) else None
        else:
            return None
    return found if isinstance(found, Mapping | bool) else None


def _anchored(anchor: str, root: Mapping[str, Any]) -> Any:
    level: list[Any] = [root]
    for _ in range(_DEEPEST_JSON):
        for one in level:
            if isinstance(one, Mapping) and one.get("$anchor") == anchor:
                return one
        level = [inner for value in level for inner in _inside(value)]
    return None


@dataclass
class Fields:
    """The fields of an object, wherever its schema states them.

    Attributes:
        schemas: Each field's schema, by name, in order; `{}` for a field that is only required.
        required: The names that every valid object has.
        open_ended: Whether the schema speaks of fields that it doesn't name: additionalProperties, patternProperties.
        visited: How many schemas were visited to find them.
    """

    schemas: dict[str, Any] = field(default_factory=dict)
    required: set[str] = field(default_factory=set)
    open_ended: bool = False
    visited: int = 0

    def add(self, other: Fields, *, required: bool = True) -> None:
        """Add the fields of another schema of the same object."""
        for name, schema in other.schemas.items():
            if not self.schemas.get(name):
                self.schemas[name] = schema
        if required:
            self.required |= other.required
        self.open_ended |= other.open_ended


def fields_of(schema: Any, root: Mapping[str, Any]) -> Fields:
    """Find the fields of an object in `properties`, `$ref`, `allOf`, `anyOf` and `oneOf`.

    A field of some of the alternatives is an optional one; one that all of them require is required.
    """
    left = [_MOST_VISITED]
    found = _fields(schema, root, (), left)
    found.visited = _MOST_VISITED - left[0]
    return found


def _fields(schema: Any, root: Mapping[str, Any], references: tuple[str, ...], left: list[int]) -> Fields:
    found = Fields()
    left[0] -= 1
    if not isinstance(schema, Mapping) or left[0] < 0:
        return found
    properties, required = schema.get("properties"), schema.get("required")
    if isinstance(properties, Mapping):
        found.schemas.update(properties)
    if isinstance(required, list):
        found.required |= {name for name in required if isinstance(name, str)}
    found.open_ended = any(
        schema.get(key) not in (None, False) for key in ("additionalProperties", "patternProperties")
    )
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference not in references and len(references) < DEEPEST:
        found.add(_fields(target(reference, root), root, (*references, reference), left))
    for part in _schemas(schema.get("allOf")):
        found.add(_fields(part, root, references, left))
    for key in ("anyOf", "oneOf"):
        branches = [_fields(branch, root, references, left) for branch in _schemas(schema.get(key))]
        for branch in branches:
            found.add(branch, required=False)
        if branches:
            found.required |= set.intersection(*(branch.required for branch in branches))
    for name in required if isinstance(required, list) else ():
        if isinstance(name, str):
            found.schemas.setdefault(name, {})
    return found


def _schemas(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def takes_no_fields(schema: Mapping[str, Any]) -> bool:
    """Return whether `{}` is the only object that tools of this schema are called with."""
    if set(schema) - ANNOTATIONS - {"type", "properties", "required", "additionalProperties"}:
        return False
    named = schema.get("properties") or schema.get("required")
    return not named and schema.get("additionalProperties") in (None, False)
