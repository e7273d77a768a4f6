"""One turn of a chat: reason until the LM ends or calls a tool, then complete the call or the answer's schema.

A turn's prompt is laid out once (`DecodingSetup.lay_out`), and plain functions decode the `LaidOutTurn`. `ToolkenChat`
runs whole turns; `agents` runs `reason` and `complete` as two nodes of a graph. Importing this loads no torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage

from langchain_toolken.chat import reranking
from langchain_toolken.chat.answers import (
    Answer,
    Beginning,
    Thought,
    answer_of,
    answer_pieces,
    beginning,
    with_count,
)
from langchain_toolken.chat.backtracing import Validators, decode_first_valid
from langchain_toolken.chat.calls import DecodedCall, Prompt, decode_call, given_call, only_call, prompt_for, with_name
from langchain_toolken.chat.follow_ups import FollowUp, follow_up
from langchain_toolken.chat.needed_values import with_needed_values
from langchain_toolken.chat.new_requests import new_request
from langchain_toolken.chat.prompt_layout import shown_answers
from langchain_toolken.chat.repeats import RepeatGuard, answered_calls
from langchain_toolken.chat.responses import response, with_further_calls
from langchain_toolken.chat.settings import (
    GenerationSettings,
    InvalidRequestError,
    ToolMode,
    reranking_of,
    sampling_of,
)
from langchain_toolken.decoding.engine import Candidate, DecodingRequest, Engine, Reasoning, room_after
from langchain_toolken.decoding.parts import PartCall, Values, calls_of, parts_of
from langchain_toolken.errors import ToolkenError
from langchain_toolken.prompts.call_cards import Asked
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.handoffs import without_handoffs
from langchain_toolken.prompts.messages import open_turn
from langchain_toolken.prompts.requests import Request, request_of
from langchain_toolken.prompts.turns import turns_of
from langchain_toolken.tools.spec import ToolSpec

if TYPE_CHECKING:
    from langchain_toolken.chat.growing_toolkens import GrowingToolkens
    from langchain_toolken.toolkens.evidence import Gate
    from langchain_toolken.toolkens.set import ToolkenSet


@dataclass(frozen=True)
class DecodingSetup:
    """What turns are decoded with; only the messages and the tools are missing.

    Attributes:
        engine: The engine that decodes.
        prompt_format: How messages are laid out.
        tool_mode: How tools are called.
        toolkens: The toolkens. The hybrid mode describes the tools that have none in the given set.
        generation: The chat model's settings, with the call's changes.
    """

    engine: Engine
    prompt_format: PromptFormat
    tool_mode: ToolMode
    toolkens: GrowingToolkens
    generation: GenerationSettings

    @property
    def gate(self) -> Gate | None:
        """What says when to call; None where the toolkens do."""
        given = self.toolkens.given
        return None if given is None or given.evidence is None else given.evidence.gate

    def prompt(self, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> Prompt:
        """Render the prompt for `messages` with `tools`."""
        tokenizer, layout = self.engine.tokenizer, self.prompt_format
        return prompt_for(tokenizer, messages, layout, tools, self.tool_mode, self.toolkens.names)

    def lay_out(self, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> LaidOutTurn:
        """Lay out the turn that answers `messages`, in which the LM may call `tools`.

        Handoffs of other agents are left out (`prompts.handoffs`).

        Raises:
            InvalidRequestError: The messages make no prompt, as `prompts.messages.render` describes, or the prompt has
                to describe tools that the chat template has no place for.
            PromptTooLongError: The prompt fills the context. Nothing has been made for the tools then.
        """
        messages = self.after_worked_answers(without_handoffs(messages, [spec.name for spec in tools]), tools)
        try:
            prompt = self.prompt(messages, tools)
        except ToolkenError:
            raise
        except ValueError as error:
            raise InvalidRequestError(str(error)) from error
        room_after(prompt.ids, self.engine.model_id, self.engine.context_length)
        inline = self.prompt_format.reinjection == "inline"
        open_answer = open_turn(messages, self.prompt_format.reinjection)
        spent = open_answer is not None and bool(open_answer.spent)
        return LaidOutTurn(
            setup=self,
            messages=tuple(messages),
            tools=tuple(tools),
            prompt=prompt,
            beginning=beginning(self.engine.tokenizer, messages, self.prompt_format),
            after_result=inline and isinstance(messages[-1], ToolMessage) and not spent,
            spent=spent,
        )

    def after_worked_answers(self, messages: Sequence[BaseMessage], tools: Sequence[ToolSpec]) -> list[BaseMessage]:
        """Put the worked answers before the conversation; they take a quarter of the context at most."""
        worked = shown_answers(self.tool_mode, self.toolkens.given, tools)
        if worked is None:
            return [*messages]
        return worked.before(messages, self.engine.tokenizer, self.engine.context_length // 4)

    def requests(self, messages: Sequence[BaseMessage], described: Sequence[ToolSpec]) -> tuple[Request, ...]:
        """Return what the user asked last, for toolkens with evidence; nothing for others.

        Args:
            messages: The history.
            described: The tools that the prompt describes.
        """
        if not self.toolkens.has_evidence:
            return ()
        layout = self.prompt_format
        return (request_of(self.engine.tokenizer, turns_of(messages, layout.reinjection), layout, described),)

    def toolkens_for(self, tools: Sequence[ToolSpec]) -> ToolkenSet:
        """Return a set with a toolken for each of `tools`."""
        return self.toolkens.for_tools(self.engine, tools, self.prompt_format.style)


@dataclass(frozen=True)
class LaidOutTurn:
    """A turn that is ready to be decoded.

    Attributes:
        setup: What it is decoded with.
        messages: What it answers.
        tools: The tools that the LM may call.
        prompt: The rendered prompt.
        beginning: Where in an answer the LM continues.
        after_result: Whether the prompt ends with a tool's result, in the assistant's sentence.
        spent: Whether a tool was called at the prompt's very end already, and its result added nothing to the sentence.
    """

    setup: DecodingSetup
    messages: tuple[BaseMessage, ...]
    tools: tuple[ToolSpec, ...]
    prompt: Prompt
    beginning: Beginning
    after_result: bool
    spent: bool

    def values(self, given: ToolkenSet) -> Values:
        """Return what reads the values that messages have for the tools, by the given set's slots."""
        return Values(self.setup.engine, given, {spec.name: spec for spec in self.prompt.by_toolken})

    @cached_property
    def alone(self) -> tuple[Candidate, ...]:
        """The tools by the probability that the last message asks for them, whatever was said before it.

        Empty where nothing was answered before, or no gate says when to call.
        """
        later = isinstance(self.messages[-1], HumanMessage) and any(isinstance(m, AIMessage) for m in self.messages)
        tools = self.prompt.by_toolken
        if self.setup.gate is None or not later or not tools or self.setup.prompt_format.reinjection != "turn":
            return ()
        return rank(self.setup, [self.setup.after_worked_answers(self.messages[-1:], tools)], tools)[0]

    @cached_property
    def follow_up(self) -> FollowUp | None:
        """The call that the last message asks for in the way of the one before it; None if it does not."""
        if self.setup.gate is None or not self.alone:
            return None
        found = follow_up(self.setup.engine, self.messages, self.prompt.by_toolken, self.setup.toolkens.given)
        probability = math.fsum(each.probability for each in self.alone)
        return found if found is not None and found.wanted(probability, self.setup.gate) else None

    @cached_property
    def at_once(self) -> Reasoning | None:
        """The call that a later message asks for, as a follow-up or by itself; None where the LM decides."""
        if self.follow_up is not None:
            return only_call(self.follow_up.spec, self.prompt)
        if self.prompt.written or self.setup.generation.rerank is not None:
            return None
        return new_request(self.alone, self.setup.gate, self.prompt)


def reason(turn: LaidOutTurn, *, forced: bool) -> Reasoning:
    """Decode until the answer ends or the LM calls a tool.

    Args:
        turn: The turn.
        forced: Whether the LM has to call a tool at once.
    """
    if forced and len(turn.tools) == 1:
        return only_call(turn.tools[0], turn.prompt)
    if not forced and turn.at_once is not None:
        return _decided(turn, turn.at_once)
    engine, prompt, second_look = turn.setup.engine, turn.prompt, reranking_of(turn.setup.generation)
    repeats = None if forced else _repeat_guard(turn)
    reasoning = reranking.reason(engine, prompt.ids, prompt.by_toolken, second_look, _request(turn, forced), repeats)
    return _decided(turn, reasoning)


def stream_reason(turn: LaidOutTurn, *, forced: bool) -> Iterator[str | Thought | Reasoning]:
    """Do what `reason` does, piece by piece: text and thoughts as they come, the Reasoning last.

    Closing the generator stops decoding.
    """
    if forced or turn.at_once is not None:  # a call happens at once, so there is no text to stream
        yield reason(turn, forced=forced)
        return
    engine, prompt, second_look = turn.setup.engine, turn.prompt, reranking_of(turn.setup.generation)
    request, repeats = _request(turn, forced), _repeat_guard(turn)
    pieces = reranking.stream(engine, prompt.ids, prompt.by_toolken, second_look, request, repeats)
    for piece in answer_pieces(pieces, turn.beginning):
        yield _decided(turn, piece) if isinstance(piece, Reasoning) else piece


def _decided(turn: LaidOutTurn, reasoning: Reasoning) -> Reasoning:
    """Name the tool that is called: the one of a marker, or of those that the LM tends to one with its values there."""
    setup, asked = turn.setup, turn.messages[-1]
    given, at_once = setup.toolkens.given, isinstance(asked, HumanMessage) and not reasoning.token_ids
    if given is None or not at_once or reasoning.marker is not None or setup.prompt_format.reinjection != "turn":
        return with_name(setup.engine, turn.prompt, reasoning)
    return with_needed_values(turn.values(given), asked.text.strip(), reasoning)


def _repeat_guard(turn: LaidOutTurn) -> RepeatGuard:
    engine, most, given = turn.setup.engine, turn.setup.generation.max_argument_tokens, turn.setup.toolkens.given

    def decode(reasoning: Reasoning) -> tuple[str, dict[str, Any]] | None:
        named = with_name(engine, turn.prompt, reasoning)
        if named.trigger is None:
            return None
        prompt = turn.prompt.followed_by(answer_to(turn, named).text)
        decoded = decode_call(engine, prompt, named, turn.tools, given, max_tokens=most)
        arguments = decoded.completion.arguments
        return None if arguments is None else (named.trigger.tool, arguments)

    shown = given is not None and given.provenance.repeats_calls
    return RepeatGuard(answered_calls(turn.messages), decode, shown=shown)


def answer_to(turn: LaidOutTurn, reasoning: Reasoning) -> Answer:
    """Return the thought and the text of `reasoning`, without the space that a new answer begins with."""
    answer = answer_of(reasoning.text, turn.beginning)
    return with_count(turn.setup.engine.tokenizer, answer, turn.beginning.layout, reasoning.token_ids)


def complete(turn: LaidOutTurn, reasoning: Reasoning, validators: Validators | None = None) -> AIMessage:
    """Return the message of `reasoning`: its text and, if the LM called a tool, the call with its arguments.

    Args:
        turn: The turn that was reasoned in.
        reasoning: What `reason` returned.
        validators: Pydantic models that arguments must pass.
    """
    model_id, answer = turn.setup.engine.model_id, answer_to(turn, reasoning)
    if reasoning.trigger is None:
        return response(answer, reasoning, None, model_id)
    found = turn.follow_up
    if found is not None and found.spec.name == reasoning.trigger.tool and not answer.text and reasoning.marker is None:
        return response(answer, reasoning, given_call(found.arguments, reasoning.prompt_tokens), model_id)
    prompt = turn.prompt.followed_by(answer.text)
    parts, read = _parts(turn, reasoning)
    if not parts:
        return response(answer, *_decoded(turn, prompt, reasoning, validators), model_id)
    # What was read and written before the calls counts once.
    first = replace(reasoning, prompt_tokens=reasoning.prompt_tokens + read, runners_up=())
    later = replace(first, prompt_tokens=0, reused_tokens=0, judgements=())
    messages: list[AIMessage] = []
    for part in parts:
        chosen = replace(later if messages else first, trigger=part.tool)
        before = messages[-1].tool_calls if messages and part.changes is not None else []
        given = given_call({**before[0]["args"], **(part.changes or {})}, 0) if before else None
        prompt = replace(prompt, asked=Asked(part.text))
        decoded = (chosen, given) if given is not None else _decoded(turn, prompt, chosen, validators)
        messages.append(response(answer, *decoded, model_id))
    return with_further_calls(messages[0], messages[1:], parts)


def _decoded(
    turn: LaidOutTurn, prompt: Prompt, reasoning: Reasoning, validators: Validators | None
) -> tuple[Reasoning, DecodedCall]:
    generation = turn.setup.generation
    return decode_first_valid(
        turn.setup.engine,
        prompt,
        reasoning,
        turn.tools,
        turn.setup.toolkens.given,
        max_tokens=generation.max_argument_tokens,
        budget=generation.max_tokens - len(reasoning.token_ids),
        runners_up=generation.backtrace,
        validators=validators,
    )


def _parts(turn: LaidOutTurn, reasoning: Reasoning) -> tuple[list[PartCall], int]:
    """Find the calls that parts of the user's message ask for, if one answer may make several.

    Returns:
        The calls, none if it is one request; and how many tokens the LM read for that.
    """
    setup, asked, given, gate = turn.setup, turn.messages[-1], turn.setup.toolkens.given, turn.setup.gate
    if given is None or gate is None or setup.prompt_format.reinjection != "turn":
        return [], 0
    several = setup.generation.parallel_tool_calls
    several = given.provenance.parallel_calls if several is None else several
    if not several or not isinstance(asked, HumanMessage) or reasoning.token_ids or reasoning.trigger is None:
        return [], 0
    parts = parts_of(asked.text)
    if len(parts) < 2 or reasoning.marker is not None:
        return [], 0
    before = () if turn.alone else turn.messages[:-1]  # with the worked answers that were put before the conversation
    histories = [[*before, HumanMessage(part)] for part in parts]
    rankings = rank(setup, histories, turn.prompt.by_toolken)
    read = sum(len(setup.prompt(messages, ()).ids) for messages in histories)
    likeliest = [reasoning.trigger, *reasoning.runners_up]
    return calls_of(asked.text, parts, rankings, likeliest, gate.threshold, turn.values(given)), read


def rank(
    setup: DecodingSetup, histories: Sequence[Sequence[BaseMessage]], tools: Sequence[ToolSpec]
) -> list[tuple[Candidate, ...]]:
    """Return, for each history, `tools` by the probability that the LM calls them next, likeliest first.

    The LM reads the histories as they are: worked answers are put before them by `DecodingSetup.after_worked_answers`.
    """
    prompts = [setup.prompt(messages, ()).ids for messages in histories]
    requests = [request for messages in histories for request in setup.requests(messages, ())]
    names = frozenset(spec.name for spec in tools)
    return setup.engine.rank(prompts, toolkens=setup.toolkens_for(tools), active=names, requests=requests)


def _endings(turn: LaidOutTurn) -> tuple[str, ...]:
    """Return what ends an answer, above all after a result, as the toolkens' demonstrations show it."""
    given = turn.setup.toolkens.given
    if given is None or not turn.prompt.by_toolken:
        return ()
    setup, after_result = turn.setup, given.provenance.ends_answer if turn.after_result else ()
    worked = shown_answers(setup.tool_mode, given, turn.tools) if setup.prompt_format.style == "completion" else None
    return after_result if worked is None else (*worked.endings, *after_result)


def _after_words(given: ToolkenSet | None) -> bool:
    """Tell whether demonstrations call after words of an answer."""
    return given is not None and given.provenance.calls_after_words


def _request(turn: LaidOutTurn, forced: bool) -> DecodingRequest:
    setup, prompt = turn.setup, turn.prompt
    answers_result = setup.prompt_format.reinjection == "turn" and isinstance(turn.messages[-1], ToolMessage)
    marker = () if prompt.text_marker is None else (prompt.text_marker,)
    return DecodingRequest(
        sampling_of(setup.generation),
        toolkens=setup.toolkens_for(prompt.by_toolken) if prompt.by_toolken else None,
        active=frozenset(spec.name for spec in prompt.by_toolken) if prompt.by_toolken else None,
        stop=(*setup.prompt_format.stop, *(setup.generation.stop or ()), *marker, *_endings(turn)),
        after_result=turn.after_result,
        markers=frozenset(prompt.marker[:1]) if forced or prompt.text_marker is None else frozenset(),
        must_call=forced,
        # A call here brought nothing, and would be made again.
        begun=0 if turn.spent and not forced else None,
        # After a tool message the LM owes an answer, and some end at once where a repeated call was refused.
        must_write=answers_result,
        # What tells of a result sounds like a request for it. An LM that thinks first calls after its thought.
        calls_first=answers_result and turn.beginning.layout is None and not _after_words(setup.toolkens.given),
        requests=setup.requests(turn.messages, prompt.written) if prompt.by_toolken else (),
    )
