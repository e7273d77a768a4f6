"""The engine of a vLLM server gives what the engine in this process gives, whatever vLLM does with the tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
import torch

from langchain_toolken.decoding.copy_source import CopySource
from langchain_toolken.decoding.engine import DecodingRequest, PromptTooLongError, Reasoning, Sampling
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.decoding.vllm.connection import VllmConnectionError, VllmMismatchError
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.prompts.requests import Request
from langchain_toolken.toolkens.examples import Examples
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.toolkens.slots import Slot, Slots
from langchain_toolken.tools.spec import ToolSpec, tool_spec
from tests.support.decoding import PROMPTS, TOOLS, comparable
from tests.support.evidence import make_evidence
from tests.support.fake_vllm import FakeVllm
from tests.support.tiny import make_model, make_tokenizer
from tests.support.toolken_sets import CALIBRATION, make_toolkens
from tests.support.tools import divide, lamp

LONG = Sampling(max_tokens=24)
REQUESTS = (Request("please add and divide it", (2, 8)), Request("compute the root", (1, 3)), Request("no", (5, 17)))


@pytest.fixture(scope="module")
def lm() -> TransformersModel:
    """A head without padding: an exported one has none, and padding takes a share of probabilities and draws."""
    tokenizer = make_tokenizer()
    model = make_model("llama", tied=False)
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    loaded = load_language_model(model, tokenizer=tokenizer)
    assert isinstance(loaded, TransformersModel)
    return loaded


def plain(lm: TransformersModel, bias: float = -1.0) -> ToolkenSet:
    toolkens = make_toolkens(lm, TOOLS, scale=0.3, bias=bias)
    return replace(toolkens, tool_biases=torch.linspace(-1, 1, len(TOOLS)), calibration=CALIBRATION)


def informed(lm: TransformersModel) -> ToolkenSet:
    toolkens = plain(lm)
    return replace(toolkens, evidence=make_evidence(toolkens, threshold=1.0))


def both(lm: TransformersModel, toolkens: ToolkenSet, **server: Any) -> tuple[TransformersEngine, FakeVllm]:
    return TransformersEngine(lm, cached_prefixes=0), FakeVllm(lm, toolkens, **server)


def same(one: Reasoning, other: Reasoning) -> None:
    near = [
        [(token.token, pytest.approx(token.logprob, abs=1e-3), len(token.top)) for token in one.logprobs],
        [(token.token, token.logprob, len(token.top)) for token in other.logprobs],
    ]
    assert near[0] == near[1]
    assert comparable(replace(one, logprobs=())) == comparable(replace(other, logprobs=()))


CASES: dict[str, dict[str, Any]] = {
    "toolkens": {},
    "some of them": {"active": frozenset(TOOLS[2:4])},
    "none of them": {"active": frozenset()},
    "words alone": {"toolkens": None},
    "a forced call": {"must_call": True},
    "stop strings": {"stop": ("e", "zz")},
    "after a result": {"after_result": True},
    "markers": {"markers": frozenset(range(60, 160))},
    "a rejected call": {"begun": 1},
    "it has to write": {"must_write": True},
    "calls come first": {"calls_first": True},
    "log-probabilities": {"sampling": replace(LONG, top_logprobs=3)},
    "drawn by a seed": {"sampling": replace(LONG, temperature=0.9, top_p=0.9, top_k=40, seed=3)},
    "a short answer": {"sampling": replace(LONG, max_tokens=2)},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("make", [plain, informed])
def test_reasoning_is_that_of_the_engine_in_this_process(
    lm: TransformersModel, case: str, make: Callable[[TransformersModel], ToolkenSet]
) -> None:
    toolkens = make(lm)
    engine, server = both(lm, toolkens, part=5)
    settings = {"sampling": LONG, "toolkens": toolkens, "requests": REQUESTS, **CASES[case]}
    request = DecodingRequest(settings.pop("sampling"), **settings)
    ours, theirs = engine.reason(PROMPTS, request), server.engine().reason(PROMPTS, request)
    for one, other in zip(ours, theirs, strict=True):
        same(one, other)


def test_the_cases_fire_write_and_end_in_every_way(lm: TransformersModel) -> None:
    ends = set()
    for make in (plain, informed):
        toolkens = make(lm)
        for case in CASES.values():
            settings = {"sampling": LONG, "toolkens": toolkens, "requests": REQUESTS, **case}
            request = DecodingRequest(settings.pop("sampling"), **settings)
            for result in TransformersEngine(lm).reason(PROMPTS, request):
                ends.add((result.finish_reason, result.marker is not None, result.stopped_by is not None))
    assert {("tool_calls", False, False), ("tool_calls", True, False), ("length", False, False)} <= ends
    assert ("stop", False, True) in ends


def test_a_stream_yields_the_text_piece_by_piece(lm: TransformersModel) -> None:
    engine, server = both(lm, plain(lm, bias=-9.0))
    request = DecodingRequest(LONG, stop=("zz",))
    *pieces, last = server.engine().stream(PROMPTS[0], request)
    assert len(pieces) > 3
    assert isinstance(last, Reasoning)
    assert "".join(map(str, pieces)) == last.text
    same(last, engine.reason([PROMPTS[0]], request)[0])


@pytest.mark.parametrize("make", [plain, informed])
def test_the_ranking_is_that_of_the_engine_in_this_process(
    lm: TransformersModel, make: Callable[[TransformersModel], ToolkenSet]
) -> None:
    toolkens = make(lm)
    engine, server = both(lm, toolkens, part=4)
    for active in (None, TOOLS[1:5]):
        given: dict[str, Any] = {"toolkens": toolkens, "active": active, "requests": REQUESTS}
        for one, other in zip(engine.rank(PROMPTS, **given), server.engine().rank(PROMPTS, **given), strict=True):
            assert [each.tool for each in other] == [each.tool for each in one]
            assert [each.probability for each in other] == pytest.approx([each.probability for each in one], abs=1e-4)


def test_scores_are_over_the_words_alone(lm: TransformersModel) -> None:
    engine, server = both(lm, plain(lm))
    continuations = [PROMPTS[1][:3], PROMPTS[2][:5]]
    found = server.engine().score(PROMPTS[0], continuations)
    assert found == pytest.approx(engine.score(PROMPTS[0], continuations), abs=1e-3)


def slotted(lm: TransformersModel) -> ToolkenSet:
    """A set whose tool `divide` has slots, at random."""
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randn(3, 2 * lm.hidden_size, generator=generator) for _ in range(2)]
    slots = Slots({"divide": {name: Slot(row, torch.zeros(3)) for name, row in zip("ab", rows, strict=True)}})
    return replace(plain(lm), examples=Examples(slots=slots))


@pytest.mark.parametrize("copied", ["nothing", "spans", "slots"])
def test_arguments_are_those_of_the_engine_in_this_process(lm: TransformersModel, copied: str) -> None:
    toolkens = slotted(lm)
    engine, server = both(lm, toolkens, part=6)
    specs = [tool_spec(divide), tool_spec(lamp), ToolSpec(name="now", description="Now.", json_schema={})]
    slots = toolkens.examples.slots.of_tool["divide"] if copied == "slots" and toolkens.examples.slots else {}
    source = CopySource("Share 4096 pens among 27 boxes of 12.", {"a": 4.0, "b": 4.0}, slots)
    copying = [None if copied == "nothing" else source, None, None]
    for most in (40, 3):
        ours = engine.complete(PROMPTS, specs, max_tokens=most, copying=copying)
        theirs = server.engine().complete(PROMPTS, specs, max_tokens=most, copying=copying)
        for one, other in zip(ours, theirs, strict=True):
            assert other.arguments == one.arguments
            assert other.finish_reason == one.finish_reason
            if one.arguments is not None:
                assert comparable(other) == comparable(one)
    reads = [body for body in server.bodies if '"kind":"read"' in body["vllm_xargs"]["toolken"]]
    assert len(reads) == (2 if copied == "slots" else 0)


def test_a_request_whose_states_are_in_vllms_cache_is_read_again(lm: TransformersModel) -> None:
    toolkens = informed(lm)
    engine, server = both(lm, toolkens, cached=12)
    request = DecodingRequest(LONG, toolkens=toolkens, requests=(REQUESTS[0],))
    client = server.engine()
    same(engine.reason(PROMPTS[:1], request)[0], client.reason(PROMPTS[:1], request)[0])
    assert [bool(body.get("cache_salt")) for body in server.bodies] == [False, False, True]  # hello, in vain, again
    client.reason(PROMPTS[:1], request)
    assert not server.bodies[-1].get("cache_salt")  # the mean state is kept


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_another_set_or_no_plugin_is_found_before_the_first_request(lm: TransformersModel) -> None:
    server = FakeVllm(lm, plain(lm))
    with pytest.raises(VllmMismatchError, match="has other toolkens than these: export these"):
        server.engine().reason(PROMPTS, DecodingRequest(LONG, toolkens=plain(lm, bias=3.0)))
    assert all(body["prompt"] == [0] for body in server.bodies)
    server = FakeVllm(lm, plain(lm), plugin=False)
    with pytest.raises(VllmMismatchError, match="install langchain-toolken-vllm"):
        server.engine().check(plain(lm))
    assert [body["prompt"] for body in server.bodies] == [[0]]


def test_toolkens_of_another_tokenizer_are_refused_without_asking(lm: TransformersModel) -> None:
    server = FakeVllm(lm, plain(lm))
    other = plain(lm)
    other = replace(other, provenance=other.provenance.model_copy(update={"tokenizer_fingerprint": "x" * 64}))
    with pytest.raises(VllmMismatchError, match="another tokenizer"):
        server.engine().reason(PROMPTS, DecodingRequest(LONG, toolkens=other))
    assert not server.bodies


def lost(times: int) -> Callable[[dict[str, Any]], httpx.Response | None]:
    """The server is lost in the middle of the second request's answer, and then gone for some tries."""
    count = 0

    def before(body: dict[str, Any]) -> httpx.Response | None:
        nonlocal count
        count += 1
        if count == 2:
            part = '{"choices": [{"token_ids": [77, 78], "logprobs": {"token_logprobs": [-1.0, -1.0]}}]}'
            return httpx.Response(200, content=f"data: {part}\n\n")
        if 2 < count <= 2 + times:
            raise httpx.ConnectError("refused")
        return None

    return before


def test_a_server_that_comes_back_is_greeted_again_and_finishes_the_answer(lm: TransformersModel) -> None:
    toolkens = plain(lm)
    engine, server = both(lm, toolkens, before=lost(3))
    request = DecodingRequest(LONG, toolkens=toolkens)
    same(engine.reason(PROMPTS[:1], request)[0], server.engine().reason(PROMPTS[:1], request)[0])
    assert [len(body["prompt"]) == 1 for body in server.bodies] == [True, False, True, True, True, True, False]


def test_patience_ends_with_an_error_that_says_what_to_do(lm: TransformersModel) -> None:
    server = FakeVllm(lm, plain(lm), before=lost(10**6))
    with pytest.raises(VllmConnectionError, match="start it .*It was tried again for 0.05 seconds"):
        server.engine(patience=0.05).reason(PROMPTS[:1], DecodingRequest(LONG, toolkens=plain(lm)))


def test_text_that_was_shown_is_never_taken_back(lm: TransformersModel) -> None:
    """Token 77 was shown, and the LM does not begin with it."""
    server = FakeVllm(lm, plain(lm), before=lost(0))
    pieces = server.engine().stream(PROMPTS[0], DecodingRequest(LONG))
    shown = next(pieces)
    assert shown
    with pytest.raises(VllmMismatchError, match="differs from what was shown"):
        list(pieces)


def test_a_failed_row_is_told_and_harms_no_other(lm: TransformersModel, monkeypatch: pytest.MonkeyPatch) -> None:
    toolkens = plain(lm)
    server = FakeVllm(lm, toolkens)
    monkeypatch.setattr("langchain_toolken.decoding.vllm.decoders.Completer", lambda *_, **__: 1 / 0)
    with pytest.raises(VllmMismatchError, match="failed at a request: its log says why"):
        server.engine().complete(PROMPTS[:1], [tool_spec(divide)])
    assert server.engine().reason(PROMPTS[:1], DecodingRequest(LONG, toolkens=toolkens))


def test_prompts_that_leave_no_room_are_refused_here(lm: TransformersModel) -> None:
    server = FakeVllm(lm, plain(lm))
    engine = server.engine()
    assert engine.context_length == lm.context_length - 2
    with pytest.raises(PromptTooLongError):
        engine.reason([[5] * engine.context_length], DecodingRequest(LONG))
    with pytest.raises(ValueError, match="no tokens"):
        engine.complete([[]], [tool_spec(divide)])
    full = [5] * (engine.context_length - 3)
    (result,) = engine.reason([full], DecodingRequest(Sampling(max_tokens=24)))
    assert len(result.token_ids) <= 3
