"""`TransformersEngine`: reasoning and completing in this process, over a `LanguageModel` (DESIGN §3)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedTokenizerBase

from langchain_toolken.decoding.batch import Batch
from langchain_toolken.decoding.cache import PrefixCache
from langchain_toolken.decoding.engine import Candidate, Completion, Reasoning, Sampling
from langchain_toolken.decoding.grammar import ArgumentGrammars, ArgumentMatcher
from langchain_toolken.decoding.lm import LanguageModel
from langchain_toolken.decoding.results import ResultGuard
from langchain_toolken.decoding.sampler import Sampler
from langchain_toolken.decoding.text import TextStream
from langchain_toolken.toolkens import Calibration, ToolkenSet
from langchain_toolken.tools import ToolSpec

RUNNERS_UP = 4

# Rows that have to decide (indices into the call's prompts) and their logits (n, V+K) -> the tokens each goes on with,
# none when it has ended.
Choose = Callable[[list[int], Tensor], list[list[int]]]


class TransformersEngine:
    """An `Engine` that runs the LM in this process.

    One decoding loop serves reasoning, streaming and completing, over a batch or one prompt. A single prompt starts
    from the prefix cache. Calls from several threads take turns step by step, so a stream that is read slowly blocks
    nobody.

    Args:
        lm: from `load_language_model`, which has made sure that its logits and cache are what this engine relies on.
        cached_prefixes: how many recent key-value caches to keep; 0 for none.
    """

    def __init__(self, lm: LanguageModel, *, cached_prefixes: int = 4) -> None:
        self.lm = lm
        self._prefixes = PrefixCache(cached_prefixes)
        self._lock = threading.Lock()
        self._fitting: tuple[ToolkenSet, Tensor, Tensor] | None = None

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

    def reason(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        toolkens: ToolkenSet | None,
        active: Collection[str] | None = None,
        sampling: Sampling,
        stop: Sequence[str] = (),
        after_result: bool = False,
    ) -> list[Reasoning]:
        """Decode every prompt until EOS, a stop string, a toolken or the limit; see `Engine.reason`."""
        reasoner = _Reasoner(self, prompts, toolkens, active, sampling, stop, after_result)
        for _ in self._steps(reasoner.batch, reasoner.choose, reasoner.binding):
            pass
        return reasoner.results()

    def stream(
        self,
        prompt: Sequence[int],
        *,
        toolkens: ToolkenSet | None,
        active: Collection[str] | None = None,
        sampling: Sampling,
        stop: Sequence[str] = (),
        after_result: bool = False,
    ) -> Iterator[str | Reasoning]:
        """Text as it comes, the `Reasoning` last; see `Engine.stream`."""
        # Not a generator itself, so that bad input raises here and not at the first piece.
        return self._pieces(_Reasoner(self, [prompt], toolkens, active, sampling, stop, after_result))

    def _pieces(self, reasoner: _Reasoner) -> Iterator[str | Reasoning]:
        shown = 0
        steps = self._steps(reasoner.batch, reasoner.choose, reasoner.binding)
        try:
            for _ in steps:
                text = reasoner.texts[0].text
                if len(text) > shown:
                    piece, shown = text[shown:], len(text)
                    yield piece
        finally:
            steps.close()
        yield reasoner.results()[0]

    def complete(
        self, prompts: Sequence[Sequence[int]], specs: Sequence[ToolSpec], *, max_tokens: int = 256
    ) -> list[Completion]:
        """Decode each tool's arguments under its grammar; see `Engine.complete`."""
        if len(prompts) != len(specs):
            raise ValueError(f"{len(prompts)} prompts, but {len(specs)} tools to complete")
        completer = _Completer(self, prompts, specs, max_tokens)
        if completer.batch is not None:
            for _ in self._steps(completer.batch, completer.choose, None):
                pass
        return completer.results()

    @cached_property
    def grammars(self) -> ArgumentGrammars:
        """The tokenizer as llguidance knows it."""
        return ArgumentGrammars(self.lm.tokenizer, self.lm.vocab_size, self.lm.eos_ids)

    @cached_property
    def guard(self) -> ResultGuard:
        """Keeps results from being lengthened."""
        return ResultGuard(self.lm.tokenizer, self.lm.vocab_size)

    def room(self, prompt: Sequence[int]) -> int:
        """How many tokens may follow the prompt.

        Raises:
            ValueError: none may, or the prompt is empty.
        """
        if not prompt:
            raise ValueError("a prompt has no tokens; put at least a beginning-of-text token or a word in it")
        if len(prompt) >= self.context_length:
            raise ValueError(
                f"the prompt has {len(prompt)} tokens, but {self.model_id} has a context of {self.context_length} and "
                "needs room to answer; shorten the messages"
            )
        return self.context_length - len(prompt)

    def start(self, prompts: Sequence[Sequence[int]]) -> Batch:
        """A batch before its first step; a single prompt's goes on from the prefix cache."""
        if len(prompts) == 1:
            cache, reused = self._prefixes.take(prompts[0])
            return Batch(self.lm, prompts, cache, reused)
        return Batch(self.lm, prompts, DynamicCache(), 0)

    def bind(self, toolkens: ToolkenSet | None, active: Collection[str] | None) -> _Binding | None:
        """The toolkens of a call, on the head's device.

        Raises:
            ToolkenSetError: they are another LM's.
            ValueError: `active` names a tool that has no toolken.
        """
        unknown = sorted(set(active or ()) - set(() if toolkens is None else toolkens.names))
        if unknown:
            raise ValueError(f"no toolkens for {', '.join(unknown)}; fit them, or leave them out of the active tools")
        if toolkens is None or not len(toolkens):
            return None
        fitting = self._fitting
        if fitting is None or fitting[0] is not toolkens:
            toolkens.check_fits(
                model_id=self.lm.model_id,
                head_fingerprint=self.lm.head_fingerprint,
                tokenizer_fingerprint=self.lm.tokenizer_fingerprint,
                hidden_size=self.lm.hidden_size,
            )
            # Kept for the last set: the next call most likely brings the same one.
            fitting = self._fitting = (
                toolkens,
                toolkens.matrix.to(device=self.lm.head.weight.device, dtype=torch.float32),
                toolkens.biases.to(device=self.lm.head.weight.device),
            )
        _, matrix, biases = fitting
        mask = None
        if active is not None:
            mask = torch.tensor([name in active for name in toolkens.names], device=matrix.device)
        return _Binding(toolkens.names, matrix, biases, mask, toolkens.calibration)

    def _steps(self, batch: Batch, choose: Choose, binding: _Binding | None) -> Generator[None, None, None]:
        """The decoding loop: run the LM, let the rows that are due choose, yield; until every row has ended."""
        try:
            while batch.live:
                # The lock, inference mode and the head's toolkens last for a step: between two, the caller of a stream
                # may do anything, such as ask this engine something else.
                with self._lock, torch.inference_mode():
                    rows, hidden = batch.advance()
                    if rows:
                        batch.extend(rows, choose(rows, self._logits(hidden, binding)))
                yield
        finally:
            # An error in the middle of a forward pass leaves layers of different lengths behind.
            if batch.intact and len(batch.prompts) == 1 and batch.fed[0]:
                self._prefixes.put(batch.fed[0], batch.cache)

    def _logits(self, hidden: Tensor, binding: _Binding | None) -> Tensor:
        head = self.lm.head
        if binding is None:
            head.unbind()
        else:
            head.bind(binding.matrix, binding.biases)
            head.activate(binding.mask)
        try:
            logits: Tensor = head(hidden)
        finally:
            head.unbind()
        return logits


@dataclass(frozen=True)
class _Binding:
    """Toolkens as one call uses them: matrix (K, d) and biases (K,), float32 on the head's device, mask (K,) bool or
    None for all, and how probabilities are calibrated."""

    names: tuple[str, ...]
    matrix: Tensor
    biases: Tensor
    mask: Tensor | None
    calibration: Calibration | None

    def probabilities(self, words: Tensor, toolkens: Tensor) -> Tensor:
        """Each tool's probability (K,), from word logits (V,) and toolken logits (K,) with their biases.

        The words are one class, "no call here". Calibrated, the bias beyond the fitted one is taken out again (it says
        what a call is worth, not how likely it is), and all logits are divided by the temperature.
        """
        logits = torch.cat([words.logsumexp(dim=0, keepdim=True), toolkens])
        if self.calibration is not None:
            logits[1:] += self.calibration.fitted_bias - self.biases
            logits /= self.calibration.temperature
        return logits.softmax(dim=0)[1:]


class _Reasoner:
    """The rows of one `reason` or `stream` call."""

    def __init__(
        self,
        engine: TransformersEngine,
        prompts: Sequence[Sequence[int]],
        toolkens: ToolkenSet | None,
        active: Collection[str] | None,
        sampling: Sampling,
        stop: Sequence[str],
        after_result: bool,
    ) -> None:
        if "" in stop:
            raise ValueError("a stop string is empty; it would end every text at once")
        self._lm = engine.lm
        self._limits = [min(sampling.max_tokens, engine.room(prompt)) for prompt in prompts]
        self._counts = [0] * len(prompts)
        self._sampler = Sampler(sampling)
        self._reasons: list[Literal["stop", "length", "tool_calls"]] = ["length"] * len(prompts)
        self._candidates: list[tuple[Candidate, ...]] = [()] * len(prompts)
        self.texts = [TextStream(engine.tokenizer, prompt, stop) for prompt in prompts]
        self._guard = engine.guard if after_result else None
        self._endings = [self._guard.ending(prompt[-1]) if self._guard else None for prompt in prompts]
        self.binding = engine.bind(toolkens, active)
        self.batch = engine.start(prompts)

    def choose(self, rows: list[int], logits: Tensor) -> list[list[int]]:
        """One word for each row, or its end."""
        tokens = self._sampler(self._guarded(rows, logits))
        return [self._take(row, token, logits[i]) for i, (row, token) in enumerate(zip(rows, tokens, strict=True))]

    def _guarded(self, rows: list[int], logits: Tensor) -> Tensor:
        """The logits without the words that would lengthen a result which was just put in."""
        if self._guard is None or not any(self._endings):
            return logits
        logits = logits.clone()
        for i, row in enumerate(rows):
            if ending := self._endings[row]:
                words = logits[i, : self._lm.vocab_size]
                words.masked_fill_(self._guard.forbidden(ending).to(words.device), float("-inf"))
        return logits

    def results(self) -> list[Reasoning]:
        """What every row came to."""
        return [
            Reasoning(
                token_ids=text.token_ids,
                text=text.text,
                trigger=candidates[0] if candidates else None,
                runners_up=candidates[1:],
                finish_reason=reason,
                prompt_tokens=len(prompt),
                reused_tokens=self.batch.reused,
            )
            for text, candidates, reason, prompt in zip(
                self.texts, self._candidates, self._reasons, self.batch.prompts, strict=True
            )
        ]

    def _take(self, row: int, token: int, logits: Tensor) -> list[int]:
        """Go on with a token: the list of it, or nothing when the row has ended."""
        if token >= self._lm.vocab_size:
            self._candidates[row] = self._weigh(token - self._lm.vocab_size, logits)
            return self._end(row, "tool_calls")
        if token in self._lm.eos_ids:
            return self._end(row, "stop")
        if self._guard is not None and (ending := self._endings[row]):
            self._endings[row] = self._guard.after(ending, token)
        self._counts[row] += 1
        self.texts[row].push(token)
        if self.texts[row].stopped:
            return self._end(row, "stop")
        if self._counts[row] == self._limits[row]:
            return self._end(row, "length")
        return [token]

    def _end(self, row: int, reason: Literal["stop", "length", "tool_calls"]) -> list[int]:
        self._reasons[row] = reason
        self.texts[row].finish()
        return []

    def _weigh(self, fired: int, logits: Tensor) -> tuple[Candidate, ...]:
        """The tool that fired and the likeliest others, with their probabilities over [words ; active toolkens]."""
        assert self.binding is not None
        words, toolkens = logits[: self._lm.vocab_size], logits[self._lm.vocab_size :]
        probabilities = self.binding.probabilities(words, toolkens)
        ranked = probabilities.argsort(descending=True)[: RUNNERS_UP + 1].tolist()
        others = [k for k in ranked if k != fired and (self.binding.mask is None or self.binding.mask[k])]
        return tuple(Candidate(self.binding.names[k], float(probabilities[k])) for k in [fired, *others[:RUNNERS_UP]])


class _Completer:
    """The rows of one `complete` call. Rows the grammar alone completes never reach the LM."""

    def __init__(
        self, engine: TransformersEngine, prompts: Sequence[Sequence[int]], specs: Sequence[ToolSpec], max_tokens: int
    ) -> None:
        if max_tokens < 1:
            raise ValueError(f"max_tokens must be 1 or more, got {max_tokens}")
        self._prompts = prompts
        self._limits = [min(max_tokens, engine.room(prompt)) for prompt in prompts]
        self._matchers: list[ArgumentMatcher] = [engine.grammars.matcher(spec) for spec in specs]
        forced = [matcher.force() for matcher in self._matchers]
        # The batch counts its own rows; open_rows[i] is the prompt of its row i.
        self._open_rows = [row for row in range(len(prompts)) if not self._over(row)]
        self.batch = (
            engine.start([[*prompts[row], *forced[row]] for row in self._open_rows]) if self._open_rows else None
        )

    def choose(self, rows: list[int], logits: Tensor) -> list[list[int]]:
        """The likeliest word the grammar allows, and the words it then forces."""
        matchers = [self._matchers[self._open_rows[row]] for row in rows]
        masks = torch.stack([matcher.mask() for matcher in matchers]).to(logits.device)
        tokens: list[int] = logits.masked_fill(~masks, float("-inf")).argmax(dim=-1).tolist()
        chosen = []
        for row, matcher, token in zip(rows, matchers, tokens, strict=True):
            matcher.consume(token)
            following = [token, *matcher.force()]
            chosen.append([] if self._over(self._open_rows[row]) else following)
        return chosen

    def results(self) -> list[Completion]:
        """What every row came to."""
        reused = 0 if self.batch is None else self.batch.reused
        results = []
        for row, (matcher, limit) in enumerate(zip(self._matchers, self._limits, strict=True)):
            whole = matcher.done and len(matcher.ids) <= limit
            results.append(
                Completion(
                    text=matcher.text(),
                    arguments=matcher.arguments() if whole else None,
                    finish_reason="stop" if whole else "length",
                    completion_tokens=len(matcher.ids),
                    prompt_tokens=len(self._prompts[row]),
                    reused_tokens=min(reused, len(self._prompts[row])) if row in self._open_rows else 0,
                )
            )
        return results

    def _over(self, row: int) -> bool:
        return self._matchers[row].done or len(self._matchers[row].ids) >= self._limits[row]
