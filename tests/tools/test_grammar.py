"""From schemas to grammars: what is decoded is valid, what can't be held is reported, what can't be decoded is refused.

The property tests let a random LM write under random schemas.
"""

from __future__ import annotations

import json
import math
import warnings
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import jsonschema
import pytest
from langchain_core.tools import tool
from pydantic import UUID4, BaseModel, Field, RootModel, SecretStr
from pydantic.v1 import BaseModel as OldBaseModel

from langchain_toolken.tools.grammar import schema_grammar
from langchain_toolken.tools.spec import ToolError, ToolSpec, schema_fault, takes_no_arguments, tool_spec
from tests.support.schemas import accepts, read, written

INTEGER = {"type": "integer"}
TEXT = {"type": "string"}
SEEDS = range(8)


def quiet(schema: dict[str, Any]) -> ToolSpec:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return read(schema)


def field(schema: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"x": schema}, "required": ["x"], **more}


# --- fields in other places than `properties` ------------------------------------------------------------------------

A = {"type": "object", "properties": {"a": INTEGER}, "required": ["a"]}
B = {"type": "object", "properties": {"b": {"type": "boolean"}}, "required": ["b"]}
ELSEWHERE: dict[str, dict[str, Any]] = {
    "allOf": {"type": "object", "allOf": [{"properties": {"x": INTEGER}, "required": ["x"]}]},
    "two references": {"$defs": {"A": A, "B": B}, "allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}]},
    "reference and fields": {"$defs": {"A": A}, "$ref": "#/$defs/A", "properties": {"c": TEXT}, "required": ["c"]},
    "anyOf": {"type": "object", "anyOf": [A, B]},
    "anyOf without types": {"anyOf": [{k: v for k, v in one.items() if k != "type"} for one in (A, B)]},
    "anyOf beside fields": {**field(TEXT), "anyOf": [A, B]},
    "anyOf of required": {"type": "object", "properties": {"a": INTEGER, "b": TEXT}, "anyOf": [
        {"required": ["a"]}, {"required": ["b"]}]},
    "oneOf": {"type": "object", "oneOf": [A, B]},
    "oneOf of required": {"type": "object", "properties": {"a": INTEGER, "b": TEXT}, "oneOf": [
        {"required": ["a"]}, {"required": ["b"]}]},
    "oneOf by kind": {"oneOf": [
        {"properties": {"kind": {"const": "a"}, "v": INTEGER}, "required": ["kind", "v"]},
        {"properties": {"kind": {"const": "b"}, "v": TEXT}, "required": ["kind", "v"]}]},
    "patternProperties": {"type": "object", "patternProperties": {"^[ab]$": INTEGER}, "minProperties": 1},
    "required only": {"type": "object", "required": ["x"]},
    "anyOf and oneOf": {"type": "object", "anyOf": [A, B], "oneOf": [field(INTEGER), field(TEXT)]},
    "closed by unevaluatedProperties": {"allOf": [A, B], "unevaluatedProperties": False},
    "the same field twice": {"allOf": [field(A), field(B)]},
    "the root": {"type": "object", "properties": {"v": INTEGER, "next": {"$ref": "#"}}, "required": ["v"]},
    "an anchor": {"$defs": {"A": {**A, "$anchor": "here"}}, "$ref": "#here"},
    "names to choose from": {"type": "object", "propertyNames": {"enum": ["a", "b"]}, "minProperties": 1,
                             "additionalProperties": INTEGER},
}  # fmt: skip


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("where", ELSEWHERE)
def test_fields_are_decoded_wherever_the_schema_states_them(where: str, nested: bool) -> None:
    schema = ELSEWHERE[where]
    if nested:
        if "$ref" in json.dumps(schema):
            inner = json.loads(
                json.dumps(schema).replace('"#/$defs', '"#/$defs/whole/$defs').replace('"#"', '"#/$defs/whole"')
            )
            schema = field({"$ref": "#/$defs/whole"}, **{"$defs": {"whole": inner}})
        else:
            schema = field(schema)
    spec = read(schema)  # warns of nothing: warnings are errors
    found = [arguments for seed in SEEDS if (arguments := written(spec, seed)) is not None]
    assert found
    for arguments in found:
        jsonschema.Draft202012Validator(schema).validate(arguments)
        assert (arguments["x"] if nested else arguments) != {}


def test_alternatives_are_closed_one_by_one_and_parts_together() -> None:
    either = read({"type": "object", "anyOf": [A, B], "properties": {"k": INTEGER}})
    assert accepts(either, {"k": 1, "a": 1})
    assert accepts(either, {"b": True})
    assert not accepts(either, {"k": 1})
    assert not accepts(either, {"a": 1, "z": 1})
    both = read({"type": "object", "allOf": [A, B]})
    assert accepts(both, {"a": 1, "b": True})
    assert not accepts(both, {"a": 1})
    assert not accepts(both, {"a": 1, "b": True, "z": 1})


def test_inheritance_and_unions_of_pydantic_models_keep_their_fields() -> None:
    class Cat(BaseModel):
        kind: Literal["cat"]
        lives: int

    class Dog(BaseModel):
        kind: Literal["dog"]
        name: str

    class Pet(RootModel[Union[Cat, Dog]]):  # noqa: UP007
        """A pet."""

    class Tagged(RootModel[Annotated[Cat | Dog, Field(discriminator="kind")]]):
        """A pet."""

    for model in (Pet, Tagged):
        spec = tool_spec(model)
        assert not takes_no_arguments(spec)
        for seed in SEEDS:
            if (arguments := written(spec, seed)) is not None:
                model.model_validate(arguments)


def test_an_object_without_any_field_is_the_empty_one() -> None:
    for schema in ({}, {"type": "object"}, {"properties": {}}, {"additionalProperties": False, "required": []}):
        assert takes_no_arguments(read(schema))
    for schema in (ELSEWHERE["allOf"], ELSEWHERE["patternProperties"], {"additionalProperties": {}}):
        assert not takes_no_arguments(read(schema))


# --- schemas that hold themselves, and hostile ones ------------------------------------------------------------------


def nested(levels: int, wrap: Any) -> Any:
    schema: Any = INTEGER
    for _ in range(levels):
        schema = wrap(schema)
    return schema


def test_a_type_that_holds_itself_is_kept_to_all_the_way_down() -> None:
    tree = {"anyOf": [INTEGER, {"type": "array", "items": {"$ref": "#/$defs/Tree"}}]}
    spec = read(field({"$ref": "#/$defs/Tree"}, **{"$defs": {"Tree": tree}}))
    assert spec.signature == "f(x: integer | list[Tree])"
    assert accepts(spec, {"x": [1, [2, []]]})
    assert not accepts(spec, {"x": [1, ["2"]]})


def test_a_model_of_either_pydantic_that_holds_itself_is_kept_to_all_the_way_down() -> None:
    class OldNode(OldBaseModel):
        """A node."""

        kids: list[OldNode]

    OldNode.update_forward_refs(OldNode=OldNode)
    spec = tool_spec(OldNode)
    assert accepts(spec, {"kids": [{"kids": []}]})
    assert not accepts(spec, {"kids": [7.951]})


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"$ref": "#"}, "only back to itself"),
        (field({"$ref": "#/properties/x"}), "'x'.*only back to itself"),
        (field({"$ref": "#"}), "'x'.*without an end"),
        (field({"anyOf": [{"$ref": "#/definitions/A"}]}, definitions={"A": {"allOf": [{"$ref": "#/properties/x"}]}}),
         "only back to itself"),
        (field({"$ref": "https://example.com/schema"}), "'x'.*points nowhere"),
        (field(nested(100, lambda s: field(s))), "60 levels"),
        (field(nested(1000, lambda s: {"type": "array", "items": s})), "60 levels"),
        (nested(100_000, lambda s: {"anyOf": [s]}), "60 levels"),
        (field({"enum": ["\ud800"]}), "surrogate"),
        ({"type": "object", "properties": {"\udfff": INTEGER}}, "surrogate"),
        (field({"type": "number", "minimum": math.nan}), "no JSON"),
        (field({"type": "number", "minimum": math.inf}), "no JSON"),
        (field({"type": "integer", "maximum": 10**5000}), "no JSON"),
        (field({"enum": [{1, 2}]}), "no JSON"),
        (field({"type": "text"}), "'x'.*Invalid type"),
        (field({"type": "array", "uniqueItems": "yes"}), "'x'.*uniqueItems"),
        (field({"not": 5}), "'x'.*not"),
        (field({"type": "string", "minLength": -1}), "'x'.*minLength"),
    ],
)  # fmt: skip
def test_what_cannot_be_decoded_is_refused_by_name(schema: dict[str, Any], why: str) -> None:
    with pytest.raises(ToolError, match=rf"tool 'f': .*{why}"):
        read(schema)


def test_inheritance_that_holds_itself_is_decoded() -> None:
    base = {
        "type": "object",
        "properties": {"id": INTEGER, "kids": {"type": "array", "items": {"$ref": "#/$defs/Sub"}}},
    }
    sub = {"allOf": [{"$ref": "#/$defs/Base"}, {"properties": {"z": {"type": "boolean"}}, "required": ["z"]}]}
    spec = read({"$defs": {"Base": base, "Sub": sub}, "$ref": "#/$defs/Sub"})
    assert accepts(spec, {"id": 1, "kids": [{"kids": [], "z": True}], "z": False})
    assert not accepts(spec, {"id": 1, "kids": [{"kids": []}], "z": False})


def test_hundreds_of_models_that_refer_to_one_another_are_one_grammar() -> None:
    def model(i: int) -> dict[str, Any]:
        here = {"$ref": f"#/$defs/M{i * 7 % 300}"}
        again = {"allOf": [{"$ref": f"#/$defs/M{i * 11 % 300}"}], "description": "another"}
        fields = {"id": INTEGER, "one": {"anyOf": [here, {"type": "null"}]}, "two": again}
        return {"type": "object", "properties": fields, "required": ["id"]}

    spec = read(field({"$ref": "#/$defs/M1"}, **{"$defs": {f"M{i}": model(i) for i in range(300)}}))
    assert accepts(spec, {"x": {"id": 1, "one": {"id": 2, "two": {"id": 3}}}})
    assert not accepts(spec, {"x": {"id": 1, "one": {"id": 2, "two": {"id": "3"}}}})


@pytest.mark.parametrize("text", ["name", "description"])
def test_half_of_a_surrogate_pair_in_a_tools_text_is_refused(text: str) -> None:
    with pytest.raises(ToolError, match="surrogate"):
        tool_spec({"name": "f", "description": "F.", text: "\ud800"})


def test_infinite_bounds_and_defaults_exclude_nothing() -> None:
    spec = read(field({"type": "number", "minimum": -math.inf, "exclusiveMaximum": math.inf, "default": math.inf}))
    assert spec.json_schema["properties"]["x"] == {"type": "number"}
    json.dumps(spec.json_schema, allow_nan=False)


@pytest.mark.parametrize(
    ("bounds", "held"),
    [
        ({"exclusiveMinimum": 2**53 + 1, "maximum": 2**53 + 3}, False),
        ({"minimum": 10**40}, False),
        ({"maximum": -(10**40)}, False),
        ({"maximum": 10**40}, True),
        ({"minimum": -(10**400)}, True),
        ({"minimum": 0, "maximum": 2**64 - 1}, True),
        ({"minimum": 2**62, "maximum": 2**62 + 3}, True),
        ({"minimum": 2**60}, True),
    ],
)
def test_large_bounds_hold_or_are_reported(bounds: dict[str, int], held: bool) -> None:
    spec = quiet(field({"type": "integer", **bounds}))
    for seed in SEEDS:
        arguments = written(spec, seed)
        if arguments is not None:
            assert (schema_fault(spec, arguments) is None) == held


# --- what a grammar can't hold ---------------------------------------------------------------------------------------


def test_odd_arguments_are_decoded_and_the_rest_of_their_schema_is_warned_of_once() -> None:
    @tool
    def odd_one(
        a: Path, b: SecretStr, c: bytes, d: UUID4, e: set[int], f: Decimal, g: dict[Literal["x", "y"], int]
    ) -> str:
        """Take odd arguments."""
        return ""

    with pytest.warns(UserWarning, match="tool 'odd_one': decoding can't hold uniqueItems of 'e'"):
        spec = tool_spec(odd_one)
    assert tool_spec(odd_one) == spec
    arguments = {
        "a": "/",
        "b": "s",
        "c": "b",
        "d": "0" * 8 + "-0000-4000-8000-" + "0" * 12,
        "e": [1],
        "f": 1,
        "g": {"y": 2},
    }
    assert accepts(spec, arguments)
    assert not accepts(spec, {**arguments, "g": {"z": 2}})
    assert schema_fault(spec, {**arguments, "e": [1, 1]}) == (
        "The arguments break the schema of 'odd_one' at 'e': [1, 1] has non-unique elements."
    )


@pytest.mark.parametrize(
    ("schema", "keyword", "bad"),
    [
        ({"type": "integer", "not": {"const": 3}}, "not", 3),
        ({"type": "array", "items": INTEGER, "uniqueItems": True}, "uniqueItems", [1, 1]),
        ({"type": "array", "contains": INTEGER}, "contains", []),
        ({"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"}, "pattern", "-"),
        ({"type": "string", "pattern": r"\bfoo"}, "pattern", "xfoo"),
        ({"type": "object", "propertyNames": {"maxLength": 2}, "additionalProperties": True}, "propertyNames",
         {"abc": 1}),
        ({"type": "object", "patternProperties": {"^a": INTEGER, "b$": TEXT}}, "patternProperties", {"a": "1"}),
        ({"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "minProperties": 2}, "minProperties", {}),
        ({"if": {"const": 1}, "then": False}, "if", 1),
        ({"type": "object", "properties": {"a": {}, "b": {}}, "dependentRequired": {"a": ["b"]}}, "dependentRequired",
         {"a": 1}),
        ({"oneOf": [INTEGER, {"type": "number"}]}, "oneOf", 1),
        ({"const": 2**53 + 1}, "const", 2**53),
        ({"type": "integer", "multipleOf": 10**12}, "multipleOf", 1),
    ],
)  # fmt: skip
def test_a_keyword_that_a_grammar_cannot_hold_is_named_and_checked_after_decoding(
    schema: dict[str, Any], keyword: str, bad: Any
) -> None:
    for whole, place in ((field(schema), "x"), (field({"type": "array", "items": field(schema)}), "x.x")):
        grammar = schema_grammar(whole)
        assert grammar.text
        assert f"{keyword} of '{place}'" in grammar.left_out
    spec = quiet(field(schema))
    assert accepts(spec, {"x": bad})
    assert str(schema_fault(spec, {"x": bad})).startswith("The arguments break the schema of 'f'")


def test_a_check_that_never_ends_is_reported() -> None:
    endless = {"not": {"allOf": [{"$ref": "#/$defs/E"}, {"$ref": "#/$defs/E"}]}}
    spec = quiet(field({"$ref": "#/$defs/E"}, **{"$defs": {"E": endless}}))
    assert "can't be checked" in str(schema_fault(spec, {"x": 1}))
    patient = quiet(field({"type": "string", "pattern": "^(?=a)(a+)+$"}))
    assert "does not match" in str(schema_fault(patient, {"x": "a" * 40 + "!"}))


def test_decimal_multiples_are_counted_exactly() -> None:
    spec = read(field({"type": "number", "multipleOf": 0.01}))
    assert schema_fault(spec, {"x": 19.99}) is None
    assert schema_fault(spec, {"x": 19.995}) is not None


@pytest.mark.parametrize("name", ["path", "binary", "password", "uuid4", "int64", "nonsense"])
def test_unknown_formats_are_annotations(name: str) -> None:
    assert schema_grammar(field({"type": ["string", "integer"], "format": name})).left_out == ()


def test_one_argument_that_a_grammar_cannot_hold_at_all_keeps_its_type_and_leaves_the_others_alone() -> None:
    many = [
        {"anyOf": [{"properties": {f"p{i}{j}": INTEGER}, "required": [f"p{i}{j}"]} for j in range(3)]}
        for i in range(12)
    ]
    schema = {"type": "object", "properties": {"x": {"type": "object", "allOf": many}, "y": INTEGER}, "required": ["y"]}
    assert schema_grammar(schema).left_out == ("all but the type of 'x'",)
    spec = quiet(schema)
    assert accepts(spec, {"x": {"any": 1}, "y": 1})
    assert not accepts(spec, {"x": 1, "y": 1})
    assert not accepts(spec, {"y": "1"})


# --- empty and absent ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("empty", [None, []])
def test_null_and_an_empty_list_are_as_good_as_no_fields(empty: Any) -> None:
    assert read({"type": "object", "properties": empty}).signature == "f()"
    assert read(field({"type": "object", "properties": empty})).signature == "f(x: object)"
    assert read({"type": "object", "properties": {"x": empty}, "required": None}).signature == "f(x?: any)"
    assert tool_spec({"title": "f", "description": "F.", "properties": empty}).signature == "f()"
    assert tool_spec({"name": "f", "description": "F.", "parameters": empty}).signature == "f()"
