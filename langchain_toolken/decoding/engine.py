"""The engine protocol, and the data that goes in and out of an engine.

An engine takes token ids and returns token ids and text; `langchain_toolken.prompts` renders messages to ids. Nothing
here imports torch, so that the package can be imported, and its chat classes used with another engine, without torch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from langchain_core.exceptions import ContextOverflowError, ModelError

from langchain_toolken.errors import ToolkenError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langchain_toolken.decoding.copy_source import CopySource
    from langchain_toolken.prompts.requests import Request
    from langchain_toolken.toolkens.set import ToolkenSet
    from langchain_toolken.toolkens.slots import Slot
    from langchain_toolken.tools.spec import ToolSpec


MOST_TOP_LOGPROBS = 20
"""The most that OpenAI's API allows, so that code written for it works unchanged."""


class PromptTooLongError(ToolkenError, ContextOverflowError, ValueError):
    """A prompt leaves the LM no room to answer.

    It is a `ContextOverflowError`, which LangChain's fallbacks and middleware look for.
    """


def room_after(prompt: Sequence[int], model_id: str, context_length: int) -> int:
    """Return how many tokens may follow a prompt; a ValueError if it is empty, a PromptTooLongError if none may."""
    if not prompt:
        raise ValueError("a prompt has no tokens; put at least a beginning-of-text token or a word in it")
    if len(prompt) >= context_length:
        raise PromptTooLongError(
            f"the prompt has {len(prompt)} tokens, but {model_id} has a context of {context_length} and needs room "
            "to answer; shorten the messages"
        )
    return context_length - len(prompt)


DEFAULT_BATCH_SIZE = 16
"""Most sequences that run through the LM together: beyond 16 a CPU gains little, and caches take memory."""


class OutOfMemoryError(ToolkenError, ModelError, RuntimeError):
    """Memory ran out in a call, even alone and with all caches dropped. Later calls are not affected.

    LangChain does not retry it: the same call would run out of memory again.
    """


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen while the LM reasons.

    Attributes:
        temperature: 0 (default) is greedy, as in the papers: answers should be exact, not varied.
        top_p: Share of probability for nucleus sampling; 1 is off. Ignored when greedy.
        top_k: Keep the k likeliest tokens; 0 is off. Ignored when greedy.
        seed: Makes sampling repeatable: each text has a separate generator, so that it is the same alone and in a
            batch. None draws from torch's global generator.
        max_tokens: Most tokens to generate.
        top_logprobs: Report each token's log-probability, and those of this many likeliest tokens. None (default)
            reports nothing, which saves a softmax over the whole head at every step.

    Raises:
        ValueError: A value is outside its range; the message names the field.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    max_tokens: int = 256
    top_logprobs: int | None = None

    def __post_init__(self) -> None:
        if self.temperature < 0:
            raise ValueError(f"temperature must be 0 (greedy) or more, got {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p must lie in (0, 1], got {self.top_p}")
        if self.top_k < 0:
            raise ValueError(f"top_k must be 0 (off) or more, got {self.top_k}")
        if self.max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, got {self.max_tokens}")
        if self.top_logprobs is not None and not 0 <= self.top_logprobs <= MOST_TOP_LOGPROBS:
            raise ValueError(f"top_logprobs must lie between 0 and {MOST_TOP_LOGPROBS}, got {self.top_logprobs}")


@dataclass(frozen=True, eq=False)
class DecodingRequest:
    """How prompts are decoded: by which words and toolkens, and until when.

    Attributes:
        sampling: How tokens are chosen.
        toolkens: The toolkens that may fire; None for the LM alone.
        active: Names of the toolkens that may fire in this call; None for all.
        stop: Strings that end the text; they are not part of it.
        after_result: The prompts end with a tool's result, which the next words must not lengthen.
        markers: Tokens that end the text as a toolken does: they begin a call that is written as text.
        must_call: Choose only among the active toolkens and the markers, so that a call happens at once.
        begun: The last `begun` tokens of each prompt are the beginning of the answer itself, and a call was rejected
            right after them. They count as generated (in `text`, `token_ids` and the limit, not in `prompt_tokens`),
            and neither a toolken nor a marker may follow them directly. None: no call was rejected.
        must_write: Nothing of the answer is written yet, and it may not end before its first word.
        calls_first: A toolken may fire before the first word alone.
        requests: What the user asked, one for each prompt. Toolkens with evidence need it, others ignore it.

    Raises:
        ValueError: `active` names a tool without toolken, a stop string is empty, or `must_call` is set and nothing
            could be called.
    """

    sampling: Sampling
    _: KW_ONLY
    toolkens: ToolkenSet | None = None
    active: frozenset[str] | None = None
    stop: tuple[str, ...] = ()
    after_result: bool = False
    markers: frozenset[int] = frozenset()
    must_call: bool = False
    begun: int | None = None
    must_write: bool = False
    calls_first: bool = False
    requests: tuple[Request, ...] = ()

    def __post_init__(self) -> None:
        check_active(self.toolkens, self.active)
        if "" in self.stop:
            raise ValueError("a stop string is empty; it would end every text at once")
        toolkens_may_fire = bool(self.toolkens) and (self.active is None or bool(self.active))
        if self.must_call and not toolkens_may_fire and not self.markers:
            raise ValueError("a call is forced, but there is no toolken and no marker that could fire")


def check_active(toolkens: ToolkenSet | None, active: Collection[str] | None) -> None:
    """Raise a ValueError if `active` names a tool that has no toolken."""
    unknown = sorted(set(active or ()) - set(() if toolkens is None else toolkens.names))
    if unknown:
        raise ValueError(f"no toolkens for {', '.join(unknown)}; fit them, or leave them out of the active tools")


@dataclass(frozen=True)
class Candidate:
    """A tool and its probability at the trigger.

    Attributes:
        tool: The tool's name.
        probability: Over [words ; active toolkens], or over what could be chosen if a call was forced. It does not
            depend on the sampling temperature. If the toolkens were calibrated on held-out data
            (`Reasoning.calibrated`), it is the calibrated one: about eight in ten calls reported with 0.8 are right.
            If the toolkens have evidence, it is p(call) · p(tool | call); see `toolkens.evidence`.
    """

    tool: str
    probability: float


@dataclass(frozen=True)
class Judgement:
    """A second look at a call that the toolkens were not sure of (see `reranking`).

    Attributes:
        method: "docs" or "frozen".
        scores: The tools compared, best first, each with its mean log-probability per token; the tool None is Reject.
        chosen: The tool that is called; None if the call was rejected and the LM continued with words.
        extra_tokens: How many more tokens the LM read because of the second look.
    """

    method: Literal["docs", "frozen"]
    scores: tuple[tuple[str | None, float], ...]
    chosen: str | None
    extra_tokens: int


@dataclass(frozen=True)
class TokenLogprob:
    """The log-probability of one chosen token.

    Attributes:
        token: Its text.
        logprob: Its log-probability over [words ; active toolkens], before any temperature.
        top: The likeliest tokens at its position as (text, log-probability), best first.
    """

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Reasoning:
    """What the LM wrote until it ended, was cut off, or fired a toolken.

    Attributes:
        token_ids: The generated words, without EOS, toolkens and stop strings.
        text: The words as text, cut before the stop string. If a token has both kept text and the start of a stop
            string, `text` includes the kept part and `token_ids` leaves the token out.
        trigger: The tool that fired; None if none did. If a marker fired, the `tool` is the marker's text: the tool's
            name is not decoded then.
        runners_up: The four next likeliest toolkens at the trigger; empty without a trigger.
        finish_reason: "tool_calls" when a toolken or a marker fired, "stop" at EOS or a stop string, "length" at
            max_tokens or at the end of the context.
        prompt_tokens: The prompt's length.
        reused_tokens: How many of the prompt's tokens came out of the prefix cache.
        marker: The token that began a call written as text; None if a toolken or nothing fired.
        stopped_by: The stop string that ended the text; None if none did.
        logprobs: One for each of `token_ids`, if the sampling asks for them.
        calibrated: Whether the probabilities of `trigger` and `runners_up` were calibrated on held-out data
            (`ToolkenSet.calibration`), instead of the LM's bare softmax.
        judgements: Second looks at calls within this text; the last one may be at `trigger`. Engines leave it empty.
    """

    token_ids: tuple[int, ...]
    text: str
    trigger: Candidate | None
    runners_up: tuple[Candidate, ...]
    finish_reason: Literal["stop", "length", "tool_calls"]
    prompt_tokens: int
    reused_tokens: int
    marker: int | None = None
    stopped_by: str | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    calibrated: bool = False
    judgements: tuple[Judgement, ...] = ()


@dataclass(frozen=True)
class Completion:
    """A call's arguments, decoded under the tool's JSON schema.

    Attributes:
        text: The JSON as the LM wrote it, without whitespace between its parts.
        arguments: The parsed object, valid against the schema; None if `max_tokens` or the context cut the JSON off,
            or if an integer has more digits than Python parses.
        finish_reason: "stop" if the JSON is complete, else "length".
        completion_tokens: The JSON's tokens, including those that the grammar forced.
        prompt_tokens: The prompt's length.
        reused_tokens: How many of the prompt's tokens came out of the prefix cache.
    """

    text: str
    arguments: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]
    completion_tokens: int
    prompt_tokens: int
    reused_tokens: int


@dataclass(frozen=True)
class ReadValue:
    """What a text says of a parameter.

    Attributes:
        score: How sure that is, in nats.
        texts: The value as it is written there, or the choice that is meant; several for a list, and none if it says
            nothing.
        numbers: The numbers in them, "1,200" and "twelve" as well.
    """

    score: float
    texts: tuple[str, ...]
    numbers: tuple[float, ...] = ()


@runtime_checkable
class SlotReader(Protocol):
    """An engine that reads values in texts by slots, besides what an `Engine` does."""

    def read_values(
        self, text: str, begin: int, slots: Mapping[str, Slot], lists: Collection[str] = ()
    ) -> dict[str, ReadValue]:
        """Find what the part of a text from the character `begin` on says of each parameter.

        Args:
            text: The text, which is read from its beginning.
            begin: Where the part begins.
            slots: The parameters' slots. Those that the LM can't read are left out.
            lists: The parameters that take lists.
        """
        ...


class Engine(Protocol):
    """Runs an LM with toolkens. `LocalEngine` does so in this process."""

    @property
    def model_id(self) -> str:
        """The LM's name, for messages and metadata."""
        ...

    @property
    def context_length(self) -> int:
        """Most tokens that prompt and answer may have together."""
        ...

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The LM's tokenizer, which prompts are rendered with."""
        ...

    def reason(self, prompts: Sequence[Sequence[int]], request: DecodingRequest) -> list[Reasoning]:
        """Decode every prompt until EOS, a stop string, a toolken or the limit.

        Args:
            prompts: Token ids, each with at least one token.
            request: What may come next, and what ends the text.

        Raises:
            ValueError: A prompt is empty, or no longer than `request.begun`. Or the toolkens have evidence and there is
                not one of `request.requests` for each prompt.
            PromptTooLongError: A prompt fills the context.
            ToolkenSetError: The toolkens were made for another LM.
        """
        ...

    def stream(self, prompt: Sequence[int], request: DecodingRequest) -> Iterator[str | Reasoning]:
        """Decode one prompt as `reason` does, yielding pieces of text and the `Reasoning` last.

        The pieces join to exactly `Reasoning.text`: a piece has complete characters only, and text that could be the
        start of a stop string is held back. Closing the generator ends decoding.

        Raises:
            ValueError: As in `reason`.
            PromptTooLongError: As in `reason`.
            ToolkenSetError: As in `reason`.
        """
        ...

    def rank(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        toolkens: ToolkenSet,
        active: Collection[str] | None = None,
        requests: Sequence[Request] = (),
    ) -> list[tuple[Candidate, ...]]:
        """Rank the active toolkens after each prompt by their probability over [words ; active toolkens].

        This takes one forward pass and generates nothing.

        Args:
            prompts: Token ids, each with at least one token.
            toolkens: The toolkens.
            active: Names of the toolkens to rank; None for all.
            requests: What the user asked in each prompt, as in `DecodingRequest`.

        Returns:
            For each prompt, the toolkens from the likeliest to the least likely.

        Raises:
            ValueError: A prompt is empty, `active` names a tool without toolken, or the toolkens have evidence and
                there is not one request for each prompt.
            PromptTooLongError: A prompt fills the context.
            ToolkenSetError: The toolkens were made for another LM.
        """
        ...

    def score(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        """Compute each continuation's mean log-probability per token, over the LM's words alone.

        Raises:
            ValueError: The prompt or a continuation is empty.
            PromptTooLongError: The prompt and a continuation together exceed the context.
        """
        ...

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        specs: Sequence[ToolSpec],
        *,
        max_tokens: int = 256,
        copying: Sequence[CopySource | None] | None = None,
    ) -> list[Completion]:
        """Decode each tool's arguments, greedily, under its grammar.

        Args:
            prompts: Token ids that end where the arguments' JSON begins (after the tool card).
            specs: The tool of each prompt.
            max_tokens: Most tokens of one JSON; 256 are enough for dozens of arguments.
            copying: For each prompt, what its arguments are likely copied from; None for nothing.

        Raises:
            ValueError: `prompts`, `specs` and `copying` differ in number, or a prompt is empty.
            PromptTooLongError: A prompt fills the context.
            ToolError: A tool's schema cannot be compiled to a grammar.
        """
        ...
