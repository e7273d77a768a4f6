"""Random schemas, read and decoded as in a call: what is written is valid, or reported; and no schema takes long."""

from __future__ import annotations

import contextlib
import json
import warnings
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from langchain_toolken.tools.decodable import Decodable, Work
from langchain_toolken.tools.grammar import schema_grammar
from langchain_toolken.tools.keywords import compiled
from langchain_toolken.tools.schemas import SchemaError
from langchain_toolken.tools.spec import ToolError, ToolSpec, schema_fault
from tests.support.schemas import read, written

PROPERTY = settings(
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
NAMES = st.sampled_from(["a", "b", "c", "d"])
DEFINED = st.sampled_from(["#", "#/properties/a", "#/$defs/A", "#/$defs/B", "#/$defs/C"])


def some(values: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=1, max_size=most)


def keywords(always: dict[str, Any], /, **optional: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({key: st.just(value) for key, value in always.items()}, optional=optional)


bounds = st.integers(-20, 20) | st.sampled_from([2**31, 2**53 + 1, 2**63, -(2**64), 10**25])
numbers = st.sampled_from(["integer", "number"]).flatmap(
    lambda kind: keywords(
        {"type": kind},
        minimum=bounds,
        maximum=bounds,
        exclusiveMinimum=bounds,
        multipleOf=st.sampled_from([1, 2, 3, 7]),
    )
)
strings = keywords(
    {"type": "string"},
    minLength=st.integers(0, 3),
    maxLength=st.integers(2, 8),
    pattern=st.sampled_from(["^[ab]*$", "b", "^(?!a)", r"^\d+$", "^a|b$"]),
    format=st.sampled_from(["date", "uuid", "ipv4", "path", "uuid4"]),
)
constants = st.sampled_from([None, True, 0, 1, 2.5, "a", "", [1], {"a": 1}])
leaves = st.one_of(
    numbers,
    strings,
    st.sampled_from([True, {}, {"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}]),
    st.builds(lambda value: {"const": value}, constants),
    st.builds(lambda values: {"enum": values}, some(constants)),
    st.builds(lambda reference: {"$ref": reference}, DEFINED),
)


def wider(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    objects = keywords(
        {"type": "object"},
        properties=st.dictionaries(NAMES, inner, max_size=3),
        required=st.lists(NAMES, max_size=2, unique=True),
        additionalProperties=st.just(False) | inner,
        patternProperties=st.dictionaries(st.sampled_from(["^a", "b$", "^c"]), inner, max_size=2),
        propertyNames=st.sampled_from([{"enum": ["a", "b"]}, {"pattern": "^[ab]"}, {"maxLength": 1}]),
        minProperties=st.integers(0, 2),
        maxProperties=st.integers(0, 3),
        dependentRequired=st.just({"a": ["b"]}),
        unevaluatedProperties=st.just(False),
        anyOf=some(inner),
        allOf=some(inner),
        oneOf=some(inner),
    )
    lists = keywords(
        {"type": "array"},
        items=inner,
        prefixItems=some(inner, 2),
        minItems=st.integers(0, 2),
        maxItems=st.integers(0, 3),
        uniqueItems=st.booleans(),
        contains=inner,
    )
    combined = st.builds(
        lambda keyword, parts: {keyword: parts}, st.sampled_from(["anyOf", "oneOf", "allOf"]), some(inner)
    )
    other = st.builds(lambda keyword, part: {keyword: part}, st.sampled_from(["not", "if"]), inner)
    extended = st.builds(lambda one, two: {**one, **two} if isinstance(two, dict) else one, st.builds(
        lambda reference: {"$ref": reference}, DEFINED), inner)  # fmt: skip
    return st.one_of(objects, lists, combined, other, extended)


anything = st.recursive(leaves, wider, max_leaves=12)
schemas = st.builds(
    lambda top, fields, definitions: {**top, "properties": fields, "$defs": definitions},
    st.fixed_dictionaries(
        {"type": st.just("object")},
        optional={
            "required": st.lists(NAMES, max_size=2, unique=True),
            "anyOf": some(anything),
            "allOf": some(anything),
            "oneOf": some(anything),
        },
    ),
    st.fixed_dictionaries({"a": anything}, optional=dict.fromkeys("bcd", anything)),
    st.fixed_dictionaries({"A": anything, "B": anything, "C": anything}),
)


def quiet(schema: dict[str, Any]) -> ToolSpec:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return read(schema)


@settings(PROPERTY, max_examples=60)
@given(schema=schemas, seed=st.integers(0, 3))
def test_what_is_written_is_valid_or_reported(schema: dict[str, Any], seed: int) -> None:
    try:
        spec = quiet(schema)
    except ToolError as error:
        assert str(error).startswith("tool 'f': ")
        return
    arguments = written(spec, seed)
    if arguments is None:  # cut off, which is reported too
        return
    fault = schema_fault(spec, arguments)
    if fault is None or "can't be checked" not in fault:  # jsonschema alone would recurse for ever
        assert Draft202012Validator(schema).is_valid(arguments) == (fault is None)
    assert fault is None or schema_grammar(spec.json_schema).left_out


@st.composite
def schema_and_value(draw: st.DrawFn, depth: int = 3, *, fields: bool = False) -> tuple[Any, Any]:
    """A schema, and a value that is valid under it: whatever is refused as unsatisfiable is so wrongly."""
    kinds = ["object", "anyOf", "allOf", "oneOf"] + ([] if fields else ["leaf", "leaf", "list", "map"])
    kind = draw(st.sampled_from(kinds)) if depth else ("object" if fields else "leaf")
    if kind == "leaf":
        value = draw(st.sampled_from([0, 7, -3, 2.5, "b", "ab", True, None]))
        name = {int: "integer", float: "number", str: "string", bool: "boolean", type(None): "null"}[type(value)]
        found: dict[str, Any] = draw(st.sampled_from([{"type": name}, {"enum": [value, "z"]}, {"const": value}]))
        if isinstance(value, int) and not isinstance(value, bool) and draw(st.booleans()):
            found = {"type": "integer", "minimum": value, "maximum": value + draw(st.integers(0, 30))}
        return found, value
    if kind == "list":
        item, value = draw(schema_and_value(depth - 1))
        return {"type": "array", "items": item, "minItems": draw(st.integers(0, 1))}, [value]
    if kind == "map":
        item, value = draw(schema_and_value(depth - 1))
        return draw(st.sampled_from([
            {"type": "object", "additionalProperties": item}, {"type": "object", "patternProperties": {"^k": item}}
        ])), {"k": value}  # fmt: skip
    if kind == "object":
        listed = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
        pairs = {name: draw(schema_and_value(depth - 1)) if depth else ({}, 1) for name in listed}
        properties = {name: pair[0] for name, pair in pairs.items() if draw(st.integers(0, 3))}
        typed = {"type": "object"} if draw(st.booleans()) else {}
        required = draw(st.lists(st.sampled_from(listed), unique=True))
        return {**typed, "properties": properties, "required": required}, {
            name: pair[1] for name, pair in pairs.items()
        }
    one, value = draw(schema_and_value(depth - 1, fields=fields))
    if kind == "allOf":
        base: dict[str, Any] = {"allOf": [one]}
        if isinstance(value, dict):
            more, others = draw(schema_and_value(0, fields=True))
            renamed = {f"{name}2": schema for name, schema in more["properties"].items()}
            base |= {"properties": renamed, "required": [f"{name}2" for name in more["required"]]}
            value = {**value, **{f"{name}2": 1 for name in others}}
        return base, value
    never = {"type": "object", "properties": {"kind": {"const": "other"}}, "required": ["kind"]}
    return {kind: draw(st.permutations([one, never]))}, value


@settings(PROPERTY, max_examples=100)
@given(case=schema_and_value(fields=True), seed=st.integers(0, 3))
def test_a_schema_that_something_is_valid_under_is_never_refused(case: tuple[Any, Any], seed: int) -> None:
    schema, value = case
    Draft202012Validator(schema).validate(value)
    spec = quiet({"type": "object", **schema})
    arguments = written(spec, seed)
    if arguments is not None:
        assert Draft202012Validator(schema).is_valid(arguments) == (schema_fault(spec, arguments) is None)


@st.composite
def hostile(draw: st.DrawFn) -> dict[str, Any]:
    """A schema of up to 4 kB that multiplies: by references, products of alternatives, patterns and counts."""
    width, length = draw(st.integers(1, 4)), draw(st.integers(1, 40))
    keyword = draw(st.sampled_from(["anyOf", "oneOf", "allOf"]))
    field = draw(st.sampled_from([None, "items", "properties"]))

    def step(i: int) -> Any:
        reference: Any = {"$ref": f"#/$defs/d{i + 1}"}
        inner = (
            {"items": reference} if field == "items" else {"properties": {f"p{i}": reference}} if field else reference
        )
        return {keyword: [inner] * width, **draw(st.sampled_from([{}, {"type": "object"}, {"required": ["p0"]}]))}

    chain = {f"d{i}": step(i) for i in range(length)} | {f"d{length}": draw(anything)}
    product = [{keyword: [{"required": [f"{i}{j}"]} for j in range(width)]} for i in range(draw(st.integers(0, 12)))]
    pattern = draw(st.sampled_from([r"^(\w+[.-]?)+@\w+$", "((a{1,50}){1,50}){1,50}", "(.*a.{90})(.*b.{90})"]))
    counts = {"minItems": 1, "maxItems": draw(st.sampled_from([3, 10**4, 10**12]))}
    fields = {
        "a": {"$ref": "#/$defs/d0"},
        "b": {"allOf": product} if product else True,
        "c": {"type": "array", "items": {"type": "string", "pattern": pattern, "minLength": 6}, **counts},
    }
    schema = {"type": "object", "properties": fields, "$defs": chain}
    return schema if len(json.dumps(schema)) <= 4096 else {"type": "object", "properties": {"a": fields["a"]}}


@settings(PROPERTY, max_examples=20)
@given(schema=hostile())
def test_no_schema_takes_long_to_be_read_bound_and_signed(schema: dict[str, Any]) -> None:
    before = compiled.cache_info().misses
    try:
        spec = quiet(schema)
    except ToolError:
        spec = ToolSpec(name="f", description="F.", json_schema=schema)
    assert compiled.cache_info().misses - before <= 300  # each takes 30 ms at the most, and nearly all of them 1
    assert len(spec.signature) <= 4100
    work = Work(6000)
    with contextlib.suppress(SchemaError):
        Decodable(schema, work=work)
    assert work.left >= -1  # a visit takes about 50 µs
