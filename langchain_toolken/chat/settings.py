"""What is bound to a chat model for a call: tools, the choice among them, sampling, the form of the answer.

LangChain hands these on as keyword arguments in OpenAI's form; `call_settings` reads and checks them, once.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from langchain_toolken.decoding.engine import Sampling
from langchain_toolken.tools.spec import ToolSpec, schema_spec, tool_spec

ToolMode = Literal["toolken", "prompt", "hybrid"]

SAMPLING_FIELDS = (
    *("temperature", "top_p", "top_k", "seed", "max_tokens"),
    *("max_argument_tokens", "logprobs", "top_logprobs"),
    *("rerank", "rerank_margin", "rerank_k", "backtrace"),
)
"""The chat model's fields that a call may change."""

_NONE_MEANS = frozenset({"seed", "top_logprobs", "rerank"})
"""Of these None is a value; of the others it is nothing, as code that hands on an unset setting means it."""

_UNDERSTOOD = frozenset(SAMPLING_FIELDS) | {
    *("tools", "tool_choice", "response_format", "argument_models", "model", "stop"),
    # Said of every call here anyway: it keeps to its schema, calls come one by one, streams tell their usage.
    *("strict", "parallel_tool_calls", "stream_usage", "ls_structured_output_format"),
}


@dataclass(frozen=True)
class CallSettings:
    """The keyword arguments of one call, understood.

    tools: those that may be called in it.
    forced: one of them has to be.
    answer: the schema that the answer's text has to keep to; None for free text.
    sampling: the fields of the chat model that this call changes.
    argument_models: pydantic models that the arguments of some tools must pass, by tool.
    """

    tools: tuple[ToolSpec, ...]
    forced: bool
    answer: ToolSpec | None
    sampling: dict[str, Any]
    argument_models: Mapping[str, type[BaseModel]]


OF_HOSTED_MODELS = frozenset({"api_key", "base_url", "max_retries", "streaming", "timeout"})
"""LangChain's standard arguments that mean nothing to an LM in this process."""


def changed_fields(model: type[BaseModel], current: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """`current` values of fields of `model` with those that a call changes, each checked as the constructor does.

    Raises:
        ValueError: one of them is of another type, or outside its range; the message names it.
    """
    values = dict(current)
    for field, value in changed.items():
        if value is None and field not in _NONE_MEANS:
            continue
        try:
            values[field] = _checker(model, field).validate_python(value)
        except ValidationError as error:
            raise ValueError(f"{field}={value!r}: {error.errors(include_url=False)[0]['msg']}.") from error
    return values


@lru_cache(maxsize=64)
def _checker(model: type[BaseModel], field: str) -> TypeAdapter[Any]:
    info = model.model_fields[field]
    checked: Any = Annotated[info.annotation, info]  # what only a running program can make is no type to a checker
    return TypeAdapter(checked)


def warn_of_unknown(given: Collection[str], known: Collection[str], hint: str) -> None:
    """Name what is `given` and not `known`, since code that was written for other models gives more than this one has,
    and a slip of the pen would pass for it."""
    if unknown := sorted(set(given) - set(known)):
        named = ", ".join(map(repr, unknown))
        warnings.warn(f"ToolkenChat has no {named} and leaves it out: {hint}.", UserWarning, stacklevel=3)


def sampling_of(values: Mapping[str, Any]) -> Sampling:
    """What the engine has to know of `values`, which has all of `SAMPLING_FIELDS`.

    Raises:
        ValueError: one of them is outside its range.
    """
    return Sampling(
        temperature=values["temperature"],
        top_p=values["top_p"],
        top_k=values["top_k"],
        seed=values["seed"],
        max_tokens=values["max_tokens"],
        top_logprobs=(values["top_logprobs"] or 0) if values["logprobs"] else None,
    )


def choice_among(choice: object, names: Sequence[str]) -> tuple[str, ...] | None:
    """The tools that `choice` leaves to be called, of `names`; None if the LM need not call any of them.

    Args:
        choice: LangChain's and OpenAI's forms: None or "auto"; "none" or False; "any", "required" or True; a tool's
            name; {"type": "function", "function": {"name": ...}}.

    Raises:
        ValueError: it is of another form, names a tool that is not bound, or forces a call where no tool is bound.
    """
    if choice in (None, "auto", "none", False):
        return None
    if choice in ("any", "required", True):
        if not names:
            raise ValueError(f"tool_choice={choice!r} forces a call, but no tools are bound. Bind some.")
        return tuple(names)
    function = choice.get("function") if isinstance(choice, Mapping) and choice.get("type") == "function" else None
    name = function.get("name") if isinstance(function, Mapping) else choice
    if not isinstance(name, str):
        raise ValueError(
            f"tool_choice={choice!r} is not understood. Give 'auto', 'none', 'any', 'required', the name of a bound "
            "tool, or {'type': 'function', 'function': {'name': ...}}."
        )
    if name not in names:
        bound = ", ".join(repr(known) for known in names) or "none"
        raise ValueError(f"tool_choice={choice!r} names a tool that is not bound (bound: {bound}).")
    return (name,)


def call_settings(kwargs: Mapping[str, Any]) -> CallSettings:
    """What a call's keyword arguments (those that `bind` and `bind_tools` put there) ask for.

    Raises:
        ValueError: as `choice_among`; the response_format is not of type "json_schema" or "text"; a response_format is
            given together with a forced call.
        ToolError: something among the tools is not a tool.
    """
    warn_of_unknown(kwargs, _UNDERSTOOD, f"a call can change {', '.join(SAMPLING_FIELDS)}, stop and model")
    specs = {spec.name: spec for spec in map(tool_spec, kwargs.get("tools") or ())}
    choice = kwargs.get("tool_choice")
    chosen = choice_among(choice, list(specs))
    if choice in ("none", False):
        specs = {}
    answer = _answer_schema(kwargs.get("response_format"))
    if answer is not None and chosen is not None:
        raise ValueError(f"tool_choice={choice!r} forces a call and response_format a text: give one of them.")
    return CallSettings(
        tools=tuple(specs[name] for name in chosen) if chosen is not None else tuple(specs.values()),
        forced=chosen is not None,
        answer=answer,
        sampling={field: kwargs[field] for field in SAMPLING_FIELDS if field in kwargs},
        argument_models=kwargs.get("argument_models") or {},
    )


def _answer_schema(response_format: object) -> ToolSpec | None:
    if response_format is None or response_format == {"type": "text"}:
        return None
    if isinstance(response_format, type):
        return schema_spec(response_format)
    given = response_format.get("json_schema") if isinstance(response_format, Mapping) else None
    if not isinstance(given, Mapping) or not isinstance(given.get("schema"), Mapping):
        raise ValueError(
            f"response_format={response_format!r} is not supported: give {{'type': 'json_schema', 'json_schema': "
            "{'name': ..., 'schema': {...}}}, which keeps the answer to the schema."
        )
    schema = {**given["schema"], "title": given.get("name") or given["schema"].get("title") or "answer"}
    return schema_spec(schema)
