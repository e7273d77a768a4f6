"""`VllmEngine`: an `Engine` whose LM runs in a vLLM server.

The server has the exported checkpoint (`decoding.export`) and the plugin `langchain-toolken-vllm`. Prompts are rendered
here and sent as token ids; the plugin decodes them with the classes of the engine in this process, so that both make
the same calls. Batching, the cache of prompts, and more than one GPU are vLLM's.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from functools import cached_property, partial
from typing import Any, TypeVar

from transformers import PreTrainedTokenizerBase

from langchain_toolken.decoding.copy_source import CopySource
from langchain_toolken.decoding.engine import (
    Candidate,
    Completion,
    DecodingRequest,
    Reasoning,
    check_active,
    room_after,
)
from langchain_toolken.decoding.local.grammar import ArgumentGrammars
from langchain_toolken.decoding.vllm.answers import ReasoningAnswer
from langchain_toolken.decoding.vllm.client import OVER, Ended, PluginClient, TaskTries
from langchain_toolken.decoding.vllm.connection import VllmConnection, VllmError, VllmMismatchError
from langchain_toolken.decoding.vllm.wire import REPORTED, Complete, Copying, Rank, Read, Reason, mask_text
from langchain_toolken.lm.identity import tokenizer_fingerprint
from langchain_toolken.prompts.requests import Request
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.toolkens.slots import LONGEST_SLOT_TEXT, SlotText
from langchain_toolken.tools.spec import ToolSpec, takes_no_arguments

T = TypeVar("T")

_PIECES = 16  # tokens that vLLM sends together where nobody reads along
_MOST_AT_ONCE = 64  # requests of one call


class VllmEngine:
    """An `Engine` that asks a vLLM server.

    Args:
        connection: The server.
        tokenizer: The LM's tokenizer, as the toolkens were fitted with it.
        model_id: The LM's name, for messages.

    Raises:
        VllmError: The server can't be reached.
    """

    def __init__(self, connection: VllmConnection, tokenizer: PreTrainedTokenizerBase, model_id: str) -> None:
        self._client = PluginClient(connection, 1 + max(tokenizer.get_vocab().values()))  # as in `decoding.export`
        self._tokenizer = tokenizer
        self._model_id = model_id
        self._toolkens: ToolkenSet | None = None

    @property
    def model_id(self) -> str:
        """The LM's name."""
        return self._model_id

    @property
    def context_length(self) -> int:
        """Most tokens that prompt and answer may have together."""
        longest = self._client.served.max_model_len
        if longest is None:
            where = self._client.connection.base_url
            raise VllmMismatchError(f"{where} does not say how long a text may be: is it a vLLM server?")
        return longest - OVER

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The LM's tokenizer."""
        return self._tokenizer

    @cached_property
    def grammars(self) -> ArgumentGrammars:
        """Reads the tokens of arguments."""
        eos = self._tokenizer.eos_token_id
        return ArgumentGrammars(self._tokenizer, self._client.words, [eos] if isinstance(eos, int) else [])

    def check(self, toolkens: ToolkenSet) -> None:
        """Raise a VllmMismatchError if the server is not one for these toolkens."""
        self._check_toolkens(toolkens)
        self._client.connection.patiently(partial(self._client.greet, toolkens.fingerprint), self._client.forget)

    def reason(self, prompts: Sequence[Sequence[int]], request: DecodingRequest) -> list[Reasoning]:
        """Decode every prompt until EOS, a stop string, a toolken or the limit; see `Engine.reason`."""
        answers = [partial(self._reasoned, prompt, request, row) for row, prompt in self._checked(prompts, request)]
        return _at_once(answers)

    def stream(self, prompt: Sequence[int], request: DecodingRequest) -> Iterator[str | Reasoning]:
        """Yield text as it is decoded, the `Reasoning` last; see `Engine.stream`.

        If the server is lost in the middle and comes back, the answer is decoded again. Its text has to begin with
        what was yielded already.
        """
        self._checked([prompt], request)
        return self._streamed(prompt, request)

    def rank(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        toolkens: ToolkenSet,
        active: Collection[str] | None = None,
        requests: Sequence[Request] = (),
    ) -> list[tuple[Candidate, ...]]:
        """Rank the active toolkens by probability after each prompt; see `Engine.rank`."""
        check_active(toolkens, active)
        self._check_toolkens(toolkens)
        for prompt in prompts:
            self.room(prompt)
        mask = mask_text(active, toolkens.names)
        wanted = len(toolkens) if active is None else len(active)

        def ranked(row: int) -> tuple[Candidate, ...]:
            task = Rank(active=mask, request=requests[row] if requests else None)
            tries = TaskTries(self._client)
            while True:
                try:
                    _, ended = self._client.whole(
                        prompts[row], task, toolkens.fingerprint, most=1, logprobs=wanted + 1, salt=tries.salt
                    )
                except VllmError as error:
                    tries.again_after(error)
                    continue
                return tuple(Candidate(toolkens.names[k], probability) for k, probability in ended.report.tools)

        if toolkens.evidence is not None and len(requests) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts, but {len(requests)} requests, which these toolkens need")
        return _at_once([partial(ranked, row) for row in range(len(prompts))])

    def score(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        """Score how likely the LM finds each continuation; see `Engine.score`."""
        if not prompt or not all(continuations):
            raise ValueError("the prompt or a continuation has no tokens")
        self.room([*prompt, *max(continuations, key=len, default=())])

        def scored(continuation: Sequence[int]) -> float:
            connection, model = self._client.connection, self._client.served.id
            found = connection.patiently(partial(connection.prompt_logprobs, model, [*prompt, *continuation]))
            return sum(found[-len(continuation) :]) / len(continuation)

        return _at_once([partial(scored, continuation) for continuation in continuations])

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        specs: Sequence[ToolSpec],
        *,
        max_tokens: int = 256,
        copying: Sequence[CopySource | None] | None = None,
    ) -> list[Completion]:
        """Decode each tool's arguments under its grammar; see `Engine.complete`."""
        if len(prompts) != len(specs) or (copying is not None and len(copying) != len(prompts)):
            raise ValueError(
                f"{len(prompts)} prompts, but {len(specs)} tools to complete, or other sources to copy from"
            )
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, got {max_tokens}")
        sources = copying or [None] * len(prompts)
        rows = zip(prompts, specs, sources, strict=True)
        return _at_once([partial(self._completed, *row, min(max_tokens, self.room(row[0]))) for row in rows])

    def room(self, prompt: Sequence[int]) -> int:
        """Return how many tokens may follow the prompt; see `room_after`."""
        return room_after(prompt, self.model_id, self.context_length)

    def _checked(self, prompts: Sequence[Sequence[int]], request: DecodingRequest) -> list[tuple[int, Sequence[int]]]:
        if any(not 0 <= (request.begun or 0) < len(prompt) for prompt in prompts):
            raise ValueError(
                f"begun={request.begun}: that many tokens of an answer leave nothing of a prompt before it"
            )
        for prompt in prompts:
            self.room(prompt)
        if request.toolkens is not None:
            self._check_toolkens(request.toolkens)
            if request.toolkens.evidence is not None and len(request.requests) != len(prompts):
                raise ValueError(
                    f"{len(prompts)} prompts, but {len(request.requests)} requests, which these toolkens need"
                )
        return list(enumerate(prompts))

    def _check_toolkens(self, toolkens: ToolkenSet) -> None:
        if toolkens is self._toolkens:
            return
        ours = tokenizer_fingerprint(self._tokenizer)
        if toolkens.made_for.tokenizer_fingerprint != ours:
            raise VllmMismatchError(
                f"the toolkens were fitted with another tokenizer than that of {self._model_id}: give the LM that they "
                "were fitted for as the model, or leave it out"
            )
        self._toolkens = toolkens

    def _reasoned(self, prompt: Sequence[int], request: DecodingRequest, row: int) -> Reasoning:
        *_, result = self._pieces(prompt, request, row, shows=False)
        assert isinstance(result, Reasoning)
        return result

    def _streamed(self, prompt: Sequence[int], request: DecodingRequest) -> Iterator[str | Reasoning]:
        yield from self._pieces(prompt, request, 0, shows=True)

    def _pieces(
        self, prompt: Sequence[int], request: DecodingRequest, row: int, *, shows: bool
    ) -> Iterator[str | Reasoning]:
        """Yield the text that is certain as it grows, and the result last.

        Args:
            prompt: Token ids.
            request: What is asked.
            row: Which of the request's prompts it is.
            shows: Somebody reads along: what was yielded can't be taken back.
        """
        limit = min(request.sampling.max_tokens, self.room(prompt) + (request.begun or 0))
        task = self._reason_task(request, row, limit)
        top = request.sampling.top_logprobs
        listed = max(REPORTED, top or 0) + 1
        toolkens = request.toolkens.fingerprint if request.toolkens else None
        shown = ""
        tries = TaskTries(self._client)
        while True:
            answer = ReasoningAnswer(self._tokenizer, self._client.words, prompt, request, limit)
            tokens = self._client.tokens(
                prompt,
                task,
                toolkens,
                most=limit - (request.begun or 0) + OVER,
                logprobs=listed,
                interval=1 if shows else _PIECES,
                salt=tries.salt,
            )
            try:
                for token in tokens:
                    if isinstance(token, Ended):
                        result = answer.result(token.report, token.reused)
                    else:
                        answer.push(token)
                    if piece := _beyond(shown, answer.text):
                        yield piece
                        shown += piece
                    if isinstance(token, Ended):
                        yield result
                        return
            except VllmError as error:
                tries.again_after(error)
                shown = shown if shows else ""

    def _reason_task(self, request: DecodingRequest, row: int, limit: int) -> Reason:
        toolkens = request.toolkens
        return Reason(
            sampling=replace(request.sampling, max_tokens=limit),
            toolkens=toolkens is not None and bool(len(toolkens)),
            active=None if toolkens is None else mask_text(request.active, toolkens.names),
            stop=request.stop,
            after_result=request.after_result,
            markers=request.markers,
            must_call=request.must_call,
            begun=request.begun,
            must_write=request.must_write,
            calls_first=request.calls_first,
            request=request.requests[row] if toolkens is not None and request.requests else None,
            shown=request.sampling.top_logprobs is not None,
        )

    def _completed(self, prompt: Sequence[int], spec: ToolSpec, source: CopySource | None, limit: int) -> Completion:
        if takes_no_arguments(spec):
            return Completion("{}", {}, "stop", 0, len(prompt), 0)

        def once() -> tuple[list[int], Ended]:
            task = Complete(spec=spec, max_tokens=limit, copying=self._copying(spec, source))
            toolkens = None if self._toolkens is None or task.copying is None else self._toolkens.fingerprint
            return self._client.whole(prompt, task, toolkens, most=limit + OVER)

        ids, ended = self._client.connection.patiently(once, self._client.forget)
        # From the tokens' bytes: a tokenizer's own decode may add or strip spaces.
        text = bytes(self.grammars.tokenizer.decode_bytes(ids)).decode("utf-8", errors="replace")
        arguments = _parsed(text) if len(ids) <= limit else None
        return Completion(
            text=text,
            arguments=arguments,
            finish_reason="length" if arguments is None else "stop",
            completion_tokens=len(ids),
            prompt_tokens=len(prompt),
            reused_tokens=min(ended.reused, len(prompt)),
        )

    def _copying(self, spec: ToolSpec, source: CopySource | None) -> Copying | None:
        """Describe a source to the server, which reads it first where it has slots."""
        if source is None:
            return None
        if not source.slots or len(source.text) > LONGEST_SLOT_TEXT:
            return Copying.of(source)
        bos = [] if self._tokenizer.bos_token_id is None else [self._tokenizer.bos_token_id]
        reading = uuid.uuid4().hex
        text = [*bos, *SlotText.of(self._tokenizer, source.text).ids]
        self._client.whole(text, Read(reading=reading, lead=len(bos)), None, most=1, salt=reading)
        return Copying.of(source, slots=spec.name, reading=reading)


def _beyond(shown: str, text: str) -> str:
    """Return what a text has beyond what was shown of it."""
    if not text.startswith(shown) and not shown.startswith(text):
        raise VllmMismatchError(
            "the vLLM server was lost in the middle of an answer, and what it wrote when it was asked again differs "
            "from what was shown already: ask again"
        )
    return text[len(shown) :]


def _parsed(text: str) -> dict[str, Any] | None:
    """Return the object that a text is; None if it is cut off, or has an integer of more digits than Python parses."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _at_once(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make all calls at the same time, so that vLLM runs them together."""
    if len(calls) == 1:
        return [calls[0]()]
    with ThreadPoolExecutor(min(_MOST_AT_ONCE, max(1, len(calls)))) as pool:
        running = [pool.submit(copy_context().run, call) for call in calls]
        return [each.result() for each in running]
