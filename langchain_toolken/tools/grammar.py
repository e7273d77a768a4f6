"""From a JSON schema to the llguidance grammar that arguments and answers are decoded under. Loads no torch.

A grammar accepts one JSON object. Whitespace is fixed to the compact form, because a weak LM allowed to pad with
whitespace may never stop. What else a grammar narrows and what it can't hold: `decodable`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from langchain_toolken.tools.checks import malformed
from langchain_toolken.tools.decodable import Decodable, Work
from langchain_toolken.tools.keywords import compiled, is_unsatisfiable
from langchain_toolken.tools.schemas import SchemaError, fields_of, resolve, schema_text, takes_no_fields

_LEAST_WORK = 6000  # schemas visited; one of 4 kB has a few hundred, but references can multiply them
_MOST_TRIALS = 20  # compilations in search of a faulty field; one takes up to 30 ms


@dataclass(frozen=True)
class SchemaGrammar:
    """A schema's grammar.

    Attributes:
        text: The grammar for llguidance; "" if there is none.
        left_out: The keywords that it doesn't hold: "uniqueItems of 'tags'".
        fault: Why there is no grammar; "" if there is one.
        field: The path of the field at fault: "person.birthday"; "" if none is to blame by itself.
        fixed: Whether `{}` is the only object it accepts.
    """

    text: str
    left_out: tuple[str, ...] = ()
    fault: str = ""
    field: str = ""
    fixed: bool = False


def schema_grammar(schema: Mapping[str, Any]) -> SchemaGrammar:
    """Make the grammar of a schema of an object, or say why there is none."""
    try:
        text = schema_text(schema)
    except SchemaError as error:
        return SchemaGrammar("", fault=str(error))
    return _grammar(text)


@lru_cache(maxsize=4096)
def _grammar(text: str) -> SchemaGrammar:
    schema = json.loads(text)
    if takes_no_fields(schema):
        schema, fixed = {"type": "object", "additionalProperties": False}, True
    else:
        fixed = False
    first, work = "", Work(max(_LEAST_WORK, len(text) // 10))
    for narrow in (True, False):
        tried = _tried(schema, work, narrow=narrow)
        if not tried.fault:
            return replace(tried, fixed=fixed)
        first = first or tried.fault
    trials = [_MOST_TRIALS]
    faults = list(_faults(schema, schema, work, trials))
    if faults and not any(fault.final for fault in faults) and not malformed(schema):
        # Odd arguments: their type is held, and all else is checked when they are there.
        tried = _tried(schema, work, loose=frozenset(fault.name for fault in faults))
        if not tried.fault:
            return tried
    found = next((fault for fault in faults if fault.final), faults[0] if faults else None)
    path: list[str] = []
    seen: list[Any] = []
    reason = first
    while found is not None and not any(found.schema is one for one in seen):
        path.append(found.name)
        seen.append(found.schema)
        reason = found.reason
        found = next(_faults(found.schema, schema, work, trials), None)
    return SchemaGrammar("", fault=reason, field=".".join(path))


def _tried(schema: Any, work: Work, *, narrow: bool = True, loose: frozenset[str] = frozenset()) -> SchemaGrammar:
    try:
        decodable = Decodable(schema, narrow=narrow, loose=loose, work=work)
    except SchemaError as error:
        return SchemaGrammar("", fault=str(error))
    text = json.dumps(decodable.schema)
    grammar, fault = compiled(text)
    if fault and not is_unsatisfiable(fault):
        lenient, still = compiled(text, lenient=True)
        if not still:  # counts of fields that are spread over several schemas
            return SchemaGrammar(lenient, (*decodable.left_out, "minProperties and maxProperties"))
    return SchemaGrammar(grammar, decodable.left_out, fault)


@dataclass(frozen=True)
class _Fault:
    """A field that is refused by itself.

    Attributes:
        name: The field.
        schema: Its schema.
        reason: Why it is refused.
        final: Whether nothing can be decoded for it: its schema is unsatisfiable, or none.
    """

    name: str
    schema: Any
    reason: str
    final: bool


def _faults(schema: Any, root: Mapping[str, Any], work: Work, trials: list[int]) -> Iterator[_Fault]:
    """Find the fields of an object, or of a list's items, that are refused by themselves."""
    schema = resolve(schema, root)
    while isinstance(schema, Mapping) and "items" in schema and trials[0] > 0:
        trials[0] -= 1
        schema = resolve(schema["items"], root)
    fields = fields_of(schema, root)
    for name, field in fields.schemas.items():
        if trials[0] <= 0:
            return
        trials[0] -= 1
        alone = {"type": "object", "properties": {name: field}, "required": [name]}
        try:
            reason = compiled(json.dumps(Decodable(alone, root=root, narrow=False, work=work).schema))[1]
        except SchemaError as error:
            yield _Fault(name, field, str(error), final=True)
            continue
        unsatisfiable = is_unsatisfiable(reason)
        if reason and (name in fields.required or not unsatisfiable):
            yield _Fault(name, field, reason, final=unsatisfiable)
