"""`ChatDecoder`: an answer of vLLM's own chat API, in which the call follows the text.

There is one prompt, which vLLM rendered. Where a toolken fires, the tool's card is put into the answer token by token,
so that the LM reads it before it writes the arguments; the tool parser takes it out again.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from langchain_toolken.decoding.copy_source import source_or_request
from langchain_toolken.decoding.local.call_evidence import CallEvidence
from langchain_toolken.decoding.local.placed_toolkens import PlacedToolkens
from langchain_toolken.decoding.vllm.decoders import CompletingDecoder, Decided, ReasoningDecoder
from langchain_toolken.decoding.vllm.served import ServedLM
from langchain_toolken.decoding.vllm.wire import Chat, Complete, Copying, Reason, Report, Status
from langchain_toolken.prompts.call_cards import Asked
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.requests import Request
from langchain_toolken.toolkens.examples import card_of

MOST_OF_A_CARD = 160
"""Tokens of a card, each of which takes a step of the LM: two or three of the nearest demonstrations."""
_MOST_OF_ARGUMENTS = 512


class ChatDecoder:
    """The text and the call of one answer.

    Args:
        served: The LM and the toolkens.
        prompt: Token ids.
        task: What is wanted.
        placed: The toolkens of the request's tools.
        evidence: What else says when to call and which tool.
    """

    def __init__(
        self,
        served: ServedLM,
        prompt: list[int],
        task: Chat,
        placed: PlacedToolkens,
        evidence: CallEvidence | None,
    ) -> None:
        self._served, self._prompt, self._task = served, prompt, task
        some = placed.mask is not None and bool(placed.mask.any())
        reason = Reason(sampling=task.sampling, toolkens=some, must_call=some and task.choice != "auto")
        self._reasoning = ReasoningDecoder(served, prompt, reason, placed if some else None, evidence)
        self._words: list[int] = []
        self._completing: CompletingDecoder | None = None

    def decide(self, hidden: Tensor, words: Tensor) -> Decided:
        """Choose the next tokens."""
        if self._completing is not None:
            return self._completing.decide(hidden, words)
        decided = self._reasoning.decide(hidden, words)
        token = decided.tokens[-1] if decided.tokens else None
        if token is None or token < self._served.vocab_size:
            self._words += decided.tokens
            return replace(decided, report=None if decided.report is None else Report(Status.DONE))
        name = self._served.toolkens.names[token - self._served.vocab_size]
        spec = next(spec for spec in self._task.tools if spec.name == name)
        examples = self._served.toolkens.examples
        written = self._served.tokenizer.decode(self._words, skip_special_tokens=True)
        asked = Asked(self._task.asked, str(written))
        card = card_of(self._served.tokenizer, spec, examples, asked, room=MOST_OF_A_CARD)
        source = source_or_request(spec, examples, asked)
        # Without slots, whose text would have to be read by itself first.
        copying = None if source is None else Copying.of(source)
        complete = Complete(spec=spec, max_tokens=_MOST_OF_ARGUMENTS, copying=copying)
        self._completing = CompletingDecoder(self._served, self._prompt, complete)
        return Decided([token, *card, token])


def request_in(served: ServedLM, prompt: list[int], task: Chat) -> Request | None:
    """Find the last user message in a prompt that vLLM rendered; None where its tokens are not there as they are alone.

    Its first token may have joined with what is before it, and the last one with what follows.
    """
    ids = encode_content(served.tokenizer, task.asked.strip())
    for cut in (0, 1):
        wanted = ids[cut : len(ids) - cut]
        for start in range(len(prompt) - len(wanted), -1, -1):
            if wanted and prompt[start : start + len(wanted)] == wanted:
                return Request(task.asked, (start, start + len(wanted)), task.answered)
    return None
