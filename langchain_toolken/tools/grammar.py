"""From a JSON schema to the llguidance grammar that arguments and answers are decoded under. Loads no torch.

A grammar accepts one JSON object that is valid against the schema, with two restrictions. Whitespace is fixed to the
compact form, because a weak LM allowed to pad with whitespace may never stop. Objects that list their properties
accept no others, because the functions that receive them do not either.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from llguidance import LLMatcher

from langchain_toolken.tools.schemas import map_schemas, resolve


def schema_grammar(schema: Mapping[str, Any]) -> tuple[str, str]:
    """Turn a schema of an object into a grammar.

    Returns:
        The grammar, and llguidance's reason for refusing it ("" for a valid grammar).
    """
    return _grammar(json.dumps(_closed(schema)))


def faulty_field(root: Mapping[str, Any]) -> tuple[str, str]:
    """Find the field that makes llguidance refuse a schema.

    Returns:
        The path of the innermost field that is refused by itself, such as "person.birthday", and llguidance's reason;
        two empty texts if no single field is to blame.
    """
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


def _closed(schema: Any, keyword: str = "") -> Any:
    if not isinstance(schema, Mapping):
        return schema
    copy = map_schemas(schema, _closed)
    # The branches of an allOf describe one object together: closed one by one, they would contradict each other.
    if keyword != "allOf" and "properties" in copy and "patternProperties" not in copy and "allOf" not in copy:
        copy.setdefault("additionalProperties", False)
    return copy


@lru_cache(maxsize=4096)
def _grammar(schema: str) -> tuple[str, str]:
    grammar = LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_flexible": False})
    return grammar, LLMatcher.validate_grammar(grammar).strip()
