"""A second look at calls the toolkens are not sure of: the frozen LM judges between the candidates (DESIGN §1).

"docs" is Toolken+'s way (arXiv 2410.12004): the likeliest tools' cards, and Reject, stand in the prompt, and the LM
says which it is. "frozen" is TECTON's (arXiv 2411.04535): toolkens off and no cards; the LM says which tool's name it
would write. Either way the candidates are scored by their mean log-probability, all in one batch behind the cached
prompt.

A rejected call is none: decoding goes on from the very same token, with words only for one step, and may call later.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from langchain_toolken.decoding.engine import DecodingRequest, Engine, Judgement, PromptTooLongError, Reasoning
from langchain_toolken.prompts.content import encode_content
from langchain_toolken.prompts.tool_cards import tool_choices, tool_name_lead
from langchain_toolken.tools.spec import ToolSpec

RerankMethod = Literal["docs", "frozen"]

REJECT = "no tool"
"""How the LM is offered Reject. No tool is named so: names that LMs are given hold no spaces."""

DEFAULT_MARGIN = 0.5
"""Above it the toolkens decide alone: who leads the next one by more than 0.5 has more than 0.5 itself, and is likelier
to be right than all else together, words included."""

MOST_CANDIDATES = 5
"""As many as a trigger reports: itself and four runners-up."""


@dataclass(frozen=True)
class Reranking:
    """When and how calls get a second look.

    method: None never. margin: look where the trigger's probability leads the runner-up's by less. k: how many tools
    are weighed.

    Raises:
        ValueError: one of them is outside its range.
    """

    method: RerankMethod | None
    margin: float = DEFAULT_MARGIN
    k: int = MOST_CANDIDATES

    def __post_init__(self) -> None:
        if self.method is not None and self.method not in get_args(RerankMethod):
            raise ValueError(f"rerank must be None, 'docs' or 'frozen', not {self.method!r}")
        if not 0 <= self.margin <= 1:
            raise ValueError(f"rerank_margin is a difference of probabilities in [0, 1], not {self.margin}")
        if not 2 <= self.k <= MOST_CANDIDATES:
            raise ValueError(f"rerank_k must lie between 2 and {MOST_CANDIDATES}, not {self.k}")

    def wanted(self, reasoning: Reasoning) -> bool:
        """Whether `reasoning` ended in a toolken's call that is to be looked at again."""
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
    """What the frozen LM says of the call that `reasoning` of `prompt` ended in.

    may_reject: offer Reject, which "docs" does; not where a call is forced.

    None where there is nothing to choose between, or no room for the candidates in the context: the call then stands.
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
    weighed = sorted(zip((name for name, _ in options), scores, strict=True), key=lambda pair: -pair[1])
    return Judgement(
        method=reranking.method,
        scores=tuple(weighed),
        chosen=weighed[0][0],
        extra_tokens=len(asked) + sum(map(len, answers)),
    )


def reason(
    engine: Engine,
    prompt: Sequence[int],
    tools: Sequence[ToolSpec],
    reranking: Reranking,
    request: DecodingRequest,
) -> Reasoning:
    """`engine.reason` of one prompt, with a second look where `reranking` wants it.

    request: how the prompt is decoded. tools: all that have a toolken.
    """
    before: Reasoning | None = None
    while True:
        ids, begun = _behind(prompt, before)
        (reasoning,) = engine.reason([ids], replace(request, begun=begun))
        reasoning, rejected = _judged(engine, prompt, _resumed(before, reasoning), tools, reranking, request)
        if not rejected:
            return reasoning
        before = reasoning


def stream(
    engine: Engine,
    prompt: Sequence[int],
    tools: Sequence[ToolSpec],
    reranking: Reranking,
    request: DecodingRequest,
) -> Iterator[str | Reasoning]:
    """`reason`, piece by piece, the Reasoning last.

    The last piece waits for the Reasoning: it may hold text that the next words would make a stop string.
    """
    if reranking.method is None:
        yield from engine.stream(prompt, request)
        return
    shown = 0
    before: Reasoning | None = None
    while True:
        ids, begun = _behind(prompt, before)
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
        if not rejected:
            if len(text) > shown:
                yield text[shown:]
            yield reasoning
            return
        before = reasoning


def _behind(prompt: Sequence[int], before: Reasoning | None) -> tuple[list[int], int | None]:
    """The ids to decode from, and how many of them the LM wrote before a call of it was rejected."""
    if before is None:
        return [*prompt], None
    return [*prompt, *before.token_ids], len(before.token_ids)


def _judged(
    engine: Engine,
    prompt: Sequence[int],
    reasoning: Reasoning,
    tools: Sequence[ToolSpec],
    reranking: Reranking,
    request: DecodingRequest,
) -> tuple[Reasoning, bool]:
    """`reasoning` after a second look, its trigger the tool that was chosen, and whether its call is rejected."""
    judgement = None
    if reranking.wanted(reasoning):
        may_reject = not request.must_call
        judgement = judge(engine, prompt, reasoning, tools, reranking, may_reject=may_reject)
    if judgement is None or reasoning.trigger is None:
        return reasoning, False
    judgements = (*reasoning.judgements, judgement)
    if judgement.chosen is None:
        return replace(reasoning, judgements=judgements), True
    weighed = (reasoning.trigger, *reasoning.runners_up)
    chosen = next(candidate for candidate in weighed if candidate.tool == judgement.chosen)
    others = tuple(candidate for candidate in weighed if candidate is not chosen)
    return replace(reasoning, trigger=chosen, runners_up=others, judgements=judgements), False


def _resumed(before: Reasoning | None, after: Reasoning) -> Reasoning:
    """What the LM wrote on from a rejected call, as one text with what it had written before."""
    if before is None:
        return after
    return replace(
        after,
        reused_tokens=before.reused_tokens,
        logprobs=(*before.logprobs, *after.logprobs)[: len(after.token_ids)],
        judgements=before.judgements,
    )
