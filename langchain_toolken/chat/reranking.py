"""Rerank: let the frozen LM judge calls that the toolkens are unsure of.

"docs" is the method of Toolken+ (arXiv 2410.12004): the LM reads the cards of the likeliest tools, and Reject, and
chooses one. "frozen" is that of TECTON (arXiv 2411.04535): the LM reads no cards and chooses the tool's name that it
would write. Both score the candidates by their mean log-probability, in one batch after the cached prompt.

After a rejected call decoding continues from the same token, without a call at the next step; it may call later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from langchain_toolken.chat.repeats import RepeatGuard
from langchain_toolken.decoding.engine import DecodingRequest, Engine, Judgement, PromptTooLongError, Reasoning
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.tool_cards import tool_choices, tool_name_lead
from langchain_toolken.tools.spec import ToolSpec

RerankMethod = Literal["docs", "frozen"]

REJECT = "no tool"
"""The name that stands for Reject in the prompt. No tool has it, because tool names contain no spaces."""

DEFAULT_MARGIN = 0.5
"""With a larger lead the toolkens decide alone: a tool that leads by more than 0.5 has a probability above 0.5 itself,
and so is likelier than everything else together, words included."""

MOST_CANDIDATES = 5
"""The number of tools that a trigger reports: itself and four runners-up."""


@dataclass(frozen=True)
class Reranking:
    """When and how calls are judged.

    Attributes:
        method: How; None judges no call.
        margin: A call is judged if its probability leads the runner-up's by less than this.
        k: Most tools that are judged.

    Raises:
        ValueError: A field is outside its range.
    """

    method: RerankMethod | None
    margin: float = DEFAULT_MARGIN
    k: int = MOST_CANDIDATES

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in get_args(RerankMethod):
            raise ValueError(f"rerank must be None, 'docs' or 'frozen', not {self.method!r}")
        if not 0 <= self.margin <= 1:
            raise ValueError(f"rerank_margin must be a difference of probabilities in [0, 1], not {self.margin}")
        if not 2 <= self.k <= MOST_CANDIDATES:
            raise ValueError(f"rerank_k must be between 2 and {MOST_CANDIDATES}, not {self.k}")

    def wanted(self, reasoning: Reasoning) -> bool:
        """Return whether `reasoning` ended in a toolken's call that has to be judged."""
        trigger = reasoning.trigger
        if self.method is None or trigger is None or reasoning.marker is not None:
            return False
        next_best = reasoning.runners_up[0].probability if reasoning.runners_up else 0.0
        return trigger.probability - next_best < self.margin


def judge(
    engine: Engine,
    prompt: Sequence[int],
    reasoning: Reasoning,
    tools: Sequence[ToolSpec],
    reranking: Reranking,
    *,
    may_reject: bool = True,
) -> Judgement | None:
    """Let the frozen LM judge the call that `reasoning` ended in.

    Args:
        engine: The engine that scores the candidates.
        prompt: The token ids that the LM reasoned from.
        reasoning: The reasoning that ended in a call.
        tools: All tools that have a toolken.
        reranking: How to judge.
        may_reject: Whether to offer Reject (only "docs" does). False if a call is forced.

    Returns:
        The judgement. None if there is only one option or the context has no room for the candidates; the call is then
        kept.
    """
    assert reranking.method is not None
    assert reasoning.trigger is not None
    specs = {spec.name: spec for spec in tools}
    names = [candidate.tool for candidate in (reasoning.trigger, *reasoning.runners_up)][: reranking.k]
    options: list[tuple[str | None, str]]
    if reranking.method == "docs":
        lead = tool_choices([specs[name] for name in names], REJECT if may_reject else None)
        options = [(name, f" {name}\n") for name in names]
        if may_reject:
            options.append((None, f" {REJECT}\n"))
    else:
        lead = tool_name_lead()
        options = [(name, f" {name}(") for name in names]
    if len(options) < 2:
        return None
    asked = encode_content(engine.tokenizer, lead, continued=True)
    answers = [encode_content(engine.tokenizer, text, continued=True) for _, text in options]
    try:
        scores = engine.score([*prompt, *reasoning.token_ids, *asked], answers)
    except PromptTooLongError:
        return None
    ranked = sorted(zip((name for name, _ in options), scores, strict=True), key=lambda pair: -pair[1])
    return Judgement(
        method=reranking.method,
        scores=tuple(ranked),
        chosen=ranked[0][0],
        extra_tokens=len(asked) + sum(map(len, answers)),
    )


def reason(
    engine: Engine,
    prompt: Sequence[int],
    tools: Sequence[ToolSpec],
    reranking: Reranking,
    request: DecodingRequest,
    repeats: RepeatGuard | None = None,
) -> Reasoning:
    """Run `engine.reason` for one prompt, and judge its call if `reranking` asks for it.

    Args:
        engine: The engine.
        prompt: The token ids to continue from.
        tools: All tools that have a toolken.
        reranking: When and how to judge.
        request: How the prompt is decoded.
        repeats: Refuses calls that were made already; None refuses none.
    """
    before: Reasoning | None = None
    while True:
        ids, begun = _ids_after(prompt, before, request)
        (reasoning,) = engine.reason([ids], replace(request, begun=begun))
        reasoning, rejected = _judged(engine, prompt, _resumed(before, reasoning), tools, reranking, request)
        if not rejected and repeats is not None and repeats.refuses(reasoning):
            request, rejected = repeats.narrowed(request, reasoning), True
        if not rejected:
            return reasoning
        before = reasoning


def stream(
    engine: Engine,
    prompt: Sequence[int],
    tools: Sequence[ToolSpec],
    reranking: Reranking,
    request: DecodingRequest,
    repeats: RepeatGuard | None = None,
) -> Iterator[str | Reasoning]:
    """Do what `reason` does, piece by piece. The last item is the Reasoning.

    Each piece is held back until the next one arrives: after a rejected call, the words that follow may turn the end of
    the text into a stop string.
    """
    if reranking.method is None and (repeats is None or repeats.idle):
        yield from engine.stream(prompt, request)
        return
    shown = 0
    before: Reasoning | None = None
    while True:
        ids, begun = _ids_after(prompt, before, request)
        text = ""
        ended: Reasoning | None = None
        for piece in engine.stream(ids, replace(request, begun=begun)):
            if isinstance(piece, Reasoning):
                ended = piece
                continue
            if len(text) > shown:
                yield text[shown:]
                shown = len(text)
            text += piece
        assert ended is not None
        reasoning, rejected = _judged(engine, prompt, _resumed(before, ended), tools, reranking, request)
        if not rejected and repeats is not None and repeats.refuses(reasoning):
            request, rejected = repeats.narrowed(request, reasoning), True
        if not rejected:
            if len(text) > shown:
                yield text[shown:]
            yield reasoning
            return
        before = reasoning


def _ids_after(
    prompt: Sequence[int], before: Reasoning | None, request: DecodingRequest
) -> tuple[list[int], int | None]:
    """Return the ids to decode from, and how many of them the LM wrote before its call was rejected."""
    if before is None:
        return [*prompt], request.begun
    return [*prompt, *before.token_ids], len(before.token_ids)


def _judged(
    engine: Engine,
    prompt: Sequence[int],
    reasoning: Reasoning,
    tools: Sequence[ToolSpec],
    reranking: Reranking,
    request: DecodingRequest,
) -> tuple[Reasoning, bool]:
    """Return `reasoning` with the tool that was chosen as its trigger, and whether its call was rejected."""
    judgement = None
    if reranking.wanted(reasoning):
        may_reject = not request.must_call
        judgement = judge(engine, prompt, reasoning, tools, reranking, may_reject=may_reject)
    if judgement is None or reasoning.trigger is None:
        return reasoning, False
    judgements = (*reasoning.judgements, judgement)
    if judgement.chosen is None:
        return replace(reasoning, judgements=judgements), True
    ranked = (reasoning.trigger, *reasoning.runners_up)
    chosen = next(candidate for candidate in ranked if candidate.tool == judgement.chosen)
    others = tuple(candidate for candidate in ranked if candidate is not chosen)
    return replace(reasoning, trigger=chosen, runners_up=others, judgements=judgements), False


def _resumed(before: Reasoning | None, after: Reasoning) -> Reasoning:
    """Join what the LM wrote after a rejected call with what it had written before."""
    if before is None:
        return after
    return replace(
        after,
        reused_tokens=before.reused_tokens,
        logprobs=(*before.logprobs, *after.logprobs)[: len(after.token_ids)],
        judgements=before.judgements,
    )
