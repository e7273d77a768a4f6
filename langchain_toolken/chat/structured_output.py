"""Structured output: the call that asks for it, and the parser of its answers.

Every method decodes under the schema's grammar, so an answer matches the schema unless it was cut off.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal, get_args

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableLambda, RunnableMap, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_toolken.prompts.tool_cards import openai_tool
from langchain_toolken.tools.spec import ToolSpec, schema_fault, schema_spec

_MOST_DEFINITIONS = 8

Method = Literal["json_schema", "function_calling", "json_mode"]


def structured_call(schema: dict[str, Any] | type, method: str, strict: bool | None) -> dict[str, Any]:
    """Return the keyword arguments that make a chat model answer in the form of `schema`.

    Args:
        schema: A pydantic model, a TypedDict or a JSON schema.
        method: "json_schema", "function_calling" or "json_mode". "json_mode" promises no more than valid JSON, which
            "json_schema" gives too, so they do the same.
        strict: Only reported to tracers.

    Raises:
        ValueError: The method is unknown, or `schema` is not an object schema.
        ToolError: The schema has fields that can't be constrained.
    """
    if method not in get_args(Method):
        raise ValueError(f"method={method!r} is not known; give one of {', '.join(map(repr, get_args(Method)))}.")
    spec = schema_spec(schema)
    # Tracers read this; LangChain's own chat models pass the same. It writes every reference out, of which there may be
    # too many, and has no fields outside of "properties".
    plain = "properties" in spec.json_schema and len(spec.json_schema.get("$defs", ())) <= _MOST_DEFINITIONS
    shown = convert_to_openai_tool(schema) if plain else openai_tool(spec)
    traced = {"kwargs": {"method": method, "strict": strict}, "schema": shown}
    if method == "function_calling":
        return {"tools": [openai_tool(spec)], "tool_choice": spec.name, "ls_structured_output_format": traced}
    described = {"name": spec.name, "schema": {**spec.json_schema, "description": spec.description}}
    response_format = {"type": "json_schema", "json_schema": described}
    return {"response_format": response_format, "ls_structured_output_format": traced}


def with_parsing(
    llm: Runnable[LanguageModelInput, AIMessage], schema: dict[str, Any] | type, *, include_raw: bool
) -> Runnable[LanguageModelInput, Any]:
    """Return `llm` followed by a parser of its answers.

    Args:
        llm: The chat model, bound with `structured_call`.
        schema: The schema it was bound with.
        include_raw: Return {"raw", "parsed", "parsing_error"} instead of raising parsing errors, as in all of
            LangChain.
    """
    parse = RunnableLambda(AnswerForm.of(schema).read, name="parse_answer")
    if not include_raw:
        return llm | parse
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parse, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=llm) | parsed.with_fallbacks([failed], exception_key="parsing_error")


@dataclass(frozen=True)
class AnswerForm:
    """The form of a structured answer.

    Attributes:
        schema: What the caller gave: a pydantic model, a TypedDict or a JSON schema.
        spec: The same, as the LM is shown it.
    """

    schema: dict[str, Any] | type
    spec: ToolSpec

    @classmethod
    def of(cls, schema: dict[str, Any] | type) -> AnswerForm:
        """Read a schema.

        Raises:
            ValueError: `schema` is not an object schema.
            ToolError: The schema has fields that can't be constrained.
        """
        return cls(schema, schema_spec(schema))

    def read(self, message: AIMessage) -> Any:
        """Return the answer of a message that was decoded under the schema's grammar.

        Raises:
            OutputParserException: The answer was cut off, or breaks what the grammar could not enforce.
        """
        return _read(message, self.schema, self.spec)


def _read(message: AIMessage, schema: dict[str, Any] | type, spec: ToolSpec) -> Any:
    if message.response_metadata.get("finish_reason") == "length":
        raise OutputParserException(
            f"The answer in the form of {spec.name} was cut off: it reached max_tokens, max_argument_tokens or the end "
            "of the LM's context. Raise the limit, or give the schema's strings a maxLength.",
            llm_output=str(message.invalid_tool_calls or message.text),
        )
    if message.invalid_tool_calls:
        failed = message.invalid_tool_calls[0]
        raise OutputParserException(
            f"{spec.name}: {failed['error'] or 'the call is not valid'}", llm_output=str(failed["args"])
        )
    values = message.tool_calls[0]["args"] if message.tool_calls else json.loads(message.text)
    if (fault := schema_fault(spec, values)) is not None:
        raise OutputParserException(fault, llm_output=json.dumps(values))
    # pydantic v2 and v1 models; for a TypedDict or a JSON schema the dict itself is the answer.
    make = getattr(schema, "model_validate", None) or getattr(schema, "parse_obj", None)
    if make is None:
        return values
    try:
        return make(values)
    except ValueError as error:  # a custom validator checks more than the JSON schema says
        raise OutputParserException(f"{spec.name}: {error}", llm_output=json.dumps(values)) from error
