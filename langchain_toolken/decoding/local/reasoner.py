"""`Reasoner`: what the rows of one call write until they end, and what ends them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from langchain_toolken.decoding.engine import Candidate, DecodingRequest, Reasoning, TokenLogprob
from langchain_toolken.decoding.local.call_evidence import CallEvidence
from langchain_toolken.decoding.local.placed_toolkens import PlacedToolkens
from langchain_toolken.decoding.local.result_guard import ResultGuard
from langchain_toolken.decoding.local.sampler import Sampler
from langchain_toolken.decoding.local.text_stream import TextStream

RUNNERS_UP = 4


class Words(Protocol):
    """What is needed of an LM whose logits come from elsewhere."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its tokenizer."""
        ...

    @property
    def vocab_size(self) -> int:
        """V, how many of the logits are words'."""
        ...

    @property
    def eos_ids(self) -> frozenset[int]:
        """Ids that end a text."""
        ...


class Reasoner:
    """The rows of one `reason` or `stream` call.

    Args:
        lm: The LM that they are of.
        prompts: Token ids, each with at least one token.
        request: How they are decoded.
        limits: Most words of each row.
        toolkens: The request's toolkens on the head's device; None for words alone.
        guard: Keeps the results at the prompts' ends from being lengthened; None where the prompts end with no result.
        evidence: What else says when to call and which tool; None for the toolkens alone.

    Attributes:
        prompts: Token ids of each row's prompt.
        toolkens: The request's toolkens; None for words alone.
        evidence: What else says when to call and which tool; None for the toolkens alone.
        texts: What each row has written so far.
        chosen: The last token that was chosen for each row, whether it is written or ended the row.

    Raises:
        ValueError: A prompt is no longer than `request.begun`.
    """

    def __init__(
        self,
        lm: Words,
        prompts: Sequence[Sequence[int]],
        request: DecodingRequest,
        *,
        limits: Sequence[int],
        toolkens: PlacedToolkens | None,
        guard: ResultGuard | None,
        evidence: CallEvidence | None = None,
    ) -> None:
        rows = len(prompts)
        self.prompts = prompts
        self.toolkens = toolkens
        self.evidence = evidence
        self._rejected = request.begun is not None
        self._begun = begun = request.begun or 0
        if any(not 0 <= begun < len(prompt) for prompt in prompts):
            raise ValueError(f"begun={begun}: that many tokens of an answer leave nothing of a prompt before it")
        cuts = [len(prompt) - begun for prompt in prompts]
        self.texts = [
            TextStream(lm.tokenizer, prompt[:cut], request.stop) for prompt, cut in zip(prompts, cuts, strict=True)
        ]
        self.chosen: dict[int, int] = {}
        self._lm = lm
        self._limits = limits
        self._counts = [begun] * rows
        self._sampler = Sampler(request.sampling)
        self._temperature = request.sampling.temperature
        self._top_logprobs = request.sampling.top_logprobs
        self._logprobs: list[list[TokenLogprob]] = [[] for _ in range(rows)]
        self._reasons: list[Literal["stop", "length", "tool_calls"]] = ["length"] * rows
        self._candidates: list[tuple[Candidate, ...]] = [()] * rows
        self._guard = guard
        self._endings = [
            guard.ending(prompt[cut - 1]) if guard else None for prompt, cut in zip(prompts, cuts, strict=True)
        ]
        self._markers = request.markers
        self._marked: list[int | None] = [None] * rows
        self._must_call = request.must_call
        self._must_write = request.must_write
        self._calls_first = request.calls_first
        for row, (prompt, cut) in enumerate(zip(prompts, cuts, strict=True)):
            for token in prompt[cut:]:
                self._write(row, token)

    def choose(self, rows: list[int], logits: Tensor) -> list[list[int]]:
        """Choose one token for each row; a row that ends gets none."""
        guarded = self._guarded(rows, logits)
        if self.evidence is not None:
            guarded = self.evidence.combined(rows, guarded, self._temperature)
        tokens = self._sampler(rows, self._allowed(rows, guarded))
        self.chosen.update(zip(rows, tokens, strict=True))
        return [self._take(row, token, logits[i]) for i, (row, token) in enumerate(zip(rows, tokens, strict=True))]

    def results(self, reused: Sequence[int]) -> list[Reasoning]:
        """Return the result of every row.

        Args:
            reused: How many tokens of each prompt came out of the prefix cache.
        """
        return [
            Reasoning(
                token_ids=text.token_ids,
                text=text.text,
                trigger=candidates[0] if candidates else None,
                runners_up=candidates[1:],
                finish_reason=self._reasons[row],
                prompt_tokens=len(self.prompts[row]) - self._begun,
                reused_tokens=reused[row],
                marker=self._marked[row],
                stopped_by=text.stopped_by,
                logprobs=tuple(self._logprobs[row][: max(0, len(text.token_ids) - self._begun)]),
                # Where a call is forced, probabilities are over the calls alone, which nothing was calibrated for.
                calibrated=bool(candidates)
                and not self._must_call
                and self.toolkens is not None
                and self.toolkens.calibration is not None,
            )
            for row, (text, candidates) in enumerate(zip(self.texts, self._candidates, strict=True))
        ]

    def _allowed(self, rows: list[int], logits: Tensor) -> Tensor:
        """Return logits (n, V+K) with −inf for what may not come next.

        That is: calls right after a rejected call, toolkens after a word where calls come first, words where a call is
        forced, and the end before the first word.
        """
        vocabulary = self._lm.vocab_size
        if self._rejected and any(self._counts[row] == self._begun for row in rows):
            logits = logits.clone()
            for i, row in enumerate(rows):
                if self._counts[row] == self._begun:
                    logits[i, vocabulary:] = float("-inf")
                    logits[i, sorted(self._markers)] = float("-inf")
        if self._calls_first and any(self._counts[row] for row in rows):
            logits = logits.clone()
            for i, row in enumerate(rows):
                if self._counts[row]:
                    logits[i, vocabulary:] = float("-inf")
        if self._must_write and not all(self._counts[row] for row in rows):
            logits = logits.clone()
            for i, row in enumerate(rows):
                if not self._counts[row]:
                    logits[i, sorted(self._lm.eos_ids)] = float("-inf")
        if self._must_call:
            calls = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
            calls[vocabulary:] = True
            calls[sorted(self._markers)] = True
            return logits.masked_fill(~calls, float("-inf"))
        return logits

    def _guarded(self, rows: list[int], logits: Tensor) -> Tensor:
        """Return the logits with −inf for words that would lengthen a result."""
        if self._must_call or self._guard is None or not any(self._endings):
            return logits
        logits = logits.clone()
        for i, row in enumerate(rows):
            if ending := self._endings[row]:
                words = logits[i, : self._lm.vocab_size]
                words.masked_fill_(self._guard.forbidden(ending).to(words.device), float("-inf"))
        return logits

    def weighed(self, row: int, logits: Tensor) -> Tensor:
        """Return the logits (V+K) that a row's probabilities are over, whatever the sampling temperature.

        A forced call is weighed against the other calls; anything else against all that the LM could have said.
        """
        if self.evidence is not None:
            logits = self.evidence.combined([row], logits[None], 1.0)[0]
        return self._allowed([row], logits[None])[0] if self._must_call else logits

    def _take(self, row: int, token: int, logits: Tensor) -> list[int]:
        """Continue a row with a token: return a list of it, or an empty list when the row has ended."""
        if token >= self._lm.vocab_size or token in self._markers:
            self.texts[row].finish()
            if self.texts[row].stopped:  # what was held back completes a stop string, which came first
                return self._end(row, "stop")
            self._candidates[row] = self._weigh(row, token, logits)
            self._marked[row] = token if token in self._markers else None
            return self._end(row, "tool_calls")
        if token in self._lm.eos_ids:
            return self._end(row, "stop")
        self._counts[row] += 1
        self._write(row, token)
        if self._top_logprobs is not None:
            self._logprobs[row].append(self._logprob(token, self.weighed(row, logits), self._top_logprobs))
        if self.texts[row].stopped:
            return self._end(row, "stop")
        if self._counts[row] == self._limits[row]:
            return self._end(row, "length")
        return [token]

    def _write(self, row: int, token: int) -> None:
        if self._guard is not None and (ending := self._endings[row]):
            self._endings[row] = self._guard.after(ending, token)
        self.texts[row].push(token)

    def _end(self, row: int, reason: Literal["stop", "length", "tool_calls"]) -> list[int]:
        self._reasons[row] = reason
        self.texts[row].finish()
        return []

    def _weigh(self, row: int, fired: int, logits: Tensor) -> tuple[Candidate, ...]:
        """Return what fired and the next likeliest toolkens, with their probabilities."""
        vocabulary = self._lm.vocab_size
        weighed = self.weighed(row, logits)
        others: tuple[Candidate, ...] = ()
        if self.evidence is not None:
            forced = float(weighed.softmax(dim=-1)[vocabulary:].sum()) if self._must_call else None
            others = self.evidence.ranked(row, logits, forced)
        elif self.toolkens is not None:
            others = self.toolkens.ranked(weighed, vocabulary)
        if fired < vocabulary:
            marker = Candidate(self._text(fired), float(weighed.softmax(dim=-1)[fired]))
            return (marker, *others[:RUNNERS_UP])
        assert self.toolkens is not None
        name = self.toolkens.names[fired - vocabulary]
        first = next(candidate for candidate in others if candidate.tool == name)
        return (first, *[candidate for candidate in others if candidate is not first][:RUNNERS_UP])

    def _logprob(self, token: int, logits: Tensor, top: int) -> TokenLogprob:
        scores = logits.log_softmax(dim=-1)[: self._lm.vocab_size]
        best = scores.topk(top)
        return TokenLogprob(
            token=self._text(token),
            logprob=float(scores[token]),
            top=tuple(
                (self._text(index), value)
                for index, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
            ),
        )

    def _text(self, token: int) -> str:
        return str(self._lm.tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False))
