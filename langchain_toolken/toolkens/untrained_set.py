"""A toolken set for tools of which nothing but names and descriptions is known, for a chat model without a fitted set.

What a fit without demonstrations knows, from one batch of short prompts: each description put as a request, and some
requests that need no tool.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from langchain_core.messages import HumanMessage
from torch import Tensor
from torch.nn.functional import normalize

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.states import prompt_states
from langchain_toolken.progress import Progress
from langchain_toolken.prompts.format import PromptFormat, Style
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.requests import request_of
from langchain_toolken.prompts.turns import turns_of
from langchain_toolken.toolkens.described import Described, wordings
from langchain_toolken.toolkens.evidence import Evidence
from langchain_toolken.toolkens.lexical import LexicalMatch, description_document
from langchain_toolken.toolkens.plain_gate import plain_gate
from langchain_toolken.toolkens.plain_requests import package_requests
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.toolkens.provenance import Provenance
from langchain_toolken.toolkens.ridge_map import RidgeMap
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.toolkens.untrained_rows import (
    ASSUMED,
    ASSUMED_SPREAD,
    REQUEST,
    described_rows,
    request_rows,
    spread_of,
)
from langchain_toolken.tools.spec import ToolSpec

# Where words compete with the rows; and the best one levelled.
_RAW, _LEVELLED = PriorConfig(), PriorConfig(text="both", pooling="weighted")
# Every fourth of the package's plain requests is read: reading all takes longer than a user waits for a first answer.
_PLAIN = 4
_RIDGE = 1.0
# Of more tools, as many at most are read, and the others' states are guessed from theirs.
_MOST_READ = 1000


class RequestStates:
    """The states of requests that one LM reads, each text once.

    Args:
        lm: The LM.
        style: How requests are laid out.
    """

    def __init__(self, lm: LanguageModel, style: Style) -> None:
        self.lm = lm
        self.style = style
        self._read: dict[str, tuple[Tensor, Tensor]] = {}

    def of(self, texts: Sequence[str], progress: Progress | None = None) -> tuple[Tensor, Tensor]:
        """Return where an answer to each text would begin, (n, d), and the texts' mean states, (n, d)."""
        layout = PromptFormat(self.style, "turn" if self.style == "chat" else "inline")
        new = [text for text in dict.fromkeys(texts) if text not in self._read]
        prompts, spans = [], []
        for text in new:
            messages = [HumanMessage(text)]
            ids = render(self.lm.tokenizer, messages, layout)[: self.lm.context_length]
            start, stop = request_of(self.lm.tokenizer, turns_of(messages, layout.reinjection), layout).span
            prompts.append(ids)
            spans.append((min(start, len(ids) - 1), min(stop, len(ids))))
        if new:
            found = prompt_states(self.lm, prompts, spans, progress, "read tool descriptions")
            self._read.update(zip(new, zip(*found, strict=True), strict=True))
        last, means = zip(*(self._read[text] for text in texts), strict=True)
        return torch.stack(last), torch.stack(means)


def untrained_set(read: RequestStates, specs: Sequence[ToolSpec], progress: Progress | None = None) -> ToolkenSet:
    """Make a toolken for each of K tools, and evidence of when to call and which tool.

    In completion style calls come inside of answers, of which nothing is known: there the rows compete with the words.
    The LM reads at most 1,000 descriptions.

    Args:
        read: Reads the requests.
        specs: The tools, at least one.
        progress: Called with (done, total, what).
    """
    lm, gated = read.lm, read.style == "chat"
    numbers = torch.arange(0, len(specs), -(-len(specs) // _MOST_READ))
    said = wordings([specs[number] for number in numbers.tolist()])
    plain = package_requests()[::_PLAIN] if gated else []
    states, requests = read.of([*(text for _, text in said), *plain], progress)
    tool = torch.tensor([number for number, _ in said])
    count = len(tool)
    described = Described(states[:count], requests[:count], tool).means(len(numbers))
    several = len(specs) > 1  # one tool has no other to differ from
    words = LexicalMatch("description", ASSUMED["description"], tuple(map(description_document, specs)), parts=True)
    evidence = Evidence(scale=0.0, lexical=(words,))
    prior = _LEVELLED if gated and several else _RAW
    rows = prior_rows(lm, specs, prior)
    if len(numbers) < len(specs):
        described = _of_all(described, numbers, rows)
    if several:
        mean_rows = request_rows(
            described.requests, described.tool, len(specs), _RIDGE, plain=requests[count:] if gated else None
        )
        evidence = replace(evidence, request_rows=ASSUMED[REQUEST] * mean_rows)
    if gated and several:
        rows = described_rows(rows, described.states, states[count:])
        evidence = replace(
            evidence, scale=ASSUMED_SPREAD / max(spread_of(described.states @ rows.T, described.tool), 1e-6)
        )
    if gated:
        group = torch.cat([tool if several else torch.arange(count), torch.arange(len(plain))])
        call = torch.arange(len(states)) < count
        evidence = replace(evidence, gate=plain_gate(requests, call, group))
    made = f"{prior}, levelled" if gated and several else str(prior)
    provenance = Provenance.of(lm.identity, read.style, made)
    return ToolkenSet(specs=tuple(specs), matrix=rows, prior=rows, bias=0.0, provenance=provenance, evidence=evidence)


def _of_all(read: Described, numbers: Tensor, prior: Tensor) -> Described:
    """Guess what the LM would make of all K descriptions from those with these numbers and priors (K, d) of all."""
    features = normalize(prior - prior.mean(dim=0), dim=1)

    def guessed(known: Tensor) -> Tensor:
        found = RidgeMap.learn(known, features[numbers]).rows(features)
        return found.index_copy(0, numbers, known)

    return Described(guessed(read.states), guessed(read.requests), torch.arange(len(prior)))
