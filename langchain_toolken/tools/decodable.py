"""The part of a JSON schema that a grammar can hold, in the form that llguidance compiles. Loads no torch.

What is decoded under it is as the schema wants it, except for the keywords that are left out, which `checks` looks at
when the arguments are there. Some schemas are narrowed too: an object that lists its fields accepts no others, because
the functions that receive it do not either; a value without a type gets the one that its keywords speak of; and
alternatives of objects have the fields of one alternative each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

from langchain_toolken.tools.alternatives import MOST_BRANCHES, apart
from langchain_toolken.tools.checks import malformed
from langchain_toolken.tools.finite import has_finite_value
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
_MOST_COUNTED = 50

_Key = tuple[str | int, frozenset[str] | None]
"""A definition: its `$ref` or, where it is none of the schema's own, its id; and the fields around it."""


@dataclass
class Work:
    """What may still be done for one schema, in all attempts to make a grammar of it.

    Attributes:
        left: How many schemas may be visited.
    """

    left: int


class Decodable:
    """The decodable part of one schema.

    Args:
        schema: The schema, which is JSON of no more than `DEEPEST` levels (`schema_text`).
        root: Where its `$ref`s resolve; None for `schema` itself.
        narrow: Whether it may be narrower than the schema asks for (see above).
        loose: Fields at the top of which only the type is held.
        work: What may be done.

    Attributes:
        schema: What llguidance compiles.
        left_out: The keywords that it doesn't hold, with their fields: "uniqueItems of 'tags'".

    Raises:
        SchemaError: A reference points nowhere or only back to itself, no value comes to an end, or the schema is too
            large or too deep.
    """

    def __init__(
        self,
        schema: Mapping[str, Any],
        *,
        root: Mapping[str, Any] | None = None,
        narrow: bool = True,
        loose: frozenset[str] = frozenset(),
        work: Work,
    ) -> None:
        self._root = schema if root is None else root
        self._narrow = narrow
        self._loose = loose
        self._path: list[str] = []
        self._depth = 0
        self._names: dict[_Key, str] = {}
        self._waiting: list[tuple[str, Any, frozenset[str] | None, list[str]]] = []
        self._definitions: dict[str, Any] = {}
        self._same_value: dict[str, set[str]] = {}  # which definition speaks of the very value that another does
        self._left_out: dict[str, None] = {}
        self._inlining: list[str] = []
        self._found_fields: dict[tuple[int, frozenset[str]], Fields] = {}
        self._well_formed: set[tuple[str, int]] = set()
        self._work = work
        top = self._schema(schema, frozenset(), "")
        while self._waiting:
            name, found, around, self._path = self._waiting.pop()
            self._definitions[name] = self._schema(found, around, name)
        try:
            TopologicalSorter(self._same_value).prepare()
        except CycleError as error:
            references = {name: key[0] for key, name in self._names.items() if isinstance(key[0], str)}
            found = next((references[name] for name in error.args[1] if name in references), "")
            raise SchemaError(f"its $ref {found!r} leads only back to itself") from error
        self.schema: dict[str, Any] = {**top, "$defs": self._definitions} if self._definitions else top
        self.left_out = tuple(self._left_out)
        if not has_finite_value(self.schema):
            raise SchemaError("it holds itself without an end")

    def _leave_out(self, keyword: str, value: Any = None) -> None:
        if value is not None and (keyword, id(value)) not in self._well_formed:
            if fault := malformed({keyword: value}):
                raise SchemaError(fault)
            self._well_formed.add((keyword, id(value)))
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
            inlining, self._inlining = self._inlining, []
            try:
                if _combines_references(schema):
                    # References are put in their place there: as a definition that happens once.
                    return self._defined((id(schema), frozenset()), schema)
                return self._schema(schema, frozenset(), None)
            finally:
                self._inlining = inlining
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
        self._work.left -= 1
        self._depth += 1
        if self._work.left < 0 or self._depth > DEEPEST:
            much = self._work.left < 0
            raise SchemaError("it is too large" if much else f"it is nested more than {DEEPEST} levels deep")
        try:
            if not isinstance(schema, Mapping):
                return schema
            said = set(schema) - ANNOTATIONS
            if said == {"$ref"} or (said == {"$ref", "type"} and self._type_of(schema["$ref"]) == schema["type"]):
                return self._reference(schema["$ref"], around, owner)
            for keyword in ("allOf", "anyOf", "oneOf"):
                # As it is said without the list, which llguidance can't always tell when a schema holds itself.
                if said == {keyword} and isinstance(schema[keyword], list) and len(schema[keyword]) == 1:
                    return self._schema(schema[keyword][0], around, owner)
            return self._mapping(schema, around, owner)
        finally:
            self._depth -= 1

    def _found(self, reference: Any) -> Any:
        found = target(reference, self._root) if isinstance(reference, str) else None
        if found is None:
            raise SchemaError(f"its $ref {reference!r} points nowhere")
        return found

    def _reference(self, reference: Any, around: frozenset[str] | None, owner: str | None) -> dict[str, Any]:
        made = self._defined((reference, around), self._found(reference))
        if owner is not None:
            self._same_value.setdefault(owner, set()).add(self._names[reference, around])
        return made

    def _defined(self, key: _Key, schema: Any) -> dict[str, Any]:
        if key not in self._names:
            if len(self._names) == _MOST_DEFINITIONS:
                raise SchemaError(f"it has more than {_MOST_DEFINITIONS} definitions")
            self._names[key] = str(len(self._names))
            self._waiting.append((self._names[key], schema, key[1], list(self._path)))
        return {"$ref": f"#/$defs/{self._names[key]}"}

    def _type_of(self, reference: Any) -> Any:
        found = resolve({"$ref": reference}, self._root)
        return found.get("type") if isinstance(found, Mapping) else None

    def _inlined(self, schema: Any, around: frozenset[str] | None, owner: str | None) -> Any:
        """Do what `_schema` does, with what a reference points to in its place.

        llguidance can't combine a definition that holds itself with other keywords.
        """
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str) or set(schema) - ANNOTATIONS - {"$ref"}:
            return self._schema(schema, around, owner)
        if reference in self._inlining:
            raise SchemaError(f"its $ref {reference!r} leads only back to itself")
        self._inlining.append(reference)
        try:
            return self._inlined(self._found(reference), around, owner)
        finally:
            self._inlining.pop()

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
            shared = self._fields(schema, frozenset(groups if len(groups) == 1 else ()))
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
                    if isinstance(listed_here, Mapping):  # else the grammar says what is wrong with it
                        kept["properties"] = {**listed_here, **{n: True for n in any_of_them if n not in listed_here}}
                    kept["additionalProperties"] = False
        if schema.get("unevaluatedProperties") is False and not closing:
            self._leave_out("unevaluatedProperties")
        elif schema.get("unevaluatedProperties") not in (None, False, True, {}):
            self._leave_out("unevaluatedProperties", schema["unevaluatedProperties"])
        parts = [{"$ref": schema["$ref"]}] if "$ref" in schema else []
        parts += schema["allOf"] if isinstance(schema.get("allOf"), list) else []
        if parts:
            kept["allOf"] = [self._inlined(part, None, owner) for part in parts] + kept.get("allOf", [])
        alone = not kept and len(groups) == 1 and around is not None
        for key in groups:
            arounds: list[frozenset[str] | None] = [within] * len(schema[key])
            if key == "oneOf":
                if within is not None and len(arounds) <= MOST_BRANCHES:
                    arounds = self._exclusive(schema[key], within, shared.required)
                if not apart(schema[key], self._root, arounds, self._fields):
                    self._leave_out("oneOf")
            place = self._schema if alone else self._inlined
            branches = [place(*branch, owner) for branch in zip(schema[key], arounds, strict=True)]
            if "anyOf" in kept:
                kept["allOf"] = [*kept.get("allOf", []), {"anyOf": branches}]
            else:
                kept["anyOf"] = branches
        return kept

    def _fields(self, schema: Any, without: frozenset[str] = frozenset()) -> Fields:
        """Find the fields of an object, once; `without` some keywords."""
        key = (id(schema), without)
        if key not in self._found_fields:
            rest = {name: schema[name] for name in schema if name not in without} if without else schema
            self._found_fields[key] = found = fields_of(rest, self._root)
            self._work.left -= found.visited // 10  # which is as much work as one other visit
        return self._found_fields[key]

    def _exclusive(
        self, branches: list[Any], within: frozenset[str], required: set[str]
    ) -> list[frozenset[str] | None]:
        """Return the fields around each branch of a `oneOf`: without those that make it another branch."""
        fields = [self._fields(branch) for branch in branches]
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
            # llguidance writes out which of many fields is there.
            if len(outline["properties"]) > _MOST_COUNTED or is_refused({"type": "object", **outline}):
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


def _combines_references(schema: Any) -> bool:
    """Return whether a schema combines a reference with other keywords, in itself or in one of its alternatives."""
    if not isinstance(schema, Mapping):
        return False
    said = set(schema) - ANNOTATIONS
    for keyword in ("anyOf", "oneOf", "allOf"):
        listed = schema.get(keyword)
        if said == {keyword} and isinstance(listed, list) and (keyword != "allOf" or len(listed) == 1):
            return any(_combines_references(branch) for branch in listed)
    return said != {"$ref"} and _refers(schema)


def _refers(schema: Any) -> bool:
    """Return whether a schema speaks of its value through a reference."""
    if not isinstance(schema, Mapping):
        return False
    listed = [part for key in ("allOf", "anyOf", "oneOf") if isinstance(schema.get(key), list) for part in schema[key]]
    return "$ref" in schema or any(_refers(part) for part in listed)
