"""One tool call's decoding, whichever way it began: by a toolken, by a marker in the text, or because it was forced.

A toolken says which tool it is, and the arguments follow a card with that one tool. Behind a marker the LM writes the
call as text, {"name": ..., "arguments": ...}: the name is decoded under a grammar of the tools' names and the arguments
under that tool's, so that a call always parses.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_core.messages import BaseMessage

from langchain_toolken.chat.settings import ToolMode
from langchain_toolken.decoding.engine import Candidate, Completion, Engine, Reasoning
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.tool_calls import call_layout
from langchain_toolken.prompts.tool_cards import tool_card
from langchain_toolken.tools.spec import ToolSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NAME_TOKENS = 128  # a name of 64 characters, which OpenAI allows, has at most so many bytes and JSON around them


@dataclass(frozen=True)
class FailedCall:
    """A call whose arguments were cut off, or did not pass the tool's own validation."""

    tool: str
    error: str


@dataclass(frozen=True)
class DecodedCall:
    """A call's arguments, and what decoding it added to the prompt and to the LM's text.

    card_tokens: the tool card's; the LM only reads them. written_tokens: the toolken, or the marker and the name behind
    it; what the LM wrote besides the arguments. Calls that were tried before are counted in both.
    error: why the arguments are no valid call's; None if they are.
    backtraced_from: the likelier calls that failed before this one (see `backtracing`), in the order they were tried.
    """

    completion: Completion
    card_tokens: int
    written_tokens: int
    error: str | None = None
    backtraced_from: tuple[FailedCall, ...] = ()


@dataclass(frozen=True)
class Prompt:
    """A prompt, and how each of its tools can be called from it.

    ids: what the LM goes on from. by_toolken: the tools that fire by toolken. written: those that are described in the
    prompt and called by writing. marker: the token that begins a written call; None where there is nothing to write.
    """

    ids: list[int]
    by_toolken: tuple[ToolSpec, ...]
    written: tuple[ToolSpec, ...]
    marker: int | None


def prompt_for(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[BaseMessage],
    prompt_format: PromptFormat,
    tools: Sequence[ToolSpec],
    mode: ToolMode,
    with_toolken: Collection[str],
) -> Prompt:
    """The prompt for `messages` with `tools`.

    mode: "toolken" and "prompt" put all tools on one side; "hybrid" parts them by who is in `with_toolken`.

    Raises:
        ValueError: as `prompts.messages.render`; or a tool is to be written and the tokenizer has no marker for it.
    """
    known = frozenset(with_toolken)
    written = tuple(spec for spec in tools if mode == "prompt" or (mode == "hybrid" and spec.name not in known))
    return Prompt(
        ids=render(tokenizer, messages, prompt_format, written),
        by_toolken=tuple(spec for spec in tools if spec not in written),
        written=written,
        marker=call_layout(tokenizer).marker_id if written else None,
    )


def only_call(spec: ToolSpec, prompt: Prompt) -> Reasoning:
    """A forced call with one tool to choose from: nothing to decide, so the LM is not asked."""
    return Reasoning(
        token_ids=(),
        text="",
        trigger=Candidate(spec.name, 1.0),
        runners_up=(),
        finish_reason="tool_calls",
        prompt_tokens=len(prompt.ids),
        reused_tokens=0,
        marker=prompt.marker,
    )


def with_name(engine: Engine, prompt: Prompt, reasoning: Reasoning) -> Reasoning:
    """`reasoning` with the name of the tool that its marker begins a call of; as it is, if there is no marker.

    Where the context ends before the name does, there is no call and the reasoning ends by "length".

    Raises:
        PromptTooLongError: there is no room for a name at all.
    """
    if reasoning.marker is None or reasoning.trigger is None:
        return reasoning
    name: str | None = prompt.written[0].name
    if len(prompt.written) > 1:
        names = {"type": "string", "enum": [spec.name for spec in prompt.written]}
        schema = {"type": "object", "properties": {"name": names}, "required": ["name"]}
        choice = ToolSpec(name="tool call", description="Which tool is called.", json_schema=schema)
        lead = encode_content(engine.tokenizer, call_layout(engine.tokenizer).lead, continued=True)
        ids = [*prompt.ids, *reasoning.token_ids, reasoning.marker, *lead]
        (completion,) = engine.complete([ids], [choice], max_tokens=_NAME_TOKENS)
        name = None if completion.arguments is None else completion.arguments["name"]
    if name is None:
        return replace(reasoning, trigger=None, runners_up=(), marker=None, finish_reason="length")
    return replace(reasoning, trigger=replace(reasoning.trigger, tool=name))


def decode_call(
    engine: Engine,
    prompt: Prompt,
    reasoning: Reasoning,
    tools: Sequence[ToolSpec],
    *,
    max_tokens: int,
    budget: int | None = None,
) -> DecodedCall:
    """The arguments of the call that `reasoning` of `prompt` ended in.

    max_tokens: most tokens of the arguments. budget: most tokens of the whole call, the toolken or the marker and the
    name behind it included; None for no bound besides. At least one token is decoded.

    Raises:
        ValueError: the tool that fired is not among `tools`.
        PromptTooLongError: there is no room for arguments.
    """
    trigger, tokenizer = reasoning.trigger, engine.tokenizer
    spec = next((spec for spec in tools if trigger is not None and spec.name == trigger.tool), None)
    if trigger is None or spec is None:
        called = "nothing" if trigger is None else repr(trigger.tool)
        raise ValueError(f"The LM called {called}, which is not among the tools that its call is decoded with.")
    # The generated ids, not the text encoded anew: the cached prefix stays valid token for token.
    ids = [*prompt.ids, *reasoning.token_ids]
    if reasoning.marker is not None:
        head = encode_content(tokenizer, call_layout(tokenizer).head(spec.name), continued=True)
        written = 1 + len(head)
        most = _within(budget, written, max_tokens)
        (completion,) = engine.complete([[*ids, reasoning.marker, *head]], [spec], max_tokens=most)
        return DecodedCall(completion, card_tokens=0, written_tokens=written, error=_cut_off(completion))
    card = encode_content(tokenizer, tool_card(spec), continued=True)
    most = _within(budget, 1, max_tokens)
    (completion,) = engine.complete([[*ids, *card]], [spec], max_tokens=most)
    read = len(card) if completion.completion_tokens else 0
    return DecodedCall(completion, read, written_tokens=1, error=_cut_off(completion))


def _within(budget: int | None, written: int, max_tokens: int) -> int:
    return max_tokens if budget is None else max(1, min(max_tokens, budget - written))


def _cut_off(completion: Completion) -> str | None:
    if completion.arguments is not None:
        return None
    return (
        f"The arguments were cut off after {completion.completion_tokens} tokens (max_tokens, max_argument_tokens, or "
        "the LM's context)."
    )
