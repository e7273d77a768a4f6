"""Evidence while decoding: when is as the gate or the toolkens say, which is as the formula says, however it is run."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_toolken.decoding.engine import Candidate, DecodingRequest, Reasoning, Sampling
from langchain_toolken.decoding.local.call_evidence import CallEvidence
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.decoding.local.placed_toolkens import PlacedEvidence, PlacedToolkens
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.requests import Request
from langchain_toolken.toolkens.evidence import Evidence, Gate
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.decoding import GREEDY, PROMPTS, TOOLS, Lm, comparable
from tests.support.evidence import make_evidence
from tests.support.evidence_oracle import expected, softmax, states_and_words
from tests.support.toolken_sets import CALIBRATION, make_toolkens

REQUESTS = (
    Request("please add and divide it", (2, 8)),
    Request("compute the root", (1, 3)),
    Request("nothing known here", (5, 17)),
)


def informed(lm: LanguageModel, *, threshold: float = 0.0, bias: float = 0.0, **settings: Any) -> ToolkenSet:
    toolkens = make_toolkens(lm, TOOLS, scale=0.3, bias=bias)
    toolkens = replace(toolkens, tool_biases=torch.linspace(-1, 1, len(TOOLS)))
    return replace(toolkens, evidence=make_evidence(toolkens, threshold=threshold, **settings))


def asking(toolkens: ToolkenSet, sampling: Sampling = GREEDY, rows: Sequence[int] = (0, 1, 2), **more: Any) -> Any:
    requests = tuple(REQUESTS[row] for row in rows)
    return DecodingRequest(sampling, toolkens=toolkens, requests=requests, **more)


def probabilities(candidates: Sequence[Candidate]) -> dict[str, Any]:
    return {candidate.tool: pytest.approx(candidate.probability, rel=2e-3, abs=1e-6) for candidate in candidates}


# --- when, and which -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "gemma3", "gpt2"])
@pytest.mark.parametrize("threshold", [-3.0, 0.0, 1.5, 3.0, None], ids=str)
def test_greedy_calls_come_exactly_where_the_evidence_says(
    tiny_lm: Lm, architecture: str, threshold: float | None
) -> None:
    lm = tiny_lm(architecture)
    toolkens = informed(lm, threshold=threshold or 0.0, gate=threshold is not None, bias=14.0)
    results = TransformersEngine(lm).reason(PROMPTS, asking(toolkens))
    for prompt, request, result in zip(PROMPTS, REQUESTS, results, strict=True):
        for written, token in enumerate(result.token_ids):
            said = expected(lm, [*prompt, *result.token_ids[:written]], toolkens, request)
            assert said.lead <= 1e-3
            assert token == said.words.argmax()
        said = expected(lm, [*prompt, *result.token_ids], toolkens, request)
        if result.trigger is None:
            assert result.finish_reason == "length" or said.lead <= 1e-3
            continue
        assert said.lead >= -1e-3
        assert result.trigger.tool == TOOLS[said.shares.argmax()]
        found = probabilities([result.trigger, *result.runners_up])
        assert found == {TOOLS[k]: said.call * said.shares[k] for k in np.argsort(-said.shares)[:5]}
        assert list(found) == [TOOLS[k] for k in np.argsort(-said.shares)[:5]]


def test_the_thresholds_of_that_test_fire_at_once_later_and_never(tiny_llama: LanguageModel) -> None:
    lengths = {
        threshold: [
            (len(result.token_ids), result.trigger is not None)
            for result in TransformersEngine(tiny_llama).reason(
                PROMPTS, asking(informed(tiny_llama, threshold=threshold))
            )
        ]
        for threshold in (-3.0, 0.0, 1.5, 3.0)
    }
    firing = {fired for results in lengths.values() for _, fired in results}
    late = {length for results in lengths.values() for length, fired in results if fired}
    assert firing == {True, False}
    assert len(late) > 3


@pytest.mark.parametrize("active", [None, frozenset(TOOLS[2:5])], ids=["all", "a subset"])
@pytest.mark.parametrize("gate", [True, False])
def test_ranking_is_by_the_probability_of_a_call_and_the_share(
    tiny_llama: LanguageModel, gate: bool, active: frozenset[str] | None
) -> None:
    toolkens = informed(tiny_llama, gate=gate, threshold=2.0)
    engine = TransformersEngine(tiny_llama)
    ranking = engine.rank(PROMPTS, toolkens=toolkens, active=active, requests=REQUESTS)
    for prompt, request, ranked in zip(PROMPTS, REQUESTS, ranking, strict=True):
        said = expected(tiny_llama, prompt, toolkens, request, active)
        names = [name for name in TOOLS if active is None or name in active]
        assert probabilities(ranked) == {name: said.call * said.shares[TOOLS.index(name)] for name in names}
        assert [candidate.probability for candidate in ranked] == sorted(
            (candidate.probability for candidate in ranked), reverse=True
        )


def test_without_a_gate_calls_come_where_they_did_and_their_calibration_holds(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    informed_set = replace(informed(tiny_llama, gate=False, bias=14.0), calibration=CALIBRATION)
    bare = replace(informed_set, evidence=None)
    with_evidence = engine.reason(PROMPTS, asking(informed_set))
    without = engine.reason(PROMPTS, asking(bare))
    assert any(result.trigger for result in without)
    assert [r.token_ids for r in with_evidence] == [r.token_ids for r in without]
    assert [r.finish_reason for r in with_evidence] == [r.finish_reason for r in without]
    assert [r.trigger and r.trigger.tool for r in with_evidence] != [r.trigger and r.trigger.tool for r in without]
    assert [r.calibrated for r in with_evidence] == [r.calibrated for r in without]
    ranked = engine.rank(PROMPTS, toolkens=informed_set, requests=REQUESTS)
    for ours, theirs in zip(ranked, engine.rank(PROMPTS, toolkens=bare), strict=True):
        assert sum(c.probability for c in ours) == pytest.approx(sum(c.probability for c in theirs), rel=1e-4)


def test_evidence_that_says_nothing_changes_nothing(tiny_llama: LanguageModel) -> None:
    bare = make_toolkens(tiny_llama, TOOLS, scale=0.5, bias=14.0)
    neutral = replace(bare, evidence=Evidence())
    for sampling in (GREEDY, Sampling(temperature=0.7, seed=3, max_tokens=24)):
        engine = TransformersEngine(tiny_llama)
        ours = engine.reason(PROMPTS, asking(neutral, sampling))
        theirs = engine.reason(PROMPTS, asking(bare, sampling))
        assert [comparable(result) for result in ours] == [comparable(result) for result in theirs]
        assert any(result.trigger for result in ours)


# --- the logits that tokens are chosen by ----------------------------------------------------------------------------

WORDS, KINDS = 6, 4
finite = st.floats(-20, 20, width=32)


@st.composite
def rows_of_logits(draw: st.DrawFn) -> tuple[CallEvidence, torch.Tensor, float | None, torch.Tensor | None]:
    """A call's evidence with one request, its logits, what the gate says beyond its threshold, and the mask."""
    logits = [draw(finite) for _ in range(WORDS + KINDS)]
    for at in draw(st.sets(st.integers(0, WORDS - 2))):
        logits[at] = -math.inf  # a word that may not come
    points = draw(finite), draw(st.none() | finite)
    gate = draw(st.none() | st.just(Gate(torch.tensor([1.0]), torch.tensor([0.5]), 0.25, *points)))
    request = Request("", (0, 1), answered=draw(st.booleans()))
    mask = draw(st.none() | st.lists(st.booleans(), min_size=KINDS, max_size=KINDS).filter(any).map(torch.tensor))
    if mask is not None:
        logits[WORDS:] = [value if on else -math.inf for value, on in zip(logits[WORDS:], mask, strict=True)]
    evidence = Evidence(gate, draw(st.floats(0, 3)), torch.tensor([[draw(finite)] for _ in range(KINDS)]))
    placed = PlacedEvidence.on(torch.device("cpu"), evidence)
    names = tuple("abcd")
    toolkens = PlacedToolkens(names, torch.zeros(KINDS, 1), torch.zeros(KINDS), mask, None, placed)
    call = CallEvidence(toolkens, placed, [request], WORDS)
    mean = draw(finite)
    call.read(0, torch.tensor([mean]))
    lead = None
    if gate is not None:
        logits.append(draw(finite))
        # Where the gate does not know what holds after an answer has begun, it is as if there were none.
        if (threshold := gate.threshold_for(request)) is not None:
            lead = float(torch.tensor(logits[-1]) + (torch.tensor(mean) * 0.5 + 0.25) - threshold)
    return call, torch.tensor([logits]), lead, mask


@settings(deadline=None, max_examples=200)
@given(rows_of_logits())
def test_greedy_the_combined_logits_keep_when_exactly(
    drawn: tuple[CallEvidence, torch.Tensor, float | None, torch.Tensor | None],
) -> None:
    call, logits, lead, mask = drawn
    combined = call.combined([0], logits, 0.0)[0]
    assert torch.equal(combined[:WORDS], logits[0, :WORDS])
    if lead is None:
        assert combined[WORDS:].max() == logits[0, WORDS : WORDS + KINDS].max()
    elif abs(lead) > 1e-5:
        assert bool(combined.argmax() >= WORDS) == (lead > 0)
    if mask is not None:
        assert combined[WORDS:].isneginf().tolist() == (~mask).tolist()


@pytest.mark.parametrize("lead", [1e-30, 1e-7, -1e-30, -1e-7, 0.0])
def test_a_lead_too_small_for_the_words_logits_still_decides(lead: float) -> None:
    gate = Gate(torch.zeros(1), torch.zeros(1), 0.0)
    placed = PlacedEvidence.on(torch.device("cpu"), Evidence(gate))
    toolkens = PlacedToolkens(("a",), torch.zeros(1, 1), torch.zeros(1), None, None, placed)
    call = CallEvidence(toolkens, placed, [Request("", (0, 1))], 2)
    call.read(0, torch.zeros(1))
    combined = call.combined([0], torch.tensor([[1000.0, 999.0, 3.0, lead]]), 0.0)
    assert (combined.argmax() == 2) == (lead > 0)


@settings(deadline=None, max_examples=200)
@given(rows_of_logits(), st.floats(0.2, 3.0))
def test_sampling_keeps_the_probability_of_a_call_and_moves_only_shares(
    drawn: tuple[CallEvidence, torch.Tensor, float | None, torch.Tensor | None], temperature: float
) -> None:
    call, logits, lead, _ = drawn
    combined = call.combined([0], logits, temperature)[0]
    mass = float((combined.double() / temperature).softmax(0)[WORDS:].sum())
    if lead is None:
        plain = logits[0, : WORDS + KINDS].double()
        assert mass == pytest.approx(float((plain / temperature).softmax(0)[WORDS:].sum()), abs=1e-4)
    else:
        assert mass == pytest.approx(1 / (1 + math.exp(-lead / temperature)), abs=1e-4)
    # Shares differ from those of greedy decoding only by the temperature.
    greedy = call.combined([0], logits, 0.0)[0][WORDS:]
    assert torch.allclose((combined[WORDS:] / temperature).softmax(0), (greedy / temperature).softmax(0), atol=1e-3)


def test_log_probabilities_are_over_what_was_chosen_from(tiny_llama: LanguageModel) -> None:
    toolkens = informed(tiny_llama, threshold=1.5)
    sampling = Sampling(max_tokens=6, top_logprobs=2)
    for prompt, request, row in zip(PROMPTS, REQUESTS, range(3), strict=True):
        (result,) = TransformersEngine(tiny_llama).reason([prompt], asking(toolkens, sampling, [row]))
        for written, token in enumerate(result.logprobs):
            said = expected(tiny_llama, [*prompt, *result.token_ids[:written]], toolkens, request)
            spoken = math.log(1 / (1 + math.exp(said.lead)))  # p(no call) at the operating point
            words = np.log(softmax(said.words))
            assert token.logprob == pytest.approx(spoken + words[result.token_ids[written]], abs=2e-3)


# --- forced, rejected, guarded ---------------------------------------------------------------------------------------


def test_a_forced_call_is_the_likeliest_tool_whatever_the_gate_says(tiny_llama: LanguageModel) -> None:
    for threshold, gate in ((1000.0, True), (-1000.0, True), (0.0, False)):
        toolkens = informed(tiny_llama, threshold=threshold, gate=gate, bias=-100.0)
        active = frozenset(TOOLS[1:])
        results = TransformersEngine(tiny_llama).reason(PROMPTS, asking(toolkens, must_call=True, active=active))
        for prompt, request, result in zip(PROMPTS, REQUESTS, results, strict=True):
            said = expected(tiny_llama, prompt, toolkens, request, active)
            assert result.token_ids == ()
            assert result.trigger is not None
            found = probabilities([result.trigger, *result.runners_up])
            assert found == {TOOLS[k]: said.shares[k] for k in np.argsort(-said.shares)[:5]}


def test_a_forced_call_may_also_be_begun_by_a_marker(tiny_llama: LanguageModel) -> None:
    marker = 77
    for threshold, called in ((1000.0, False), (-1000.0, True)):
        toolkens = informed(tiny_llama, threshold=threshold)
        request = asking(toolkens, rows=[0], must_call=True, markers=frozenset({marker}))
        (result,) = TransformersEngine(tiny_llama).reason(PROMPTS[:1], request)
        assert (result.marker == marker) != called
        assert result.trigger is not None
        together = [result.trigger, *result.runners_up]
        assert all(0 <= candidate.probability <= 1 + 1e-5 for candidate in together)


def test_no_call_follows_a_rejected_one_directly(tiny_llama: LanguageModel) -> None:
    toolkens = informed(tiny_llama, threshold=-1000.0)
    engine = TransformersEngine(tiny_llama)
    (at_once,) = engine.reason(PROMPTS[:1], asking(toolkens, rows=[0]))
    assert at_once.trigger is not None
    (later,) = engine.reason(PROMPTS[:1], asking(toolkens, rows=[0], begun=0))
    assert len(later.token_ids) == 1
    assert later.trigger is not None
    said = expected(tiny_llama, [*PROMPTS[0], *later.token_ids], toolkens, REQUESTS[0])
    assert later.trigger.probability == pytest.approx(said.call * said.shares.max(), rel=2e-3)


def test_words_that_would_lengthen_a_result_make_no_call(lm: LanguageModel) -> None:
    prompt = lm.tokenizer("A: 4096*27= 110592")["input_ids"]
    request = Request("4096", (1, 4))
    for threshold in (1000.0, -1000.0):
        toolkens = informed(lm, threshold=threshold)
        decoding = DecodingRequest(Sampling(max_tokens=1), toolkens=toolkens, after_result=True, requests=(request,))
        (result,) = TransformersEngine(lm).reason([prompt], decoding)
        assert (result.trigger is not None) == (threshold < 0)


# --- however it is run -----------------------------------------------------------------------------------------------


def test_calls_at_once_with_other_requests_share_a_matrix_and_not_the_evidence(tiny_llama: LanguageModel) -> None:
    toolkens = informed(tiny_llama, threshold=1.0)
    other = replace(informed(tiny_llama, threshold=-1.0), matrix=toolkens.matrix)
    asked = [(0, toolkens), (1, toolkens), (2, toolkens), (2, other), (0, replace(toolkens, evidence=None))]
    alone = [
        TransformersEngine(tiny_llama).reason([PROMPTS[row]], asking(bound, rows=[row]))[0] for row, bound in asked
    ]
    engine = TransformersEngine(tiny_llama)
    together: dict[int, Reasoning] = {}
    start = threading.Barrier(len(asked))

    def run(index: int) -> None:
        row, bound = asked[index]
        start.wait()
        together[index] = engine.reason([PROMPTS[row]], asking(bound, rows=[row]))[0]

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [comparable(together[index]) for index in range(len(asked))] == [comparable(result) for result in alone]


@pytest.fixture
def means(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The mean states that evidence was given from here on."""
    found: list[torch.Tensor] = []
    read = CallEvidence.read

    def noted(evidence: CallEvidence, row: int, mean: torch.Tensor) -> None:
        found.append(mean.clone())
        read(evidence, row, mean)

    monkeypatch.setattr(CallEvidence, "read", noted)
    return found


def own_mean(lm: LanguageModel, ids: Sequence[int], request: Request) -> torch.Tensor:
    states, _ = states_and_words(lm, ids)
    return torch.tensor(states[request.span[0] : request.span[1]].mean(axis=0)).float()


def test_the_mean_state_is_that_of_the_requests_tokens_in_a_batch_and_streamed(
    tiny_llama: LanguageModel, means: list[torch.Tensor]
) -> None:
    toolkens = informed(tiny_llama, threshold=1.5)
    TransformersEngine(tiny_llama).reason(PROMPTS, asking(toolkens))
    list(TransformersEngine(tiny_llama).stream(PROMPTS[1], asking(toolkens, rows=[1])))
    TransformersEngine(tiny_llama).rank(PROMPTS[2:], toolkens=toolkens, requests=REQUESTS[2:])
    wanted = {0: REQUESTS[0], 1: REQUESTS[1], 2: REQUESTS[2]}
    own = [own_mean(tiny_llama, PROMPTS[row], request) for row, request in wanted.items()]
    batched = [min(range(3), key=lambda row: float((mean - own[row]).norm())) for mean in means[:3]]
    assert sorted(batched) == [0, 1, 2]
    for mean, row in zip(means, [*batched, 1, 2], strict=True):
        assert torch.allclose(mean, own[row], atol=1e-4)


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_the_mean_state_outlives_the_prompt_that_it_was_computed_from(
    tiny_lm: Lm, architecture: str, means: list[torch.Tensor]
) -> None:
    lm = tiny_lm(architecture)
    toolkens, engine = informed(lm, threshold=1000.0), TransformersEngine(lm)
    (first,) = engine.reason(PROMPTS[:1], asking(toolkens, rows=[0]))
    # An agent's next step: what was written, and a result.
    longer = [*PROMPTS[0], *first.token_ids[:5], 60, 61, 62]
    (second,) = engine.reason([longer], asking(toolkens, rows=[0]))
    assert second.reused_tokens >= len(PROMPTS[0]) + 5
    assert torch.equal(means[0], means[1])
    assert torch.allclose(means[0], own_mean(lm, longer, REQUESTS[0]), atol=1e-4)
    fresh = TransformersEngine(lm).reason([longer], asking(toolkens, rows=[0]))[0]
    assert comparable(fresh) == comparable(second)


def test_a_prefix_that_was_cached_without_its_mean_is_used_up_to_the_request(
    tiny_llama: LanguageModel, means: list[torch.Tensor]
) -> None:
    toolkens, engine = informed(tiny_llama, threshold=1000.0), TransformersEngine(tiny_llama)
    engine.reason(PROMPTS[:1], asking(replace(toolkens, evidence=None), rows=[0]))
    assert means == []
    (result,) = engine.reason(PROMPTS[:1], asking(toolkens, rows=[0]))
    assert result.reused_tokens == REQUESTS[0].span[0]
    (again,) = engine.reason(PROMPTS[:1], asking(toolkens, rows=[0]))
    assert again.reused_tokens == len(PROMPTS[0]) - 1
    assert torch.equal(means[0], means[1])
    assert torch.allclose(means[0], own_mean(tiny_llama, PROMPTS[0], REQUESTS[0]), atol=1e-4)


def test_the_same_words_after_another_beginning_have_another_mean(
    tiny_llama: LanguageModel, means: list[torch.Tensor]
) -> None:
    toolkens, engine = informed(tiny_llama, threshold=1000.0), TransformersEngine(tiny_llama)
    other = [5, 6, *PROMPTS[0][2:]]
    for prompt in (PROMPTS[0], other):
        engine.reason([prompt], asking(toolkens, rows=[0]))
    assert not torch.allclose(means[0], means[1], atol=1e-3)
    assert torch.allclose(means[1], own_mean(tiny_llama, other, REQUESTS[0]), atol=1e-4)


def test_evidence_needs_one_request_for_each_prompt_inside_it(tiny_llama: LanguageModel) -> None:
    toolkens, engine = informed(tiny_llama), TransformersEngine(tiny_llama)
    with pytest.raises(ValueError, match="each of the 3 prompts, but 1 requests were given: set `requests`"):
        engine.reason(PROMPTS, asking(toolkens, rows=[0]))
    with pytest.raises(ValueError, match="each of the 1 prompts, but 0 requests"):
        engine.rank(PROMPTS[:1], toolkens=toolkens)
    with pytest.raises(ValueError, match=r"is at \(2, 9\) of 4 tokens"):
        engine.rank(PROMPTS[1:2], toolkens=toolkens, requests=[Request("x", (2, 9))])
    assert engine.rank([], toolkens=toolkens) == []


@pytest.mark.parametrize("gate", [True, False])
def test_no_active_tool_is_no_call(tiny_llama: LanguageModel, gate: bool) -> None:
    toolkens = informed(tiny_llama, threshold=-1000.0, gate=gate, bias=100.0)
    for sampling in (GREEDY, Sampling(temperature=1.0, seed=1, max_tokens=8)):
        results = TransformersEngine(tiny_llama).reason(PROMPTS, asking(toolkens, sampling, active=frozenset()))
        assert all(result.trigger is None and result.token_ids for result in results)
