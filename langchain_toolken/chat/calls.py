"""Decode one tool call, however it began: by a toolken, by a marker token in the text, or because it was forced.

A toolken names its tool, and the arguments are decoded after a card that describes that one tool. After a marker, the
LM writes the call as text, {"name": ..., "arguments": ...}: the name is decoded under a grammar of the tools' names
and the arguments under that tool's schema, so a written call always parses.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from langchain_core.messages import BaseMessage

from langchain_toolken.chat.settings import ToolMode
from langchain_toolken.decoding.copy_source import CopySource, source_or_request
from langchain_toolken.decoding.engine import Candidate, Completion, Engine, Reasoning
from langchain_toolken.prompts.call_cards import Asked, asked_in
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.tool_calls import call_layout, marker_ids
from langchain_toolken.toolkens.examples import NO_EXAMPLES, card_of
from langchain_toolken.tools.spec import ToolSpec, schema_fault

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langchain_toolken.toolkens.set import ToolkenSet

_NAME_TOKENS = 128  # enough for the longest name that OpenAI's API allows (64 characters) and the JSON around it


@dataclass(frozen=True)
class FailedCall:
    """A call whose arguments were cut off or failed the tool's own validation."""

    tool: str
    error: str


@dataclass(frozen=True)
class DecodedCall:
    """A call's arguments and what decoding it cost.

    Attributes:
        completion: The decoded arguments.
        card_tokens: Tokens of the tool card, which the LM only reads. Includes calls that were tried before.
        written_tokens: Tokens that the LM wrote for the call in addition to its arguments: the toolken, or the marker
            and the tool's name. Includes calls that were tried before.
        error: Why the call is not valid; None if it is.
        backtraced_from: The likelier calls that failed before this one (see `backtracing`), in the order they were
            tried.
    """

    completion: Completion
    card_tokens: int
    written_tokens: int
    error: str | None = None
    backtraced_from: tuple[FailedCall, ...] = ()


@dataclass(frozen=True)
class ArgumentTask:
    """What the engine gets to decode a call's arguments.

    Attributes:
        ids: The prompt, up to where the arguments begin.
        spec: The tool.
        max_tokens: Most tokens of the arguments.
        copying: What they are likely copied from.
        card_tokens: How many of `ids` are the tool card.
        written_tokens: As in `DecodedCall`.
    """

    ids: list[int]
    spec: ToolSpec
    max_tokens: int
    copying: CopySource | None
    card_tokens: int
    written_tokens: int

    def call(self, completion: Completion) -> DecodedCall:
        """Return the call with these arguments."""
        read = self.card_tokens if completion.completion_tokens else 0
        return DecodedCall(completion, read, self.written_tokens, error=_error(self.spec, completion))


@dataclass(frozen=True)
class Prompt:
    """A prompt and how each of its tools can be called.

    Attributes:
        ids: The token ids that the LM continues from.
        by_toolken: The tools that are called by their toolken.
        written: The tools that the prompt describes and the LM calls in writing.
        marker: The tokens that begin a written call; none if `written` is empty.
        asked: What a call answers that the LM makes where the prompt ends.
        text_marker: The marker as text, where the tokenizer has no single token for it and the LM writes it as text.
    """

    ids: list[int]
    by_toolken: tuple[ToolSpec, ...]
    written: tuple[ToolSpec, ...]
    marker: tuple[int, ...]
    asked: Asked
    text_marker: str | None = None

    def followed_by(self, text: str) -> Prompt:
        """Return the prompt with `text` in what a call answers: the LM has written it since."""
        return replace(self, asked=replace(self.asked, so_far=self.asked.so_far + text))


def prompt_for(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[BaseMessage],
    prompt_format: PromptFormat,
    tools: Sequence[ToolSpec],
    mode: ToolMode,
    with_toolken: Collection[str],
) -> Prompt:
    """Render the prompt for `messages` with `tools`.

    Args:
        tokenizer: The LM's tokenizer.
        messages: The history.
        prompt_format: How messages are laid out.
        tools: The tools that can be called.
        mode: "toolken" and "prompt" treat all tools alike; "hybrid" describes those that are not in `with_toolken`.
        with_toolken: Names of the tools with a fitted toolken.

    Raises:
        ValueError: See `prompts.messages.render`.
    """
    known = frozenset(with_toolken)
    written = tuple(spec for spec in tools if mode == "prompt" or (mode == "hybrid" and spec.name not in known))
    layout = call_layout(tokenizer) if written else None
    return Prompt(
        ids=render(tokenizer, messages, prompt_format, written),
        by_toolken=tuple(spec for spec in tools if spec not in written),
        written=written,
        marker=() if layout is None else marker_ids(tokenizer, layout),
        asked=asked_in(messages, prompt_format.reinjection),
        text_marker=layout.marker if layout is not None and layout.marker_id is None else None,
    )


def only_call(spec: ToolSpec, prompt: Prompt) -> Reasoning:
    """Return the reasoning of a forced call with a single tool. The LM is not run: there is nothing to choose."""
    return Reasoning(
        token_ids=(),
        text="",
        trigger=Candidate(spec.name, 1.0),
        runners_up=(),
        finish_reason="tool_calls",
        prompt_tokens=len(prompt.ids),
        reused_tokens=0,
        marker=prompt.marker[0] if prompt.marker else None,
    )


def with_name(engine: Engine, prompt: Prompt, reasoning: Reasoning) -> Reasoning:
    """Decode the tool's name after a marker. Without a marker, `reasoning` is returned unchanged.

    A marker of plain text ends the text as a stop string does; that is where it becomes a call.

    If the context ends before the name does, there is no call, and the finish reason is "length".

    Raises:
        PromptTooLongError: There is no room for any name.
    """
    if prompt.text_marker is not None and reasoning.stopped_by == prompt.text_marker:
        trigger = Candidate(prompt.text_marker, 1.0)
        reasoning = replace(reasoning, trigger=trigger, finish_reason="tool_calls", marker=prompt.marker[0])
    if reasoning.marker is None or reasoning.trigger is None:
        return reasoning
    name: str | None = prompt.written[0].name
    if len(prompt.written) > 1:
        names = {"type": "string", "enum": [spec.name for spec in prompt.written]}
        schema = {"type": "object", "properties": {"name": names}, "required": ["name"]}
        choice = ToolSpec(name="tool call", description="Which tool is called.", json_schema=schema)
        lead = encode_content(engine.tokenizer, call_layout(engine.tokenizer).lead, continued=True)
        ids = [*_marked_ids(engine, prompt, reasoning), *lead]
        (completion,) = engine.complete([ids], [choice], max_tokens=_NAME_TOKENS)
        name = None if completion.arguments is None else completion.arguments["name"]
    if name is None:
        return replace(reasoning, trigger=None, runners_up=(), marker=None, finish_reason="length")
    return replace(reasoning, trigger=replace(reasoning.trigger, tool=name))


def given_call(arguments: dict[str, Any], prompt_tokens: int) -> DecodedCall:
    """Return a call whose arguments are known without the LM."""
    text = json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))
    completion = Completion(text, arguments, "stop", 0, prompt_tokens, 0)
    return DecodedCall(completion, card_tokens=0, written_tokens=1)


def decode_call(
    engine: Engine,
    prompt: Prompt,
    reasoning: Reasoning,
    tools: Sequence[ToolSpec],
    toolkens: ToolkenSet | None = None,
    *,
    max_tokens: int,
    budget: int | None = None,
) -> DecodedCall:
    """Decode the arguments of the call that `reasoning` ended in.

    Args:
        engine: The engine that decodes.
        prompt: The prompt that the LM reasoned from.
        reasoning: The reasoning that ended in a call.
        tools: The tools that can be called.
        toolkens: The set whose examples the card shows; None for a card without examples.
        max_tokens: Most tokens of the arguments.
        budget: Most tokens of the whole call, including the toolken, or the marker and the name. None sets no further
            limit. At least one token is decoded.

    Raises:
        ValueError: The tool that fired is not among `tools`.
        PromptTooLongError: There is no room for arguments.
    """
    task = argument_task(engine, prompt, reasoning, tools, toolkens, max_tokens=max_tokens, budget=budget)
    (completion,) = engine.complete([task.ids], [task.spec], max_tokens=task.max_tokens, copying=[task.copying])
    return task.call(completion)


def argument_task(
    engine: Engine,
    prompt: Prompt,
    reasoning: Reasoning,
    tools: Sequence[ToolSpec],
    toolkens: ToolkenSet | None,
    *,
    max_tokens: int,
    budget: int | None,
) -> ArgumentTask:
    """Return what the engine gets to decode the arguments; see `decode_call`."""
    trigger, tokenizer = reasoning.trigger, engine.tokenizer
    spec = next((spec for spec in tools if trigger is not None and spec.name == trigger.tool), None)
    if trigger is None or spec is None:
        called = "nothing" if trigger is None else repr(trigger.tool)
        raise ValueError(
            f"The LM called {called}, which is not among the given tools. Pass the tools it reasoned with."
        )
    if reasoning.marker is not None:
        head = encode_content(tokenizer, call_layout(tokenizer).head(spec.name), continued=True)
        written = len(prompt.marker) + len(head)
        most = _within(budget, written, max_tokens)
        return ArgumentTask([*_marked_ids(engine, prompt, reasoning), *head], spec, most, None, 0, written)
    # The generated ids, not the text encoded again: the cached prefix stays valid token by token.
    ids = [*prompt.ids, *reasoning.token_ids]
    most = _within(budget, 1, max_tokens)
    card = _card(engine, spec, toolkens, prompt.asked, used=len(ids), most=most)
    copying = source_or_request(spec, NO_EXAMPLES if toolkens is None else toolkens.examples, prompt.asked)
    return ArgumentTask([*ids, *card], spec, most, copying, len(card), 1)


def _card(
    engine: Engine, spec: ToolSpec, toolkens: ToolkenSet | None, asked: Asked, *, used: int, most: int
) -> list[int]:
    left = engine.context_length - used
    examples = NO_EXAMPLES if toolkens is None else toolkens.examples
    return card_of(engine.tokenizer, spec, examples, asked, room=left - min(most, left // 2))


def _marked_ids(engine: Engine, prompt: Prompt, reasoning: Reasoning) -> list[int]:
    """Return the prompt, what the LM wrote, and the marker."""
    said: Sequence[int] = reasoning.token_ids
    if prompt.text_marker is not None:
        # A token may have held the end of the text and the beginning of the marker, and isn't among the ids then.
        said = encode_content(engine.tokenizer, reasoning.text, continued=True)
    return [*prompt.ids, *said, *prompt.marker]


def _within(budget: int | None, written: int, max_tokens: int) -> int:
    return max_tokens if budget is None else max(1, min(max_tokens, budget - written))


def _error(spec: ToolSpec, completion: Completion) -> str | None:
    if completion.arguments is not None:
        return schema_fault(spec, completion.arguments)
    return (
        f"The arguments were cut off after {completion.completion_tokens} tokens (max_tokens, max_argument_tokens, or "
        "the LM's context)."
    )
