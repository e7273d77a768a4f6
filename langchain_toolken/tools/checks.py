"""Check decoded arguments against the whole schema, whatever their grammar could hold of it. Loads no torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import regex
from jsonschema import Draft202012Validator
from jsonschema.exceptions import UnknownType, ValidationError
from jsonschema.validators import extend
from referencing import Registry
from referencing.exceptions import Unresolvable

from langchain_toolken.tools.schemas import ANNOTATIONS, map_schemas, plain_schema, schema_text

_MOST_REFERENCES = 5000  # followed for one object; schemas that refer to themselves can ask for any number
_PATTERN_SECONDS = 0.5  # a pattern that backtracks for longer counts as one that doesn't match
_LONGEST_MESSAGE = 160
_DEEPEST_REFERENCE = 64  # within another; Python's own limit must not be met inside of a library


class _Endless(Exception):
    """The check would take too long."""


@dataclass
class _Followed:
    """The references followed in a check: all of them, and those that the check is within."""

    count: int = 0
    depth: int = 0


_followed: ContextVar[_Followed] = ContextVar("followed")


def argument_fault(schema: Mapping[str, Any], arguments: Any) -> tuple[str, str] | None:
    """Check arguments against the schema of a tool.

    Unlike plain jsonschema this never fetches a reference from the network, takes bounded time, and counts decimal
    multiples exactly: 19.99 is a multiple of 0.01. A `format` is an annotation, as JSON Schema has it by default.

    Returns:
        The path of the first field at fault ("" for the arguments as a whole) and what is wrong with it; None if the
        arguments are valid.
    """
    before = _followed.set(_Followed())
    try:
        fault = next(_checker(schema_text(schema)).iter_errors(arguments), None)
    except (_Endless, RecursionError, Unresolvable, UnknownType, *_MALFORMED) as error:
        return "", _shortened(f"they can't be checked: {error}")
    finally:
        _followed.reset(before)
    if fault is None:
        return None
    return ".".join(map(str, fault.absolute_path)), _shortened(fault.message)


def malformed(schema: Mapping[str, Any]) -> str:
    """Return what JSON Schema itself forbids in a schema, apart from its annotations; "" if nothing."""
    fault = next(_Meta.iter_errors(_without_annotations(schema)), None)
    if fault is None:
        return ""
    return _shortened(f"{'.'.join(map(str, fault.absolute_path)) or 'the schema'}: {fault.message}")


def _without_annotations(schema: Any) -> Any:
    if not isinstance(schema, Mapping):
        return schema
    kept = {key: value for key, value in schema.items() if key not in ANNOTATIONS or key in ("$defs", "definitions")}
    return map_schemas(kept, _without_annotations)


# What jsonschema raises where a keyword's value is not what it should be.
_MALFORMED = (TypeError, AttributeError, ValueError, KeyError, ArithmeticError, regex.error)


def _shortened(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"


@lru_cache(maxsize=4096)
def _checker(schema: str) -> Any:
    return _Checker(plain_schema(json.loads(schema)), registry=Registry())


def _reference(validator: Any, reference: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    followed = _followed.get()
    followed.count += 1
    followed.depth += 1
    if followed.count > _MOST_REFERENCES or followed.depth > _DEEPEST_REFERENCE:
        raise _Endless("the schema's references go on for too long")
    yield from Draft202012Validator.VALIDATORS["$ref"](validator, reference, instance, schema)
    followed.depth -= 1


def _matches(pattern: str, text: str) -> bool:
    try:
        return regex.search(pattern, text, timeout=_PATTERN_SECONDS) is not None
    except TimeoutError:
        return False


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if not isinstance(instance, str):
        return
    try:
        matches = _matches(pattern, instance)
    except regex.error:  # in the form of another language; where llguidance knows it, the grammar held it
        matches = True
    if not matches:
        yield ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        for pattern, field in patterns.items():
            for name, value in instance.items():
                if _matches(pattern, name):
                    yield from validator.descend(value, field, path=name, schema_path=pattern)


def _additional_properties(validator: Any, field: Any, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, dict):
        patterns = schema.get("patternProperties", {})
        for name, value in instance.items():
            if name in schema.get("properties", {}) or any(_matches(pattern, name) for pattern in patterns):
                continue
            if field is False:
                yield ValidationError(f"there is no field {name!r}")
            yield from validator.descend(value, field, path=name) if field is not False else ()


def _multiple_of(validator: Any, divisor: float, instance: Any, schema: Any) -> Iterator[ValidationError]:
    if isinstance(instance, int | float) and not isinstance(instance, bool):
        quotient = Fraction(repr(instance)) / Fraction(repr(divisor))
        if quotient.denominator != 1:
            yield ValidationError(f"{instance!r} is not a multiple of {divisor}")


_Checker = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {
        "$ref": _reference,
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "multipleOf": _multiple_of,
    },
)
_Meta = Draft202012Validator(Draft202012Validator.META_SCHEMA)
