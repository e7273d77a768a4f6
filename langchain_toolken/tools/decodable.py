"""The part of a JSON schema that a grammar can hold, in the form that llguidance compiles. Loads no torch.

What is decoded under it is as the schema wants it, except for the keywords that are left out, which `checks` looks at
when the arguments are there. Some schemas are narrowed too: an object that lists its fields accepts no others, because
the functions that receive it do not either; a value without a type gets the one that its keywords speak of; and
alternatives of objects have the fields of one alternative each.
"""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from langchain_toolken.tools.alternatives import apart
from langchain_toolken.tools.checks import malformed
from langchain_toolken.tools.keywords import (
    MAXIMA,
    MINIMA,
    MOST_ITEMS,
    constants,
    is_refused,
    limit,
    number_keywords,
    string_keywords,
)
from langchain_toolken.tools.schemas import ANNOTATIONS, DEEPEST, Fields, SchemaError, fields_of, resolve, target

_NEVER_HELD = ("not", "if", "dependentRequired", "dependentSchemas", "dependencies", "$dynamicRef", "$recursiveRef")
_OF_TYPE = (
    ("object", frozenset({"properties", "required", "patternProperties", "additionalProperties", "propertyNames"})),
    ("array", frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems", "contains"})),
    ("string", frozenset({"pattern", "format", "minLength", "maxLength"})),
    ("number", frozenset({"multipleOf", *MINIMA, *MAXIMA})),
)
_MOST_DEFINITIONS = 500  # llguidance goes from one to the next by recursion
_MOST_SCHEMAS = 5000  # visited for one schema; one of 4 kB has a few hundred


class Decodable:
    """The decodable part of one schema.

    Args:
        schema: The schema, which is JSON of no more than `DEEPEST` levels (`schema_text`).
        root: Where its `$ref`s resolve; None for `schema` itself.
        narrow: Whether it may be narrower than the schema asks for (see above).
        loose: Fields at the top of which only the type is held.

    Attributes:
        schema: What llguidance compiles.
        left_out: The keywords that it doesn't hold, with their fields: "uniqueItems of 'tags'".
        visited: How many schemas were visited.

    Raises:
        SchemaError: A reference points nowhere or only back to itself, or the schema is too large or too deep.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        *,
        root: Mapping[str, Any] | None = None,
        narrow: bool = True,
        loose: frozenset[str] = frozenset(),
    ) -> None:
        self._root = schema if root is None else root
        self._narrow = narrow
        self._loose = loose
        self._path: list[str] = []
        self._depth = 0
        self._names: dict[tuple[str, frozenset[str] | None], str] = {}
        self._waiting: list[tuple[str, Any, frozenset[str] | None, list[str]]] = []
        self._definitions: dict[str, Any] = {}
        self._same_value: dict[str, set[str]] = {}  # which definition speaks of the very value that another does
        self._left_out: dict[str, None] = {}
        self.visited = 0
        top = self._schema(schema, frozenset(), "")
        while self._waiting:
            name, found, around, self._path = self._waiting.pop()
            self._definitions[name] = self._schema(found, around, name)
        try:
            TopologicalSorter(self._same_value).prepare()
        except CycleError as error:
            references = {name: reference for (reference, _), name in self._names.items()}
            raise SchemaError(f"its $ref {references[error.args[1][0]]!r} leads only back to itself") from error
        self.schema: dict[str, Any] = {**top, "$defs": self._definitions} if self._definitions else top
        self.left_out = tuple(self._left_out)

    def _leave_out(self, keyword: str, value: Any = None) -> None:
        if value is not None and (fault := malformed({keyword: value})):
            raise SchemaError(fault)
        self._left_out[f"{keyword} of {'.'.join(self._path)!r}" if self._path else keyword] = None

    def _value(self, schema: Any, name: str | None = None) -> Any:
        """Return the decodable part of a whole value: of a field or an item."""
        if name is not None:
            self._path.append(name)
        try:
            if len(self._path) == 1 and name in self._loose:
                kind = resolve(schema, self._root)
                kind = kind.get("type") if isinstance(kind, Mapping) else None
                self._leave_out("all but the type")
                return {} if kind is None else {"type": kind}
            return self._schema(schema, frozenset(), None)
        finally:
            if name is not None:
                self._path.pop()

    def _schema(self, schema: Any, around: frozenset[str] | None, owner: str | None) -> Any:
        """Return the decodable part of a schema.

        Args:
            schema: The schema.
            around: The fields that schemas of the same value list, which this one has to let through; None if this is
                only a part of an object, to which others may add fields.
            owner: The definition that speaks of the same value; None for a field's or an item's schema.
        """
        self.visited += 1
        self._depth += 1
        if self.visited > _MOST_SCHEMAS or self._depth > DEEPEST:
            many = self.visited > _MOST_SCHEMAS
            raise SchemaError("it is too large" if many else f"it is nested more than {DEEPEST} levels deep")
        try:
            if not isinstance(schema, Mapping):
                return schema
            if "$ref" in schema and not set(schema) - ANNOTATIONS - {"$ref"}:
                return self._reference(schema["$ref"], around, owner)
            return self._mapping(schema, around, owner)
        finally:
            self._depth -= 1

    def _reference(self, reference: Any, around: frozenset[str] | None, owner: str | None) -> dict[str, Any]:
        found = target(reference, self._root) if isinstance(reference, str) else None
        if found is None:
            raise SchemaError(f"its $ref {reference!r} points nowhere")
        key = (reference, around)
        if key not in self._names:
            if len(self._names) == _MOST_DEFINITIONS:
                raise SchemaError(f"it has more than {_MOST_DEFINITIONS} definitions")
            self._names[key] = str(len(self._names))
            self._waiting.append((self._names[key], found, around, list(self._path)))
        if owner is not None:
            self._same_value.setdefault(owner, set()).add(self._names[key])
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def _mapping(self, schema: Mapping[str, Any], around: frozenset[str] | None, owner: str | None) -> Any:
        kept: dict[str, Any] = {}
        if "type" in schema:
            kept["type"] = schema["type"]
        elif self._narrow and around is not None and not {"$ref", "allOf", "anyOf", "oneOf"} & set(schema):
            kinds = [kind for kind, keywords in _OF_TYPE if keywords & set(schema)]
            if len(kinds) == 1 and not {"enum", "const"} & set(schema):
                kept["type"] = kinds[0]
        for keyword in _NEVER_HELD:
            if keyword in schema:
                self._leave_out(keyword, schema[keyword])
        kept |= string_keywords(schema, self._leave_out) | number_keywords(schema, self._leave_out)
        kept |= constants(schema, self._leave_out) | self._array(schema) | self._object(schema, around)
        return self._counted(self._composed(schema, kept, around, owner))

    def _composed(
        self, schema: Mapping[str, Any], kept: dict[str, Any], around: frozenset[str] | None, owner: str | None
    ) -> dict[str, Any]:
        """Add `$ref`, `allOf`, `anyOf` and `oneOf`, and close the object where all of its fields are known."""
        groups = [key for key in ("anyOf", "oneOf") if isinstance(schema.get(key), list)]
        closing = self._narrow and around is not None and not _open_ended(schema) and may_be_object(schema)
        within: frozenset[str] | None = None
        shared = Fields()
        if closing:
            # The fields that all alternatives share: with a single group, each alternative is closed by itself.
            apart_from = {key: schema[key] for key in schema if len(groups) != 1 or key not in groups}
            shared = fields_of(apart_from, self._root)
            names = frozenset(shared.schemas) | (around or frozenset())
            listed = bool(names) or "properties" in schema
            if len(groups) == 1 and not shared.open_ended:
                within = names
            elif listed and not shared.open_ended:
                any_of_them = dict.fromkeys(sorted(names), True)
                if "$ref" in schema or "allOf" in schema or groups:
                    kept["allOf"] = [{"properties": any_of_them, "additionalProperties": False}]
                else:
                    listed_here = kept.get("properties", {})
                    kept["properties"] = {**listed_here, **{n: True for n in any_of_them if n not in listed_here}}
                    kept["additionalProperties"] = False
        if schema.get("unevaluatedProperties") is False and not closing:
            self._leave_out("unevaluatedProperties")
        elif schema.get("unevaluatedProperties") not in (None, False, True, {}):
            self._leave_out("unevaluatedProperties", schema["unevaluatedProperties"])
        if "$ref" in schema:
            kept |= self._reference(schema["$ref"], None, owner)
        if isinstance(schema.get("allOf"), list):
            kept["allOf"] = [self._schema(part, None, owner) for part in schema["allOf"]] + kept.get("allOf", [])
        for key in groups:
            arounds: list[frozenset[str] | None] = [within] * len(schema[key])
            if key == "oneOf":
                if within is not None:
                    arounds = self._exclusive(schema[key], within, shared.required)
                if not apart(schema[key], self._root, arounds):
                    self._leave_out("oneOf")
            branches = [self._schema(*branch, owner) for branch in zip(schema[key], arounds, strict=True)]
            if "anyOf" in kept:
                kept["allOf"] = [*kept.get("allOf", []), {"anyOf": branches}]
            else:
                kept["anyOf"] = branches
        return kept

    def _exclusive(
        self, branches: list[Any], within: frozenset[str], required: set[str]
    ) -> list[frozenset[str] | None]:
        """Return the fields around each branch of a `oneOf`: without those that make it another branch."""
        fields = [fields_of(branch, self._root) for branch in branches]
        wanted = [one.required for one in fields]
        others = [set().union(*wanted[:i], *wanted[i + 1 :]) - wanted[i] - required for i in range(len(wanted))]
        return [within - (taken - set(one.schemas)) for one, taken in zip(fields, others, strict=True)]

    def _array(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: schema[key] for key in ("minItems", "maxItems") if key in schema}
        limit(kept, "minItems", "maxItems", MOST_ITEMS, self._leave_out)
        if "prefixItems" in schema:
            listed = schema["prefixItems"]
            kept["prefixItems"] = [self._value(item) for item in listed] if isinstance(listed, list) else listed
        if "items" in schema:
            kept["items"] = self._value(schema["items"])
        elif schema.get("unevaluatedItems") is False and not {"$ref", "allOf", "anyOf", "oneOf"} & set(schema):
            kept["items"] = False
        elif schema.get("unevaluatedItems", True) not in (True, {}):
            self._leave_out("unevaluatedItems", schema["unevaluatedItems"])
        if schema.get("uniqueItems", False) is not False and kept.get("maxItems") not in (0, 1):
            self._leave_out("uniqueItems", schema["uniqueItems"])
        if "contains" in schema:
            self._leave_out("contains", schema["contains"])
        return kept

    def _object(self, schema: Mapping[str, Any], around: frozenset[str] | None) -> dict[str, Any]:
        kept = {key: schema[key] for key in ("minProperties", "maxProperties", "required") if key in schema}
        limit(kept, "minProperties", "maxProperties", MOST_ITEMS, self._leave_out)
        properties, patterns = schema.get("properties"), schema.get("patternProperties")
        if isinstance(properties, Mapping):
            kept["properties"] = {name: self._value(field, name) for name, field in properties.items()}
        elif properties is not None:
            kept["properties"] = properties
        if "additionalProperties" in schema:
            kept["additionalProperties"] = self._value(schema["additionalProperties"])
        if isinstance(patterns, Mapping) and patterns:
            if is_refused({"type": "object", "patternProperties": dict.fromkeys(patterns, True)}):
                self._leave_out("patternProperties")
                kept["additionalProperties"] = True
            else:
                kept["patternProperties"] = {name: self._value(field) for name, field in patterns.items()}
                if self._narrow and around is not None and not {"$ref", "allOf", "anyOf", "oneOf"} & set(schema):
                    kept.setdefault("additionalProperties", False)
        if "propertyNames" in schema:
            self._property_names(resolve(schema["propertyNames"], self._root), kept)
        return kept

    def _counted(self, kept: dict[str, Any]) -> dict[str, Any]:
        """Leave out counts of fields that llguidance can't hold."""
        bounds = [keyword for keyword in ("minProperties", "maxProperties") if keyword in kept]
        if bounds:
            outline = {keyword: kept[keyword] for keyword in (*bounds, "required") if keyword in kept}
            outline["properties"] = dict.fromkeys(kept.get("properties") or {}, True)
            outline["additionalProperties"] = kept.get("additionalProperties") is not False
            if is_refused({"type": "object", **outline}):
                for keyword in bounds:
                    del kept[keyword]
                    self._leave_out(keyword)
        return kept

    def _property_names(self, names: Any, kept: dict[str, Any]) -> None:
        """Hold `propertyNames` as fields: names to choose from, or a pattern."""
        held = set(names) - ANNOTATIONS if isinstance(names, Mapping) else set()
        if names is True or names == {} or held == {"type"}:
            return
        listed = names.get("enum", [names.get("const")]) if held and held <= {"enum", "const", "type"} else None
        rest, properties = kept.get("additionalProperties", True), kept.get("properties") or {}
        if isinstance(listed, list) and "patternProperties" not in kept:
            allowed = [name for name in listed if isinstance(name, str)]
            kept["properties"] = {name: properties.get(name, rest) for name in allowed}
            kept["additionalProperties"] = False
        elif held and held <= {"pattern", "type"} and not properties and "patternProperties" not in kept:
            if is_refused({"type": "object", "patternProperties": {names["pattern"]: True}}):
                self._leave_out("propertyNames")
            else:
                kept |= {"patternProperties": {names["pattern"]: rest}, "additionalProperties": False}
        else:
            self._leave_out("propertyNames")


def may_be_object(schema: Mapping[str, Any]) -> bool:
    """Return whether an object can be valid under a schema, by its type alone."""
    kinds = schema.get("type", "object")
    return "object" in (kinds if isinstance(kinds, list) else [kinds]) and not {"const", "enum"} & set(schema)


def _open_ended(schema: Mapping[str, Any]) -> bool:
    said = {"additionalProperties", "patternProperties", "propertyNames"} & set(schema)
    return bool(said) or schema.get("unevaluatedProperties", False) is not False
