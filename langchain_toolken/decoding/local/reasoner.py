"""`Reasoner`: what the rows of a batch write until they end, and what makes them end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from langchain_toolken.decoding.engine import Candidate, DecodingRequest, Reasoning, TokenLogprob
from langchain_toolken.decoding.local.result_guard import ResultGuard
from langchain_toolken.decoding.local.sampler import Sampler
from langchain_toolken.decoding.local.text_stream import TextStream
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.provenance import Calibration

RUNNERS_UP = 4


@dataclass(frozen=True)
class PlacedToolkens:
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


def ranked(logits: Tensor, toolkens: PlacedToolkens, vocab_size: int) -> tuple[Candidate, ...]:
    """The active toolkens by their probability over `logits` (V+K,), likeliest first."""
    probabilities = toolkens.probabilities(logits[:vocab_size], logits[vocab_size:])
    order = probabilities.argsort(descending=True, stable=True).tolist()
    return tuple(
        Candidate(toolkens.names[k], float(probabilities[k]))
        for k in order
        if toolkens.mask is None or toolkens.mask[k]
    )


class Reasoner:
    """The rows of one `reason` or `stream` call.

    Args:
        lm: the LM that runs them.
        prompts: token ids, each of at least one token.
        request: how they are decoded.
        limits: most words of each row.
        toolkens: the request's toolkens on the head's device; None for words alone.
        guard: keeps the results that the prompts end in from being lengthened; None where they end in no result.

    Raises:
        ValueError: a prompt is no longer than `request.begun`.
    """

    def __init__(
        self,
        lm: LanguageModel,
        prompts: Sequence[Sequence[int]],
        request: DecodingRequest,
        *,
        limits: Sequence[int],
        toolkens: PlacedToolkens | None,
        guard: ResultGuard | None,
    ) -> None:
        rows = len(prompts)
        self.prompts = prompts
        self.toolkens = toolkens
        self._rejected = request.begun is not None
        self._begun = begun = request.begun or 0
        if any(not 0 <= begun < len(prompt) for prompt in prompts):
            raise ValueError(f"begun={begun}: so many tokens of an answer leave nothing of a prompt in front of it")
        cuts = [len(prompt) - begun for prompt in prompts]
        self.texts = [
            TextStream(lm.tokenizer, prompt[:cut], request.stop) for prompt, cut in zip(prompts, cuts, strict=True)
        ]
        self._lm = lm
        self._limits = limits
        self._counts = [begun] * rows
        self._sampler = Sampler(request.sampling)
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
        for row, (prompt, cut) in enumerate(zip(prompts, cuts, strict=True)):
            for token in prompt[cut:]:
                self._write(row, token)

    def choose(self, rows: list[int], logits: Tensor) -> list[list[int]]:
        """One word for each row, or its end."""
        allowed = self._allowed(rows, logits)
        tokens = self._sampler(rows, allowed)
        # A forced call is weighed against the other calls; anything else against all that the LM could have said.
        weighed = allowed if self._must_call else logits
        return [self._take(row, token, weighed[i]) for i, (row, token) in enumerate(zip(rows, tokens, strict=True))]

    def results(self, reused: Sequence[int]) -> list[Reasoning]:
        """What every row came to; `reused` is what each one had of the prefix cache."""
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
        """The logits of what may come next; of a forced call, behind a result or a rejected call not everything."""
        vocabulary = self._lm.vocab_size
        if self._rejected and any(self._counts[row] == self._begun for row in rows):
            logits = logits.clone()
            for i, row in enumerate(rows):
                if self._counts[row] == self._begun:
                    logits[i, vocabulary:] = float("-inf")
                    logits[i, sorted(self._markers)] = float("-inf")
        if self._must_call:
            calls = torch.zeros(logits.shape[-1], dtype=torch.bool, device=logits.device)
            calls[vocabulary:] = True
            calls[sorted(self._markers)] = True
            return logits.masked_fill(~calls, float("-inf"))
        if self._guard is None or not any(self._endings):
            return logits
        logits = logits.clone()
        for i, row in enumerate(rows):
            if ending := self._endings[row]:
                words = logits[i, :vocabulary]
                words.masked_fill_(self._guard.forbidden(ending).to(words.device), float("-inf"))
        return logits

    def _take(self, row: int, token: int, logits: Tensor) -> list[int]:
        """Go on with a token: the list of it, or nothing when the row has ended."""
        if token >= self._lm.vocab_size or token in self._markers:
            self.texts[row].finish()
            if self.texts[row].stopped:  # what was held back completes a stop string, which came first
                return self._end(row, "stop")
            self._candidates[row] = self._weigh(token, logits)
            self._marked[row] = token if token in self._markers else None
            return self._end(row, "tool_calls")
        if token in self._lm.eos_ids:
            return self._end(row, "stop")
        self._counts[row] += 1
        self._write(row, token)
        if self._top_logprobs is not None:
            self._logprobs[row].append(self._logprob(token, logits, self._top_logprobs))
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

    def _weigh(self, fired: int, logits: Tensor) -> tuple[Candidate, ...]:
        """What fired and the likeliest toolkens besides, with their probabilities over `logits`."""
        vocabulary = self._lm.vocab_size
        others = () if self.toolkens is None else ranked(logits, self.toolkens, vocabulary)
        if fired < vocabulary:
            marker = Candidate(self._text(fired), float(logits.softmax(dim=-1)[fired]))
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
