"""The keywords of strings, numbers, counts and constants that llguidance can hold, and its compiler. Loads no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher

LeaveOut = Callable[[str, Any], None]
"""Takes a keyword that the grammar doesn't hold, and its value."""

# What llguidance 1.3 to 1.9 know; the others are annotations, as JSON Schema has them by default.
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid", "uri"})
_STRING = ("pattern", "format", "minLength", "maxLength")
MINIMA, MAXIMA = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
_LARGEST = int(math.nextafter(2.0**63, 0))  # llguidance holds an integer's bounds as i64 and f64 at once
_EXACT = 2**53  # and those of other numbers, a const and an enum as f64, of which it writes the first digits
_LONGEST_STRING = 100_000
MOST_ITEMS = 1000  # llguidance writes them out one by one


@lru_cache(maxsize=4096)
def compiled(schema: str, lenient: bool = False) -> tuple[str, str]:
    """Compile a schema in JSON as it is.

    Returns:
        The grammar, and llguidance's reason for refusing it ("" for a valid grammar).
    """
    try:
        grammar = LLMatcher.grammar_from_json_schema(
            schema, overrides={"whitespace_flexible": False, "lenient": lenient}
        )
    except ValueError as error:
        return "", str(error)
    # With lenient it warns of what it ignores.
    refused, messages = LLMatcher.validate_grammar_with_warnings(grammar)
    return grammar, " ".join(messages[0].split()) if refused else ""


def is_unsatisfiable(fault: str) -> bool:
    """Return whether llguidance refused a schema because nothing is valid under it."""
    return "Unsatisfiable" in fault


def constants(schema: Mapping[str, Any], leave_out: LeaveOut) -> dict[str, Any]:
    """Return the `const` and `enum` to hold, without the values that a grammar would round."""
    kept: dict[str, Any] = {}
    for keyword in ("const", "enum"):
        if keyword not in schema:
            continue
        values = schema[keyword] if keyword == "enum" else [schema[keyword]]
        if not isinstance(values, list):
            kept[keyword] = values
            continue
        exact = [_exact(value) for value in values if _is_exact(value)]
        if (values and not exact) or is_refused({"enum": exact}):
            leave_out(keyword, schema[keyword])
        else:
            kept[keyword] = exact if keyword == "enum" else exact[0]
    return kept


def string_keywords(schema: Mapping[str, Any], leave_out: LeaveOut) -> dict[str, Any]:
    """Return the keywords of strings to hold."""
    kept = {key: schema[key] for key in _STRING if key in schema}
    named = kept.pop("format", None)
    if isinstance(named, str):
        known = "uuid" if named.startswith("uuid") and named[4:].isdigit() else named
        if known in _FORMATS:
            kept["format"] = known
    limit(kept, "minLength", "maxLength", _LONGEST_STRING, leave_out)
    return _leaf("string", kept, _STRING, leave_out)


def number_keywords(schema: Mapping[str, Any], leave_out: LeaveOut) -> dict[str, Any]:
    """Return the keywords of numbers to hold, with their bounds as llguidance can hold them."""
    kept = {key: schema[key] for key in ("multipleOf",) if key in schema}
    largest = _LARGEST if schema.get("type") == "integer" else _EXACT
    for keywords, sign in ((MINIMA, 1), (MAXIMA, -1)):
        for keyword in keywords:
            bound = schema.get(keyword)
            if isinstance(bound, bool) or not isinstance(bound, int | float):
                kept |= {keyword: bound} if keyword in schema else {}
            elif sign * bound > largest:
                leave_out(keyword, bound)
            elif sign * bound < -largest:
                kept[keyword] = -sign * largest
            else:
                kept[keyword] = _nearest_within(bound, sign)
    if largest == _LARGEST and any(_is_large(kept.get(keyword)) for keyword in MINIMA):
        kept.setdefault("maximum", _LARGEST)  # llguidance has no numbers from so high up without an end
    if is_unsatisfiable(compiled(json.dumps({"type": "number", **kept}))[1]):
        for keyword in [key for key in (*MINIMA, *MAXIMA) if key in kept and kept[key] != schema.get(key)]:
            leave_out(keyword, kept.pop(keyword))  # the few numbers within bounds that were rounded
    kind = "integer" if largest == _LARGEST else "number"
    return _leaf(kind, kept, ("multipleOf", *MINIMA, *MAXIMA), leave_out)


def _leaf(kind: str, kept: dict[str, Any], order: tuple[str, ...], leave_out: LeaveOut) -> dict[str, Any]:
    """Leave out keywords, in this order, until llguidance takes the others together."""
    if kept and is_refused({"type": kind, **kept}):
        alone = {keyword for keyword in kept if is_refused({"type": kind, keyword: kept[keyword]})}
        for keyword in order:
            if keyword in alone or (keyword in kept and is_refused({"type": kind, **kept})):
                leave_out(keyword, kept.pop(keyword))
    return kept


def limit(kept: dict[str, Any], least: str, most: str, highest: int, leave_out: LeaveOut) -> None:
    """Bring counts within what llguidance can write out."""
    for keyword in (least, most):
        count = kept.get(keyword)
        if isinstance(count, float) and count.is_integer():
            kept[keyword] = count = int(count)
        if isinstance(count, int) and count > highest:
            if keyword == most:
                kept[keyword] = highest
            else:
                leave_out(keyword, kept.pop(keyword))


def is_refused(schema: dict[str, Any]) -> bool:
    """Return whether llguidance can't hold a schema. One that nothing is valid under it holds."""
    fault = compiled(json.dumps(schema))[1]
    return bool(fault) and not is_unsatisfiable(fault)


def _is_large(bound: Any) -> bool:
    return isinstance(bound, int | float) and bound > _EXACT


def _nearest_within(bound: float, sign: int) -> float:
    """Return the f64 nearest to a bound that excludes all that the bound excludes."""
    near = float(bound)
    if sign * near < sign * bound:
        near = math.nextafter(near, sign * math.inf)
    return int(near) if near.is_integer() else near


def _is_exact(value: Any) -> bool:
    if isinstance(value, int | float):
        return abs(value) <= _EXACT
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return all(_is_exact(one) for one in inner)


def _exact(value: Any) -> Any:
    """Write whole numbers without a point, as they are decoded."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _exact(one) for name, one in value.items()}
    return [_exact(one) for one in value] if isinstance(value, list) else value
