"""What a call of the chat model may ask for: settings, tools, the choice among them, the form of the answer.

LangChain passes these on as keyword arguments in OpenAI's form. `read_call_options` reads and checks them.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.exceptions import ModelInvalidRequestError
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list
from pydantic import BaseModel, Field, ValidationError

from langchain_toolken.chat.reranking import DEFAULT_MARGIN, MOST_CANDIDATES, Reranking, RerankMethod
from langchain_toolken.decoding.engine import MOST_TOP_LOGPROBS, Sampling
from langchain_toolken.errors import ToolkenError
from langchain_toolken.tools.spec import ToolSpec, schema_spec, tool_spec

ToolMode = Literal["toolken", "prompt", "hybrid"]


class InvalidRequestError(ToolkenError, ModelInvalidRequestError, ValueError):
    """A call asks the chat model for something it can't do.

    It is a LangChain `ModelInvalidRequestError`, so LangChain's retry middleware does not repeat the call.
    """


class GenerationSettings(BaseModel):
    """The settings of a chat model that a single call can change.

    Attributes:
        temperature: 0 is greedy, the papers' setting.
        top_p: Nucleus sampling; 1 is off.
        top_k: Sample from the k likeliest tokens; 0 is off.
        seed: Makes sampling repeatable.
        max_tokens: Most tokens of an answer, including a call at its end.
        max_argument_tokens: Most tokens of one call's arguments, within `max_tokens`. A call that either limit cuts off
            is reported in `invalid_tool_calls`, with finish_reason "length".
        stop: Strings that end an answer, in addition to the prompt style's own.
        logprobs: Report the tokens' log-probabilities in `response_metadata`, in OpenAI's form.
        top_logprobs: How many of the likeliest tokens to report at each place.
        rerank: Have the frozen LM judge calls that the toolkens are unsure of. "docs": it reads the likeliest tools'
            cards and may reject the call. "frozen": it reads none and names one of them. None (the default): never,
            because it costs LM tokens, which `response_metadata["rerank"]` and the usage report.
        rerank_margin: A call is judged if its probability leads the runner-up's by less than this. With a lead above
            the default, 0.5, the call is likelier to be right than everything else together.
        rerank_k: Most tools that are judged.
        backtrace: How many runners-up are tried, one after the other, if a call's arguments are cut off or fail the
            tool's own pydantic model. 0 (the default) reports the failed call and calls no other tool, because that one
            might do something that nobody wanted.
        parallel_tool_calls: Make several calls in one message, where parts of the user's message ask for one each
            (`decoding.parts`). It needs toolkens with a gate and results as tool messages (reinjection "turn"), and
            reads messages of several parts once more. False makes one call at a time. None (the default) does what the
            set's fit found: several, if a demonstration makes them or made-up messages showed that it pays.
    """

    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0)
    seed: int | None = None
    max_tokens: int = Field(default=256, ge=1)
    max_argument_tokens: int = Field(default=256, ge=1)
    stop: list[str] | None = None
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_TOP_LOGPROBS)
    rerank: RerankMethod | None = None
    rerank_margin: float = Field(default=DEFAULT_MARGIN, ge=0, le=1)
    rerank_k: int = Field(default=MOST_CANDIDATES, ge=2, le=MOST_CANDIDATES)
    backtrace: int = Field(default=0, ge=0, lt=MOST_CANDIDATES)
    parallel_tool_calls: bool | None = None


GENERATION_FIELDS = tuple(GenerationSettings.model_fields)

_LEAST_TEMPERATURE = 1e-4

_NONE_IS_A_VALUE = frozenset({"seed", "top_logprobs", "rerank"})
"""For the other fields None means "not given", because callers often pass on settings that are unset."""

_UNDERSTOOD = frozenset(GENERATION_FIELDS) | {
    *("tools", "tool_choice", "response_format", "argument_models", "model"),
    # True of every call anyway: arguments match their schema, streams report their usage.
    *("strict", "stream_usage", "ls_structured_output_format"),
}

OF_HOSTED_MODELS = frozenset({"api_key", "base_url", "max_retries", "streaming", "timeout"})
"""Standard LangChain arguments that mean nothing for an LM in this process."""


@dataclass(frozen=True)
class CallOptions:
    """The keyword arguments of one call, read and checked.

    Attributes:
        tools: The tools that the LM may call.
        forced: Whether it has to call one of them.
        answer: The schema that the answer's text must match; None for free text.
        changes: The fields of `GenerationSettings` that the call changes.
        argument_models: Pydantic models that the arguments of some tools must pass, by tool name.
    """

    tools: tuple[ToolSpec, ...]
    forced: bool
    answer: ToolSpec | None
    changes: Mapping[str, Any]
    argument_models: Mapping[str, type[BaseModel]]


def changed_settings(settings: GenerationSettings, changes: Mapping[str, Any]) -> GenerationSettings:
    """Return the generation settings of `settings` (a chat model is one) with a call's `changes`.

    Raises:
        InvalidRequestError: A value has the wrong type or is outside its range. The message names the field.
    """
    values = {field: getattr(settings, field) for field in GENERATION_FIELDS}
    values |= {field: value for field, value in changes.items() if value is not None or field in _NONE_IS_A_VALUE}
    if unknown := sorted(set(values) - set(GENERATION_FIELDS)):
        raise InvalidRequestError(f"A call can't change {unknown[0]!r}; it can change {', '.join(GENERATION_FIELDS)}.")
    try:
        return GenerationSettings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0])
        raise InvalidRequestError(f"{field}={values[field]!r}: {first['msg']}.") from error


def sampling_of(settings: GenerationSettings) -> Sampling:
    """Return the part of the settings that the engine samples by."""
    return Sampling(
        # Logits divided by less overflow, and the likeliest token has all of the probability long before.
        temperature=settings.temperature if settings.temperature >= _LEAST_TEMPERATURE else 0.0,
        top_p=settings.top_p,
        top_k=settings.top_k,
        seed=settings.seed,
        max_tokens=settings.max_tokens,
        top_logprobs=(settings.top_logprobs or 0) if settings.logprobs else None,
    )


def reranking_of(settings: GenerationSettings) -> Reranking:
    """Return when and how calls are judged again."""
    return Reranking(settings.rerank, settings.rerank_margin, settings.rerank_k)


def warn_of_unknown(given: Collection[str], known: Collection[str], hint: str) -> None:
    """Warn of the names in `given` that are not `known`.

    This is not an error, because code written for other chat models passes settings that this one lacks. Without a
    warning a misspelled setting would go unnoticed.
    """
    if unknown := sorted(set(given) - set(known)):
        named = ", ".join(map(repr, unknown))
        warnings.warn(f"ToolkenChat has no {named} and leaves it out: {hint}.", UserWarning, stacklevel=3)


def with_concurrency(
    config: RunnableConfig | list[RunnableConfig] | None, inputs: int, most: int
) -> list[RunnableConfig]:
    """Return a config for each of `inputs` inputs of a batch, in which `most` run at a time unless it says otherwise.

    LangChain's default depends on the number of CPUs, not on what the LM can batch.
    """
    configs = get_config_list(config, inputs)
    for each in configs:
        if each.get("max_concurrency") is None:
            each["max_concurrency"] = most
    return configs


def choice_among(choice: object, names: Sequence[str]) -> tuple[str, ...] | None:
    """Return the tools of which `choice` forces one to be called; None if it forces no call.

    Args:
        choice: LangChain's or OpenAI's form: None or "auto"; "none" or False; "any", "required" or True; a tool's
            name; {"type": "function", "function": {"name": ...}}.
        names: The bound tools.

    Raises:
        InvalidRequestError: It has another form, names a tool that is not bound, or forces a call and no tool is
            bound.
    """
    if choice in (None, "auto", "none", False):
        return None
    if choice in ("any", "required", True):
        if not names:
            raise InvalidRequestError(f"tool_choice={choice!r} forces a call, but no tools are bound. Bind some.")
        return tuple(names)
    function = choice.get("function") if isinstance(choice, Mapping) and choice.get("type") == "function" else None
    name = function.get("name") if isinstance(function, Mapping) else choice
    if not isinstance(name, str):
        raise InvalidRequestError(
            f"tool_choice={choice!r} is not understood. Give 'auto', 'none', 'any', 'required', the name of a bound "
            "tool, or {'type': 'function', 'function': {'name': ...}}."
        )
    if name not in names:
        bound = ", ".join(repr(known) for known in names) or "none"
        raise InvalidRequestError(f"tool_choice={choice!r} names a tool that is not bound (bound: {bound}).")
    return (name,)


def read_call_options(kwargs: Mapping[str, Any]) -> CallOptions:
    """Read a call's keyword arguments, including those from `bind` and `bind_tools`.

    Raises:
        InvalidRequestError: See `choice_among`. Also if the response_format is not of type "json_schema" or "text", or
            is combined with a forced call.
        ToolError: Something in `tools` is not a tool.
    """
    warn_of_unknown(kwargs, _UNDERSTOOD, f"a call can change {', '.join(GENERATION_FIELDS)} and model")
    specs = {spec.name: spec for spec in map(tool_spec, kwargs.get("tools") or ())}
    choice = kwargs.get("tool_choice")
    chosen = choice_among(choice, list(specs))
    if choice in ("none", False):
        specs = {}
    answer = _answer_schema(kwargs.get("response_format"))
    if answer is not None and chosen is not None:
        raise InvalidRequestError(
            f"tool_choice={choice!r} forces a call and response_format forces a text: give one of them."
        )
    return CallOptions(
        tools=tuple(specs[name] for name in chosen) if chosen is not None else tuple(specs.values()),
        forced=chosen is not None,
        answer=answer,
        changes={field: kwargs[field] for field in GENERATION_FIELDS if field in kwargs},
        argument_models=kwargs.get("argument_models") or {},
    )


def _answer_schema(response_format: object) -> ToolSpec | None:
    if response_format is None or response_format == {"type": "text"}:
        return None
    if isinstance(response_format, type):
        return _schema_spec(response_format)
    given = response_format.get("json_schema") if isinstance(response_format, Mapping) else None
    if not isinstance(given, Mapping) or not isinstance(given.get("schema"), Mapping):
        raise InvalidRequestError(
            f"response_format={response_format!r} is not supported: give {{'type': 'json_schema', 'json_schema': "
            "{'name': ..., 'schema': {...}}}; the answer then matches the schema."
        )
    schema = {**given["schema"], "title": given.get("name") or given["schema"].get("title") or "answer"}
    return _schema_spec(schema)


def _schema_spec(schema: object) -> ToolSpec:
    try:
        return schema_spec(schema)
    except ToolkenError:
        raise
    except ValueError as error:
        raise InvalidRequestError(f"response_format: {error}") from error
