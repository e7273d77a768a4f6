"""`LocalEngine`: reasoning and completing in this process, over a `LanguageModel` and the `Runner` that runs it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from langchain_toolken.decoding.copy_source import CopySource
from langchain_toolken.decoding.engine import (
    DEFAULT_BATCH_SIZE,
    Candidate,
    Completion,
    DecodingRequest,
    ReadValue,
    Reasoning,
    check_active,
    room_after,
)
from langchain_toolken.decoding.local.call_evidence import CallEvidence
from langchain_toolken.decoding.local.completer import ArgumentPiece, Completer
from langchain_toolken.decoding.local.grammar import ArgumentGrammars
from langchain_toolken.decoding.local.job import Job
from langchain_toolken.decoding.local.llama_cpp_runner import LlamaCppRunner
from langchain_toolken.decoding.local.other_backend import check_backend
from langchain_toolken.decoding.local.placed_toolkens import PlacedEvidence, PlacedToolkens
from langchain_toolken.decoding.local.read_texts import ReadTexts
from langchain_toolken.decoding.local.reasoner import Reasoner
from langchain_toolken.decoding.local.result_guard import ResultGuard
from langchain_toolken.decoding.local.runner import Runner
from langchain_toolken.decoding.local.scheduler import Scheduler
from langchain_toolken.decoding.local.slot_values import read_values, slot_readings
from langchain_toolken.decoding.local.transformers_runner import TransformersRunner
from langchain_toolken.lm.llama_cpp.model import LlamaCppModel
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.prompts.requests import Request
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.toolkens.slots import Slot
from langchain_toolken.tools.narrowing import narrowed
from langchain_toolken.tools.spec import ToolSpec

T = TypeVar("T")


class LocalEngine:
    """An `Engine` that runs the LM in this process.

    A scheduler decodes the calls of all threads together, and each row starts from the longest prefix in the prefix
    cache. A stream that is read slowly blocks no other call.

    Args:
        lm: The LM.
        runner: Runs its rows.
        max_batch_size: Most sequences that run through the LM together, over all callers.

    Raises:
        ValueError: `max_batch_size` is less than 1.
    """

    def __init__(self, lm: LanguageModel, runner: Runner, max_batch_size: int) -> None:
        self.lm = lm
        self._runner = runner
        self._read_texts = ReadTexts(lm)
        self._scheduler = Scheduler(runner, 1, lm.model_id)
        self.max_batch_size = max_batch_size
        self._lock = threading.Lock()
        self._grammars: ArgumentGrammars | None = None
        self._guard: ResultGuard | None = None
        self._last_placed: tuple[ToolkenSet, Tensor, Tensor, PlacedEvidence | None] | None = None

    @property
    def max_batch_size(self) -> int:
        """Most sequences that run through the LM together; can be changed while calls run."""
        return self._scheduler.max_batch_size

    @max_batch_size.setter
    def max_batch_size(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"max_batch_size must be 1 or more, got {size}")
        self._scheduler.max_batch_size = size

    @property
    def running(self) -> int:
        """How many sequences of all callers have not ended."""
        return self._scheduler.size

    @property
    def model_id(self) -> str:
        """The LM's name."""
        return self.lm.model_id

    @property
    def context_length(self) -> int:
        """Most tokens that prompt and answer may have together."""
        return self.lm.context_length

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The LM's tokenizer."""
        return self.lm.tokenizer

    def reason(self, prompts: Sequence[Sequence[int]], request: DecodingRequest) -> list[Reasoning]:
        """Decode every prompt until EOS, a stop string, a toolken or the limit; see `Engine.reason`."""
        reasoner = self._reasoner(prompts, request)
        job = Job(prompts, reasoner.choose, reasoner.toolkens, evidence=reasoner.evidence)
        self._scheduler.run(job)
        return reasoner.results(job.reused)

    def stream(self, prompt: Sequence[int], request: DecodingRequest) -> Iterator[str | Reasoning]:
        """Yield text as it is decoded, the `Reasoning` last; see `Engine.stream`."""
        # Not a generator itself, so that invalid input raises here and not at the first piece.
        return self._pieces(self._reasoner([prompt], request))

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
        for prompt in prompts:
            self.room(prompt)
        placed = self.place(toolkens, active)
        if placed is None:
            return [() for _ in prompts]
        evidence = self._evidence(prompts, placed, requests)
        ranking: list[tuple[Candidate, ...]] = [()] * len(prompts)

        def look(rows: list[int], logits: Tensor) -> list[list[int]]:
            for row, scores in zip(rows, logits, strict=True):
                if evidence is None:
                    ranking[row] = placed.ranked(scores, self.lm.vocab_size)
                else:
                    ranking[row] = evidence.ranked(row, scores)
            return [[] for _ in rows]

        self._scheduler.run(Job(prompts, look, placed, evidence=evidence))
        return ranking

    def score(self, prompt: Sequence[int], continuations: Sequence[Sequence[int]]) -> list[float]:
        """Score how likely the LM finds each continuation; see `Engine.score`."""
        longest = max(continuations, key=len, default=())
        self.room([*prompt, *longest])
        return self._runner.score(prompt, continuations)

    def complete(
        self,
        prompts: Sequence[Sequence[int]],
        specs: Sequence[ToolSpec],
        *,
        max_tokens: int = 256,
        copying: Sequence[CopySource | None] | None = None,
    ) -> list[Completion]:
        """Decode each tool's arguments under its grammar; see `Engine.complete`."""
        completer = self._completer(prompts, specs, max_tokens, copying)
        job = Job(completer.prompts, completer.choose, None)
        self._scheduler.run(job)
        return completer.results(job.reused)

    def stream_complete(
        self, prompt: Sequence[int], spec: ToolSpec, *, max_tokens: int = 256, copying: CopySource | None = None
    ) -> Iterator[ArgumentPiece | Completion]:
        """Do what `complete` does for one prompt, piece by piece: the pieces as they are decoded, the Completion last.

        Closing the iterator stops decoding.
        """
        # Not a generator itself, so that invalid input raises here and not at the first piece.
        return self._argument_pieces(self._completer([prompt], [spec], max_tokens, [copying]))

    def _completer(
        self,
        prompts: Sequence[Sequence[int]],
        specs: Sequence[ToolSpec],
        max_tokens: int,
        copying: Sequence[CopySource | None] | None,
    ) -> Completer:
        if len(prompts) != len(specs):
            raise ValueError(f"{len(prompts)} prompts, but {len(specs)} tools to complete")
        if copying is not None and len(copying) != len(prompts):
            raise ValueError(f"{len(prompts)} prompts, but {len(copying)} sources to copy from")
        copying = copying or [None] * len(prompts)
        readings = slot_readings(self._read_texts, copying)
        specs = [
            spec if reading is None else narrowed(spec, reading.decided)
            for spec, reading in zip(specs, readings, strict=True)
        ]
        return Completer(
            prompts, specs, max_tokens, room=self.room, grammars=self.grammars, copying=copying, readings=readings
        )

    @property
    def grammars(self) -> ArgumentGrammars:
        """Compiles grammars for this LM's tokenizer."""
        with self._lock:
            if self._grammars is None:
                self._grammars = ArgumentGrammars(self.lm.tokenizer, self.lm.vocab_size, self.lm.eos_ids)
            return self._grammars

    @property
    def guard(self) -> ResultGuard:
        """Keeps results from being lengthened."""
        with self._lock:
            if self._guard is None:
                self._guard = ResultGuard(self.lm.tokenizer, self.lm.vocab_size)
            return self._guard

    def room(self, prompt: Sequence[int]) -> int:
        """Return how many tokens may follow the prompt; see `room_after`."""
        return room_after(prompt, self.model_id, self.context_length)

    def place(self, toolkens: ToolkenSet | None, active: Collection[str] | None) -> PlacedToolkens | None:
        """Put the toolkens of a call on the head's device.

        Args:
            toolkens: The set; None for words alone.
            active: The tools that may fire, all of them in the set; None for all.

        Returns:
            None without toolkens.

        Raises:
            ToolkenSetError: The toolkens were made for another LM, or for very different states of it.
        """
        if toolkens is None or not len(toolkens):
            return None
        last = self._last_placed
        if last is None or last[0] is not toolkens:
            toolkens.check_fits(self.lm.identity)
            check_backend(toolkens.provenance, self.lm)
            device = self.lm.head_device
            # Only the last set is kept: the next call most likely brings the same one.
            last = self._last_placed = (
                toolkens,
                toolkens.matrix.to(device=device, dtype=torch.float32),
                toolkens.biases.to(device=device),
                None if toolkens.evidence is None else PlacedEvidence.on(device, toolkens.evidence),
            )
        _, matrix, biases, evidence = last
        mask = None
        if active is not None:
            mask = torch.tensor([name in active for name in toolkens.names], device=matrix.device)
        return PlacedToolkens(toolkens.names, matrix, biases, mask, toolkens.calibration, evidence)

    def states(self, ids: Sequence[int]) -> Tensor:
        """Return the hidden states (T, d) of a text's tokens. They run between two steps of other calls."""
        given = torch.tensor([list(ids)], device=self.lm.device)
        return self._scheduler.aside(lambda: self.lm.hidden_states(given)[0])

    def read_values(
        self, text: str, begin: int, slots: Mapping[str, Slot], lists: Collection[str] = ()
    ) -> dict[str, ReadValue]:
        """Find what a part of a text says of each parameter; see `SlotReader.read_values`."""
        return read_values(self._read_texts, text, begin, slots, lists)

    def _evidence(
        self, prompts: Sequence[Sequence[int]], placed: PlacedToolkens | None, requests: Sequence[Request]
    ) -> CallEvidence | None:
        """Return what the toolkens' evidence says of the prompts; None if there is no evidence, or no prompt."""
        if placed is None or placed.evidence is None or not prompts:
            return None
        if len(requests) != len(prompts):
            raise ValueError(
                f"these toolkens have evidence, which needs what the user asked in each of the {len(prompts)} prompts, "
                f"but {len(requests)} requests were given: set `requests` (prompts.requests.request_of finds them)"
            )
        for prompt, request in zip(prompts, requests, strict=True):
            start, stop = request.span
            if not 0 <= start < stop <= len(prompt):
                raise ValueError(f"the request {request.text[:40]!r} is at {request.span} of {len(prompt)} tokens")
        return CallEvidence(placed, placed.evidence, requests, self.lm.vocab_size)

    def _reasoner(self, prompts: Sequence[Sequence[int]], request: DecodingRequest) -> Reasoner:
        begun = request.begun or 0
        limits = [min(request.sampling.max_tokens, self.room(prompt) + begun) for prompt in prompts]
        placed = self.place(request.toolkens, request.active)
        guard = self.guard if request.after_result else None
        evidence = self._evidence(prompts, placed, request.requests)
        return Reasoner(self.lm, prompts, request, limits=limits, toolkens=placed, guard=guard, evidence=evidence)

    def _pieces(self, reasoner: Reasoner) -> Iterator[str | Reasoning]:
        pieces: deque[str] = deque()
        shown = 0

        def choose(rows: list[int], logits: Tensor) -> list[list[int]]:
            nonlocal shown
            chosen = reasoner.choose(rows, logits)
            text = reasoner.texts[0].text
            if len(text) > shown:
                pieces.append(text[shown:])
                shown = len(text)
            return chosen

        job = Job(reasoner.prompts, choose, reasoner.toolkens, evidence=reasoner.evidence, read_by_steps=True)
        yield from self._followed(job, pieces)
        yield reasoner.results(job.reused)[0]

    def _argument_pieces(self, completer: Completer) -> Iterator[ArgumentPiece | Completion]:
        reader = completer.reader(0)
        pieces = deque(reader.new())  # what the grammar forces before the LM has run

        def choose(rows: list[int], logits: Tensor) -> list[list[int]]:
            chosen = completer.choose(rows, logits)
            pieces.extend(reader.new())
            return chosen

        while pieces:
            yield pieces.popleft()
        job = Job(completer.prompts, choose, None, read_by_steps=True)
        yield from self._followed(job, pieces)
        yield from reader.new(last=True)
        yield completer.results(job.reused)[0]

    def _followed(self, job: Job, pieces: deque[T]) -> Iterator[T]:
        """Decode a job, and yield what it adds to `pieces` meanwhile."""
        steps = self._scheduler.steps(job)
        try:
            for _ in steps:
                while pieces:
                    yield pieces.popleft()
        finally:
            steps.close()


def local_engine(
    lm: LanguageModel, *, cached_prefixes: int = 4, max_batch_size: int = DEFAULT_BATCH_SIZE
) -> LocalEngine:
    """Return the engine for a loaded LM; the arguments are those of `TransformersEngine`."""
    if isinstance(lm, LlamaCppModel):
        return LlamaCppEngine(lm, cached_prefixes=cached_prefixes, max_batch_size=max_batch_size)
    assert isinstance(lm, TransformersModel)
    return TransformersEngine(lm, cached_prefixes=cached_prefixes, max_batch_size=max_batch_size)


class TransformersEngine(LocalEngine):
    """An `Engine` that runs the LM with transformers, in torch.

    Args:
        lm: From `load_language_model`, which has checked the logits and the cache that this engine relies on.
        cached_prefixes: How many recent key-value caches to keep, in addition to one for each row that may run; 0 for
            none.
        max_batch_size: Most sequences that run through the LM together, over all callers.

    Raises:
        ValueError: `cached_prefixes` is negative, or `max_batch_size` less than 1.
    """

    def __init__(
        self, lm: TransformersModel, *, cached_prefixes: int = 4, max_batch_size: int = DEFAULT_BATCH_SIZE
    ) -> None:
        # After `reason`, the rows of a batch come back one after the other to have their arguments completed.
        runner = TransformersRunner(lm, cached_prefixes and cached_prefixes + max_batch_size)
        super().__init__(lm, runner, max_batch_size)


class LlamaCppEngine(LocalEngine):
    """An `Engine` that runs the LM in a GGUF file with llama.cpp, its weights as they are packed.

    Args:
        lm: The LM.
        cached_prefixes: As in `TransformersEngine`.
        max_batch_size: As in `TransformersEngine`.

    Raises:
        ValueError: `cached_prefixes` is negative, or `max_batch_size` less than 1.
        UnsupportedModelError: There is not enough memory for the context.
    """

    def __init__(
        self, lm: LlamaCppModel, *, cached_prefixes: int = 4, max_batch_size: int = DEFAULT_BATCH_SIZE
    ) -> None:
        super().__init__(lm, LlamaCppRunner(lm, cached_prefixes and cached_prefixes + max_batch_size), max_batch_size)
