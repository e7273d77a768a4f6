"""Why a tool fires, or why not: how likely a call is along an answer, the parts of each tool's score, what is missing.

`look` runs the LM on a request with all tools of the set, as a turn does, but lets it answer in words to the end: the
probability of a call is then known at every place, and where a call would have been made at any operating point. It
uses the same functions as decoding, so the place where it says that a tool fires is the place where it fires.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from langchain_core.messages import BaseMessage
from torch import Tensor

from langchain_toolken.chat.explanation import Explanation, OperatingPoint, Part, Place, ToolScore, WhyNot
from langchain_toolken.chat.turn import DecodingSetup, LaidOutTurn
from langchain_toolken.decoding.engine import DecodingRequest, Sampling
from langchain_toolken.decoding.local.call_evidence import CallEvidence
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.decoding.local.placed_toolkens import PlacedToolkens
from langchain_toolken.errors import ToolkenError
from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.prompts.call_cards import Asked
from langchain_toolken.prompts.requests import Request
from langchain_toolken.toolkens.evidence import Evidence, Gate
from langchain_toolken.toolkens.examples import nearest_examples
from langchain_toolken.toolkens.set import ToolkenSet

DEFAULT_TOKENS = 48
"""Words of the answer that are looked at: a call mostly comes at once, or in the first sentence."""
DEFAULT_TOOLS = 8
_NEAREST = 3


class NothingToExplainError(ToolkenError, ValueError):
    """There is no toolken set, or no engine in this process, whose choice could be explained."""


@dataclass(frozen=True, eq=False)
class Looked:
    """A request that the LM was run on, at the n places of its answer without calls.

    Attributes:
        toolkens: The set, of K tools.
        request: The request.
        texts: The answer's tokens (n - 1).
        parts: Each part of each tool's score, (n, K).
        scores: Their sums, by which a tool is chosen, (n, K).
        calls: p(call) · p(tool | call), (n, K).
        margins: By how many nats the decision is on the side of a call, (n,).
        lacks: By how many nats each toolken's own logit is below the best word's, (n, K).
        prompt_tokens: Length of the prompt.
        described_tokens: Its length if it described all tools; None if there is no place for them.
    """

    toolkens: ToolkenSet
    request: Request
    texts: list[str]
    parts: dict[Part, Tensor]
    scores: Tensor
    calls: Tensor
    margins: Tensor
    lacks: Tensor
    prompt_tokens: int
    described_tokens: int | None

    @property
    def gate(self) -> Gate | None:
        """The gate, if it says when to call here."""
        gate = None if self.toolkens.evidence is None else self.toolkens.evidence.gate
        return None if gate is None or gate.threshold_for(self.request) is None else gate

    @property
    def fires_at(self) -> int | None:
        """The first place where a tool fires."""
        return next((at for at, margin in enumerate(self.margins.tolist()) if margin > 0), None)

    @property
    def place(self) -> int:
        """The place that "why" is about: where a tool fires, else where it comes nearest to that."""
        return int(self.margins.argmax()) if self.fires_at is None else self.fires_at

    def order(self, at: int) -> list[int]:
        """The tools at a place, likeliest first."""
        order: list[int] = self.scores[at].argsort(descending=True, stable=True).tolist()
        return order

    def score(self, at: int, k: int) -> ToolScore:
        """One tool at a place."""
        scores = self.scores[at]
        return ToolScore(
            tool=self.toolkens.names[k],
            rank=1 + int((scores > scores[k]).sum()),
            probability=float(self.calls[at, k]),
            share=float(scores.softmax(dim=0)[k]),
            score=float(scores[k]),
            parts={name: float(part[at, k]) for name, part in self.parts.items()},
        )


def look(setup: DecodingSetup, messages: Sequence[BaseMessage], *, max_tokens: int = DEFAULT_TOKENS) -> Looked:
    """Run the LM on a request with all tools of the set.

    Args:
        setup: How turns are decoded.
        messages: The conversation, which ends with the request.
        max_tokens: Most words of the answer.

    Raises:
        NothingToExplainError: There is no set, or the engine runs in another process.
        InvalidRequestError: The messages make no prompt.
        PromptTooLongError: The prompt fills the context.
    """
    toolkens, engine = setup.toolkens.given, setup.engine
    if toolkens is None or not len(toolkens):
        raise NothingToExplainError("there are no toolkens in this process to explain: give a set that was fitted")
    if not isinstance(engine, TransformersEngine):
        raise NothingToExplainError(
            f"{engine.model_id} is not run by transformers in this process, which is needed to look into it: use "
            "toolken why, or toolken serve without --engine vllm, with its Hugging Face weights"
        )
    turn = replace(setup, tool_mode="toolken").lay_out(messages, toolkens.specs)
    prompt = turn.prompt.ids
    (request,) = setup.requests(turn.messages, ()) or (Request(turn.prompt.asked.request, (0, len(prompt))),)
    words = DecodingRequest(
        Sampling(max_tokens=max_tokens),
        stop=(*setup.prompt_format.stop, *(setup.generation.stop or ())),
        after_result=turn.after_result,
    )
    (answer,) = engine.reason([prompt], words)
    states, mean = _states(engine, prompt, answer.token_ids, request.span)
    parts = score_parts(toolkens, states, mean, request.text)
    scores = torch.stack(list(parts.values())).sum(dim=0)
    placed = engine.place(toolkens, None)
    assert placed is not None
    margins, call, lacks = _decisions(engine, placed, request, states, mean)
    return Looked(
        toolkens=toolkens,
        request=request,
        texts=[str(engine.tokenizer.decode([token])) for token in answer.token_ids],
        parts=parts,
        scores=scores,
        calls=call[:, None] * scores.softmax(dim=1),
        margins=margins,
        lacks=lacks,
        prompt_tokens=len(prompt),
        described_tokens=_described(turn),
    )


def explain(looked: Looked, tools: int = DEFAULT_TOOLS) -> Explanation:
    """Say what the LM does with a request, with its `tools` likeliest tools at each place."""
    gate, points = looked.gate, []
    if gate is not None and not looked.request.answered:
        points = [OperatingPoint(false_calls=share, margin=at - gate.threshold) for share, at in gate.points]
    return Explanation(
        request=looked.request.text,
        decided_by="toolkens" if gate is None else "gate",
        places=[
            Place(
                text=text,
                call=float(looked.calls[at].sum()),
                margin=float(looked.margins[at]),
                tools=[looked.score(at, k) for k in looked.order(at)[:tools]],
            )
            for at, text in enumerate([*looked.texts, ""])
        ],
        fires=None if looked.fires_at is None else looked.toolkens.names[looked.order(looked.fires_at)[0]],
        fires_at=looked.fires_at,
        looked_at=looked.place,
        points=points,
        prompt_tokens=looked.prompt_tokens,
        described_tokens=looked.described_tokens,
    )


def why_not(looked: Looked, tool: str, place: int | None = None) -> WhyNot:
    """Say why a tool is not called at a place, and what would make it.

    Args:
        looked: What `look` returned.
        tool: The tool's name.
        place: The place; None for the one that was looked at.

    Raises:
        ToolkenSetError: The tool has no toolken.
        ValueError: There is no such place.
    """
    k, toolkens = looked.toolkens.index(tool), looked.toolkens
    at = looked.place if place is None else place
    if not 0 <= at < len(looked.margins):
        raise ValueError(f"the answer has the places 0 to {len(looked.margins) - 1}, not {at}")
    first = looked.order(at)[0]
    asked = Asked(looked.request.text)
    own = [[one for one in toolkens.examples.calls if one.tool == toolkens.names[i]] for i in (k, first)]
    return WhyNot(
        tool=tool,
        place=at,
        of=len(toolkens),
        score=looked.score(at, k),
        first=looked.score(at, first),
        gap=float(looked.scores[at, first] - looked.scores[at, k]),
        margin=float(looked.margins[at]),
        bias=_needed_bias(looked, at, k),
        nearest=nearest_examples(own[0], asked, _NEAREST),
        nearest_of_first=[] if k == first else nearest_examples(own[1], asked, _NEAREST),
    )


def score_parts(toolkens: ToolkenSet, states: Tensor, mean: Tensor, request: str) -> dict[Part, Tensor]:
    """Split the scores whose softmax is p(tool | call) into what they are the sum of, at n places.

    Args:
        toolkens: The K tools.
        states: Hidden states (n, d).
        mean: The request's mean hidden state (d,).
        request: Its text.

    Returns:
        (n, K) for each part, float32 on the CPU. Each is less its mean over the tools, which changes no share.
    """
    evidence = toolkens.evidence or Evidence()
    states, mean = states.float().cpu(), mean.float().cpu()
    prior = states @ toolkens.prior.T
    parts: dict[Part, Tensor] = {
        "prior": evidence.scale * prior,
        "learned": evidence.scale * (states @ toolkens.matrix.T - prior),
        "bias": (evidence.scale * toolkens.biases).expand(len(states), -1),
    }
    if evidence.request_rows is not None:
        parts["request"] = (evidence.request_rows @ mean).expand(len(states), -1)
    for match in evidence.lexical:
        parts[match.kind] = (match.weight * match.scores(request)).expand(len(states), -1)
    return {name: part - part.mean(dim=1, keepdim=True) for name, part in parts.items()}


@torch.inference_mode()
def _states(
    engine: TransformersEngine, prompt: Sequence[int], answer: Sequence[int], span: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Run prompt and answer through the LM: the states before each token of the answer and at its end, and the mean."""
    hidden = engine.states([*prompt, *answer])
    return hidden[len(prompt) - 1 :], hidden[slice(*span)].float().mean(dim=0)


@torch.inference_mode()
def _decisions(
    engine: TransformersEngine, placed: PlacedToolkens, request: Request, states: Tensor, mean: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the margins (n,), p(call) (n,), and what each toolken lacks of the best word (n, K).

    By the functions that decode, so that nothing said here can differ from what happens.
    """
    words = engine.lm.head.word_logits(states)
    toolkens = toolken_logits(states, placed.matrix, placed.biases).to(words.device)
    size, count = words.shape[1], len(placed.names)
    logits = chosen = torch.cat([words, toolkens], dim=1)
    evidence = None
    if placed.evidence is not None:
        evidence = CallEvidence(placed, placed.evidence, [request], size)
        evidence.read(0, mean)
        if (gate := evidence.state_logits(states)) is not None:
            logits = torch.cat([logits, gate.to(words.device)], dim=1)
        chosen = evidence.combined([0] * len(states), logits, 0.0)
    best_word = chosen[:, :size].amax(dim=1)
    margins = chosen[:, size : size + count].amax(dim=1) - best_word
    call = torch.tensor([_call(placed, evidence, row, size) for row in logits])
    return margins.cpu(), call, (best_word[:, None] - toolkens).cpu()


def _call(placed: PlacedToolkens, evidence: CallEvidence | None, logits: Tensor, words: int) -> float:
    ranked = placed.ranked(logits, words) if evidence is None else evidence.ranked(0, logits)
    return sum(one.probability for one in ranked)


def _described(turn: LaidOutTurn) -> int | None:
    try:
        return len(replace(turn.setup, tool_mode="prompt").prompt(turn.messages, turn.tools).ids)
    except ValueError:
        return None


def _needed_bias(looked: Looked, at: int, k: int) -> float | None:
    """Return what the tool's bias lacks; 0 if it fires.

    A bias has to lift the tool above the others and, without a gate, its toolken above the best word. It lifts the
    tool's score by τ times as much.
    """
    silent = bool(looked.margins[at] <= 0)
    if silent and looked.gate is not None:
        return None
    evidence = looked.toolkens.evidence or Evidence()
    lacks = max(0.0, float(looked.lacks[at, k])) if silent else 0.0
    gap = float(looked.scores[at].max() - looked.scores[at, k])
    if gap <= 0:
        return lacks
    return max(gap / evidence.scale, lacks) if evidence.scale > 0 else None
