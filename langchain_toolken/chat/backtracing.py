"""Backtracing: when a call's arguments fail, try the next likeliest tool (TokenLearning, arXiv 2506.14248; ToolkenGPT).

Off by default. LangChain reports a failed call in `invalid_tool_calls` and leaves the decision to the agent, because
calling another tool instead may do something that nobody wanted. If the tools only compute or look things up, as in the
papers, a second choice costs only time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from jsonschema.validators import validator_for
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ValidationError

from langchain_toolken.chat.calls import DecodedCall, FailedCall, Prompt, decode_call
from langchain_toolken.decoding.engine import Engine, PromptTooLongError, Reasoning
from langchain_toolken.tools.spec import ToolSpec

if TYPE_CHECKING:
    from langchain_toolken.toolkens.set import ToolkenSet

Validators = Mapping[str, type[BaseModel]]
"""The pydantic models that arguments must pass, by tool name."""


def validators_of(tools: Sequence[object]) -> dict[str, type[BaseModel]]:
    """Find the pydantic models among `tools` that check more than their JSON schema does.

    Tools with injected arguments are left out: their model needs more than the arguments that the LM writes.

    Args:
        tools: Tools in any form that LangChain binds.

    Returns:
        The models by tool name.
    """
    found: dict[str, type[BaseModel]] = {}
    for tool in tools:
        model: object = tool.args_schema if isinstance(tool, BaseTool) else tool
        if not isinstance(model, type) or not issubclass(model, BaseModel):
            continue
        if isinstance(tool, BaseTool) and set(tool.args) != set(model.model_fields):
            continue
        # "function-before", "function-wrap" and so on: pydantic's name for a custom validator anywhere in the model.
        if "'function-" in repr(model.__pydantic_core_schema__):
            found[tool.name if isinstance(tool, BaseTool) else model.__name__] = model
    return found


def argument_error(spec: ToolSpec, arguments: dict[str, Any], model: type[BaseModel] | None) -> str | None:
    """Return why `arguments` are not valid for the tool, or None if they are.

    The grammar already enforces the schema's structure. This also checks what a grammar can't express (formats), and
    the validators of the tool's own pydantic model.
    """
    checker = validator_for(spec.json_schema)
    errors = checker(spec.json_schema, format_checker=checker.FORMAT_CHECKER).iter_errors(arguments)
    first = next(iter(errors), None)
    if first is not None:
        place = ".".join(map(str, first.absolute_path)) or "the arguments"
        return f"{place}: {first.message}"
    if model is not None:
        try:
            model.model_validate(arguments)
        except ValidationError as error:
            told = error.errors(include_url=False)[0]
            return f"{'.'.join(map(str, told['loc'])) or 'the arguments'}: {told['msg']}"
    return None


def decode_first_valid(
    engine: Engine,
    prompt: Prompt,
    reasoning: Reasoning,
    tools: Sequence[ToolSpec],
    toolkens: ToolkenSet | None = None,
    *,
    max_tokens: int,
    budget: int | None = None,
    runners_up: int = 0,
    validators: Validators | None = None,
) -> tuple[Reasoning, DecodedCall]:
    """Decode the call; if its arguments fail, try up to `runners_up` of the next likeliest tools.

    Args:
        engine: The engine that decodes.
        prompt: The prompt that the LM reasoned from.
        reasoning: The reasoning that ended in a call.
        tools: The tools that can be called.
        toolkens: The set whose examples the cards show, as in `decode_call`.
        max_tokens: Most tokens of each call's arguments.
        budget: Most tokens of each whole call, as in `decode_call`.
        runners_up: How many other tools are tried. With 0, only a cut-off or a broken schema is an error: the
            tool itself rejects other arguments that it can't take.
        validators: Pydantic models that arguments must pass.

    Returns:
        The reasoning with the called tool as its trigger, and the first call that passed. If none passed, the
        original call and its error.

    Raises:
        ValueError: The tool that fired is not among `tools`.
        PromptTooLongError: There is no room for the first call's arguments.
    """
    first = decode_call(engine, prompt, reasoning, tools, toolkens, max_tokens=max_tokens, budget=budget)
    if not runners_up:
        return reasoning, first
    assert reasoning.trigger is not None
    specs = {spec.name: spec for spec in tools}
    attempts = [(reasoning.trigger, _checked(first, specs[reasoning.trigger.tool], validators))]
    weighed = (reasoning.trigger, *reasoning.runners_up)
    # After a marker the runners-up are toolkens, whose probabilities don't compare with those of a written name.
    others = [] if reasoning.marker is not None else [each for each in reasoning.runners_up if each.tool in specs]
    for candidate in others[:runners_up]:
        if attempts[-1][1].error is None:
            break
        tried = replace(reasoning, trigger=candidate)
        try:
            call = decode_call(engine, prompt, tried, tools, toolkens, max_tokens=max_tokens, budget=budget)
        except PromptTooLongError:  # the context has no room for another card
            break
        attempts.append((candidate, _checked(call, specs[candidate.tool], validators)))
    failed = tuple(FailedCall(each.tool, call.error) for each, call in attempts if call.error is not None)
    trigger, chosen = attempts[-1] if attempts[-1][1].error is None else attempts[0]
    error = chosen.error
    if error is not None and len(failed) > 1:
        error += f" Tried instead, and failed too: {', '.join(repr(one.tool) for one in failed[1:])}."
    written = sum(call.written_tokens + call.completion.completion_tokens for _, call in attempts)
    return (
        replace(reasoning, trigger=trigger, runners_up=tuple(each for each in weighed if each is not trigger)),
        replace(
            chosen,
            error=error,
            card_tokens=sum(call.card_tokens for _, call in attempts),
            written_tokens=written - chosen.completion.completion_tokens,
            backtraced_from=failed if error is None else (),
        ),
    )


def _checked(call: DecodedCall, spec: ToolSpec, validators: Validators | None) -> DecodedCall:
    if call.completion.arguments is None or call.error is not None:
        return call
    return replace(call, error=argument_error(spec, call.completion.arguments, (validators or {}).get(spec.name)))
