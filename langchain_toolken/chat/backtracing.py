"""Back-trace: where a call's arguments fail, the runner-up is tried (TokenLearning, arXiv 2506.14248; ToolkenGPT).

Off unless asked for. A call that fails is by LangChain's custom reported in `invalid_tool_calls`, and whoever runs the
agent decides; another tool called in its stead may do something that nobody wanted. Where tools only compute or look
up, as the papers' do, a second choice costs nothing but time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from jsonschema.validators import validator_for
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ValidationError

from langchain_toolken.chat.calls import DecodedCall, FailedCall, Prompt, decode_call
from langchain_toolken.decoding.engine import Engine, PromptTooLongError, Reasoning
from langchain_toolken.tools.spec import ToolSpec

Validators = Mapping[str, type[BaseModel]]
"""The pydantic models that tools' arguments must pass, by tool."""


def validators_of(tools: Sequence[object]) -> dict[str, type[BaseModel]]:
    """The pydantic models among `tools` that ask for more than their JSON schema says.

    A tool with injected arguments has none, since its model can't be made from the LM's arguments alone.
    """
    found: dict[str, type[BaseModel]] = {}
    for tool in tools:
        model: object = tool.args_schema if isinstance(tool, BaseTool) else tool
        if not isinstance(model, type) or not issubclass(model, BaseModel):
            continue
        if isinstance(tool, BaseTool) and set(tool.args) != set(model.model_fields):
            continue
        # pydantic's name for a validator of one's own, wherever in the model it stands.
        if "'function-" in repr(model.__pydantic_core_schema__):
            found[tool.name if isinstance(tool, BaseTool) else model.__name__] = model
    return found


def argument_error(spec: ToolSpec, arguments: dict[str, Any], model: type[BaseModel] | None) -> str | None:
    """Why `arguments` are not valid for the tool; None if they are.

    Decoding under the grammar keeps to the schema's structure. What is checked here besides are the parts of it that a
    grammar can't hold (formats), and the validators of the tool's own pydantic model.
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
    *,
    max_tokens: int,
    budget: int | None = None,
    runners_up: int = 0,
    validators: Validators | None = None,
) -> tuple[Reasoning, DecodedCall]:
    """`decode_call`, and if its arguments fail, that of up to `runners_up` next likeliest tools.

    max_tokens and budget are `decode_call`'s, for each of them. Gives the call that passed and the reasoning with its
    tool as the trigger. If none does, the first one as it is, with its error. With no runners-up nothing but a cut-off
    is an error: the tool itself says what it does not take.

    Raises:
        ValueError: the tool that fired is not among `tools`.
        PromptTooLongError: there is no room for the first call's arguments.
    """
    first = decode_call(engine, prompt, reasoning, tools, max_tokens=max_tokens, budget=budget)
    if not runners_up:
        return reasoning, first
    assert reasoning.trigger is not None
    specs = {spec.name: spec for spec in tools}
    attempts = [(reasoning.trigger, _checked(first, specs[reasoning.trigger.tool], validators))]
    weighed = (reasoning.trigger, *reasoning.runners_up)
    # Behind a marker the runners-up are toolkens, which were not weighed against the tool that it names.
    others = [] if reasoning.marker is not None else [each for each in reasoning.runners_up if each.tool in specs]
    for candidate in others[:runners_up]:
        if attempts[-1][1].error is None:
            break
        tried = replace(reasoning, trigger=candidate)
        try:
            call = decode_call(engine, prompt, tried, tools, max_tokens=max_tokens, budget=budget)
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
    if call.completion.arguments is None:
        return call
    return replace(call, error=argument_error(spec, call.completion.arguments, (validators or {}).get(spec.name)))
