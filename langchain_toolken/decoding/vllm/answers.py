"""From the tokens of a vLLM server's answer to a `Reasoning`, as the engine in this process would return it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from transformers import PreTrainedTokenizerBase

from langchain_toolken.decoding.engine import Candidate, DecodingRequest, Reasoning, TokenLogprob
from langchain_toolken.decoding.local.text_stream import TextStream
from langchain_toolken.decoding.vllm.connection import Token
from langchain_toolken.decoding.vllm.wire import REPORTED, Report


class ReasoningAnswer:
    """One answer to a `Reason` task, token by token.

    Args:
        tokenizer: The LM's tokenizer.
        words: How many ids are words.
        prompt: Token ids.
        request: What was asked.
        limit: Most words of the answer.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        words: int,
        prompt: Sequence[int],
        request: DecodingRequest,
        limit: int,
    ) -> None:
        self._tokenizer, self._words, self._request, self._limit = tokenizer, words, request, limit
        begun = request.begun or 0
        cut = len(prompt) - begun
        self._begun = begun
        self._prompt_tokens = cut
        self._stream = TextStream(tokenizer, prompt[:cut], request.stop)
        self._count = 0
        self._fired: Token | None = None
        self._logprobs: list[TokenLogprob] = []
        for token in prompt[cut:]:
            self._count += 1
            self._stream.push(token)

    @property
    def text(self) -> str:
        """The text that is certain."""
        return self._stream.text

    def push(self, token: Token) -> None:
        """Take a token: a word, or what fired."""
        if token.id >= self._words or token.id in self._request.markers:
            self._fired = token
            return
        self._count += 1
        self._stream.push(token.id)
        top = self._request.sampling.top_logprobs
        if top is not None:
            words = {index: value for index, value in token.beside.items() if index < self._words}
            best = sorted(words.items(), key=lambda each: -each[1])[:top]
            listed = tuple((self._text(index), value) for index, value in best)
            self._logprobs.append(TokenLogprob(self._text(token.id), token.logprob, listed))

    def result(self, report: Report, reused: int) -> Reasoning:
        """Return the whole answer."""
        request, stream = self._request, self._stream
        stream.finish()
        fired = None if stream.stopped else self._fired
        candidates = self._candidates(fired, report)
        reason: Literal["stop", "length", "tool_calls"] = "stop"
        if fired is not None:
            reason = "tool_calls"
        elif not stream.stopped and self._count >= self._limit:
            reason = "length"
        return Reasoning(
            token_ids=stream.token_ids,
            text=stream.text,
            trigger=candidates[0] if candidates else None,
            runners_up=candidates[1:],
            finish_reason=reason,
            prompt_tokens=self._prompt_tokens,
            reused_tokens=min(reused, self._prompt_tokens),
            marker=fired.id if fired is not None and fired.id in request.markers else None,
            stopped_by=stream.stopped_by,
            logprobs=tuple(self._logprobs[: max(0, len(stream.token_ids) - self._begun)]),
            calibrated=bool(candidates)
            and not request.must_call
            and request.toolkens is not None
            and request.toolkens.calibration is not None,
        )

    def _candidates(self, fired: Token | None, report: Report) -> tuple[Candidate, ...]:
        if fired is None:
            return ()
        names = () if self._request.toolkens is None else self._request.toolkens.names
        tools = [(number, Candidate(names[number], probability)) for number, probability in report.tools]
        if fired.id < self._words:
            marker = Candidate(self._text(fired.id), math.exp(fired.logprob))
            return (marker, *(each for _, each in tools[: REPORTED - 1]))
        at = fired.id - self._words
        first = next((each for number, each in tools if number == at), Candidate(names[at], 0.0))
        return (first, *(each for number, each in tools if number != at))

    def _text(self, token: int) -> str:
        return str(self._tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False))


def report_at_the_end(tokens: Iterator[Token | int], words: int) -> Iterator[Token | tuple[Report | None, int]]:
    """Yield an answer's tokens but the last, and then the report that the last one is and the count of reused tokens.

    There is no report where the last token is one of the LM's own.
    """
    last: tuple[Token, Report] | None = None  # it looks like a report, and may yet be a word
    for token in tokens:
        if isinstance(token, int):
            yield None if last is None else last[1], token
            return
        if last is not None:
            yield last[0]
        report = Report.of_logprobs(token.beside, words)
        last = None if report is None else (token, report)
        if report is None:
            yield token
