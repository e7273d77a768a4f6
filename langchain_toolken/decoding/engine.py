"""The engine protocol and the data that crosses it (DESIGN §3).

An engine gets token ids and gives token ids and text back; rendering messages to ids is `langchain_toolken.prompts`'
task. Nothing here imports torch, so that the LangChain face of the package can be written against it without torch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from langchain_core.exceptions import ContextOverflowError, ModelError

from langchain_toolken.errors import ToolkenError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from langchain_toolken.toolkens.set import ToolkenSet
    from langchain_toolken.tools.spec import ToolSpec


MOST_TOP_LOGPROBS = 20
"""As many as OpenAI's API gives, so that code written for it finds the same range."""


class PromptTooLongError(ToolkenError, ContextOverflowError, ValueError):
    """A prompt that leaves the LM no room to answer. LangChain's own type: its fallbacks and middleware look for it."""


DEFAULT_BATCH_SIZE = 16
"""Most sequences that run through the LM together: beyond some sixteen a CPU gains little, and caches take memory."""


class OutOfMemoryError(ToolkenError, ModelError, RuntimeError):
    """Memory did not suffice for a call, not even alone and with all caches dropped. The next call works.

    It is a LangChain `ModelError` that is not retryable: the same call would run out of memory again.
    """


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen while the LM reasons.

    Attributes:
        temperature: 0 (default) is greedy, the papers' setting: exact answers are wanted, not varied ones.
        top_p: nucleus sampling's share of probability; 1 is off. Only read when temperature > 0.
        top_k: keep the k likeliest tokens; 0 is off. Only read when temperature > 0.
        seed: makes sampling repeatable: each text is drawn by a generator of its own, alone and in a batch the same;
            None draws from torch's global generator.
        max_tokens: most words (tokens) to generate.
        top_logprobs: report each word's log-probability and those of so many likeliest ones; None (default) reports
            none, since a softmax over the whole head at every step is only worth its time to who reads it.

    Raises:
        ValueError: for a value outside its range; the message names the field.
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
    """A tool and its probability over [words ; active toolkens] at the trigger, whatever the sampling's temperature.

    Over what could be chosen, where a call was forced. Where the toolkens were calibrated on held-out data
    (`Reasoning.calibrated`), it is the calibrated one: of the calls reported with 0.8, about eight in ten are right.
    """

    tool: str
    probability: float


@dataclass(frozen=True)
class Judgement:
    """A second look at a call that the toolkens were not sure of (see `reranking`).

    Attributes:
        method: "docs" or "frozen".
        scores: the tools weighed, best first, and each one's mean log-probability a token; None stands for Reject.
        chosen: the tool that is called; None where the call was rejected and the LM went on with words.
        extra_tokens: tokens the LM read for it, which it would not have read otherwise.
    """

    method: Literal["docs", "frozen"]
    scores: tuple[tuple[str | None, float], ...]
    chosen: str | None
    extra_tokens: int


@dataclass(frozen=True)
class TokenLogprob:
    """A word that was chosen, its log-probability over [words ; active toolkens] before any temperature, and the
    likeliest words at its place as (text, log-probability), best first."""

    token: str
    logprob: float
    top: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Reasoning:
    """What the LM wrote until it ended, was cut off, or fired a toolken.

    Attributes:
        token_ids: the generated words; no EOS, no toolken, nothing of a stop string.
        text: the words as text, cut before the stop string. Where a token holds both kept text and the start of a stop
            string, `text` has the kept part and `token_ids` leaves the token out.
        trigger: the tool that fired, if one did. Behind a marker an engine gives the marker's text for a tool: which
            tool is meant is yet to be decoded.
        runners_up: the four next likeliest toolkens at the trigger; empty without a trigger.
        finish_reason: "tool_calls" when a toolken or a marker fired, "stop" at EOS or a stop string, "length" at
            max_tokens or at the end of the context.
        prompt_tokens: the prompt's length.
        reused_tokens: how many of them came out of the prefix cache.
        marker: the token that began a call written as text; None where a toolken or nothing fired.
        logprobs: one for each of `token_ids`, if the sampling asks for them.
        calibrated: the probabilities of `trigger` and `runners_up` are those that held-out data calibrated
            (`ToolkenSet.calibration`), not the LM's bare softmax.
        judgements: second looks at calls within this text; the last one may be at `trigger`. Engines give none.
    """

    token_ids: tuple[int, ...]
    text: str
    trigger: Candidate | None
    runners_up: tuple[Candidate, ...]
    finish_reason: Literal["stop", "length", "tool_calls"]
    prompt_tokens: int
    reused_tokens: int
    marker: int | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
    calibrated: bool = False
    judgements: tuple[Judgement, ...] = ()


@dataclass(frozen=True)
class Completion:
    """A call's arguments, decoded under the tool's JSON schema.

    Attributes:
        text: the JSON as the LM wrote it, without whitespace between its parts.
        arguments: the parsed object, valid against the schema; None when `max_tokens` or the context cut the JSON off
            (and for an integer of more digits than Python parses).
        finish_reason: "stop" when the JSON is whole, else "length".
        completion_tokens: the JSON's tokens, those the grammar forced included.
        prompt_tokens: the prompt's length.
        reused_tokens: how many of them came out of the prefix cache.
    """

    text: str
    arguments: dict[str, Any] | None
    finish_reason: Literal["stop", "length"]
    completion_tokens: int
    prompt_tokens: int
    reused_tokens: int


class Engine(Protocol):
    """What reasons and completes. `TransformersEngine` does so in this process."""

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
            prompts: token ids, each of at least one token.
            request: what may come next, and what ends the text.

        Raises:
            ValueError: a prompt is empty, or no longer than `request.begun`.
            PromptTooLongError: a prompt fills the context.
            ToolkenSetError: the toolkens were made for another LM.
        """
        ...

    def stream(self, prompt: Sequence[int], request: DecodingRequest) -> Iterator[str | Reasoning]:
        """Like `reason` for one prompt, text piece by piece, the `Reasoning` last.

        The pieces join to `Reasoning.text` exactly: a piece has only whole characters, and text that may turn out to be
        the start of a stop string is held back. Closing the generator ends decoding.
        """
        ...

    def rank(
        self, prompts: Sequence[Sequence[int]], *, toolkens: ToolkenSet, active: Collection[str] | None = None
    ) -> list[tuple[Candidate, ...]]:
        """All active toolkens by their probability over [words ; active toolkens] behind each prompt, likeliest first.

        One forward pass, nothing is generated.

        Raises:
            ValueError, PromptTooLongError, ToolkenSetError: as `reason`.
        """
        ...

    def score(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        """The mean log-probability of a token of each continuation of `prompt`, over the LM's words alone.

        Raises:
            ValueError: the prompt or a continuation is empty.
            PromptTooLongError: they don't fit into the context together.
        """
        ...

    def complete(
        self, prompts: Sequence[Sequence[int]], specs: Sequence[ToolSpec], *, max_tokens: int = 256
    ) -> list[Completion]:
        """Decode each tool's arguments, greedily, under its grammar.

        Args:
            prompts: token ids that end where the arguments' JSON begins (after the tool card).
            specs: the tool of each prompt.
            max_tokens: most tokens of a JSON; 256 holds some dozens of arguments.

        Raises:
            ValueError: prompts and specs differ in number, or a prompt is empty.
            PromptTooLongError: a prompt fills the context.
            ToolError: a tool's schema cannot be made a grammar.
        """
        ...
