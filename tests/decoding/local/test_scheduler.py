"""Decoding together: the same answers as alone, shared passes, rows that join and leave, cancellation."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import DynamicCache

from langchain_toolken.decoding.cancellation import Cancellation, DecodingCancelledError, current_cancellation
from langchain_toolken.decoding.engine import DecodingRequest, Sampling
from langchain_toolken.decoding.local import scheduler
from langchain_toolken.decoding.local.batch import Batch
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.decoding.local.job import Job
from langchain_toolken.decoding.local.placed_toolkens import PlacedToolkens
from langchain_toolken.decoding.local.row import Row
from langchain_toolken.decoding.local.scheduler import Scheduler
from langchain_toolken.decoding.local.transformers_runner import TransformersRunner
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.tools.spec import ToolSpec
from tests.support.decoding_together import GREEDY, alone, together
from tests.support.head_oracle import all_logits
from tests.support.passes import Passes, wait_until
from tests.support.tiny import ARCHITECTURES, PROMPTS
from tests.support.toolken_sets import make_toolkens

Lm = Callable[..., LanguageModel]

NUMBER = {"type": "integer", "minimum": 0, "maximum": 999}
SPEC = ToolSpec(
    name="pair",
    description="Two numbers.",
    json_schema={"type": "object", "properties": {"a": NUMBER, "b": NUMBER}, "required": ["a", "b"]},
)


# --- a batch ----------------------------------------------------------------------------------------------------------


def last_state(lm: LanguageModel, ids: Sequence[int]) -> Tensor:
    with torch.inference_mode():
        return lm.hidden_states(torch.tensor([list(ids)]))[0, -1]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_that_join_and_leave_have_the_states_they_have_alone(tiny_lm: Lm, architecture: str) -> None:
    lm = tiny_lm(architecture)
    draw = torch.Generator().manual_seed(1)

    def more(rows: list[Row]) -> None:
        for row in rows:
            row.ids.append(int(torch.randint(5, 300, (1,), generator=draw)))

    def check(rows: list[Row], hidden: Tensor) -> None:
        for row, state in zip(rows, hidden, strict=True):
            torch.testing.assert_close(state, last_state(lm, row.ids), rtol=1e-3, atol=1e-3)

    first, second, third, fourth = (Row(prompt) for prompt in PROMPTS[:4])
    with torch.inference_mode():
        batch = Batch(lm, {first: DynamicCache(), second: DynamicCache()})
        check(batch.rows, batch.start())
        more([first, second])
        check(*batch.step())
        joining = Batch(lm, {third: DynamicCache()})
        check([third], joining.start())
        batch.join(joining)
        for _ in range(3):
            more(batch.rows)
            check(*batch.step())
        parted = batch.cache_of(second)
        batch.drop([third, second])  # the longest, whose columns go, and a shorter one
        more(batch.rows)
        check(*batch.step())
        # A row that comes back with its own cache, beside one without any and more to read.
        more([second])
        joining = Batch(lm, {second: parted, fourth: DynamicCache()})
        check(joining.rows, joining.start())
        batch.join(joining)
        more(batch.rows)
        first.ids.append(9)  # two tokens wait: not due before the others have theirs
        due, hidden = batch.step()
        assert due == [second, fourth]
        check(due, hidden)


# --- callers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "gpt2", "cohere"])
def test_callers_share_passes_and_answer_as_alone(tiny_lm: Lm, architecture: str, passes: Passes) -> None:
    lm = tiny_lm(architecture)
    toolkens = [make_toolkens(lm, ["add", "log"], scale=0.8, seed=seed) for seed in (0, 1)]
    hot = Sampling(temperature=1.3, top_p=0.9, seed=5, max_tokens=24)

    def calls(engine: TransformersEngine) -> list[Callable[[], Any]]:
        requests = [
            DecodingRequest(GREEDY),
            DecodingRequest(GREEDY, toolkens=toolkens[0]),
            DecodingRequest(Sampling(max_tokens=5), toolkens=toolkens[0], active=frozenset({"log"})),
            DecodingRequest(hot, toolkens=toolkens[1]),
            DecodingRequest(hot),
        ]
        return [
            *(lambda p=p, r=r: engine.reason([p], r)[0] for p, r in zip(PROMPTS, requests, strict=True)),
            lambda: engine.complete([PROMPTS[0]], [SPEC])[0],
            lambda: list(engine.stream(PROMPTS[1], DecodingRequest(GREEDY)))[-1],
        ]

    expected = [call() for call in calls(TransformersEngine(lm, cached_prefixes=0))]
    needed = len(passes)
    engine = TransformersEngine(lm, cached_prefixes=0)
    found = together(calls(engine), engine, passes)
    for one, other in zip(found, expected, strict=True):
        assert getattr(one, "token_ids", one) == getattr(other, "token_ids", other)
        fired, meant = getattr(one, "trigger", None), getattr(other, "trigger", None)
        assert (fired and fired.tool) == (meant and meant.tool)
        assert one.finish_reason == other.finish_reason
    assert passes.most_rows >= 4  # some end with their first word
    assert len(passes) < needed / 2


def test_no_more_rows_run_than_allowed_and_the_others_follow(tiny_llama: LanguageModel, passes: Passes) -> None:
    expected = [alone(tiny_llama, prompt).token_ids for prompt in PROMPTS]
    engine = TransformersEngine(tiny_llama, max_batch_size=2)
    calls = [lambda p=p: engine.reason([p], DecodingRequest(GREEDY))[0].token_ids for p in PROMPTS]
    assert together(calls, engine, passes) == expected
    assert passes.most_rows == 2
    assert [r.token_ids for r in engine.reason(PROMPTS, DecodingRequest(GREEDY))] == expected
    assert passes.most_rows == 2


def test_a_seed_draws_the_same_alone_and_beside_others(tiny_llama: LanguageModel) -> None:
    sampling = Sampling(temperature=1.5, top_k=50, seed=3, max_tokens=20)
    expected = [alone(tiny_llama, prompt, sampling).token_ids for prompt in PROMPTS]
    results = TransformersEngine(tiny_llama).reason(PROMPTS, DecodingRequest(sampling))
    assert [r.token_ids for r in results] == expected


def test_each_row_of_a_batch_goes_on_from_its_own_cached_prefix(tiny_llama: LanguageModel, passes: Passes) -> None:
    engine = TransformersEngine(tiny_llama)
    told = [[*p, *r.token_ids] for p, r in zip(PROMPTS, engine.reason(PROMPTS, DecodingRequest(GREEDY)), strict=True)]
    passes.shapes.clear()
    following = engine.reason([[*ids, 33, 34] for ids in told], DecodingRequest(GREEDY))
    assert passes.shapes[0] == (len(PROMPTS), 3)  # the last word, which had ended the row before it was run, and two
    assert [r.reused_tokens for r in following] == [len(ids) - 1 for ids in told]
    assert [r.token_ids for r in following] == [alone(tiny_llama, [*ids, 33, 34]).token_ids for ids in told]


@pytest.mark.parametrize("architecture", ["llama", "gemma2", "cohere"])
def test_callers_see_the_lms_words_and_their_own_active_toolkens(
    tiny_lm: Lm, architecture: str, passes: Passes
) -> None:
    lm = tiny_lm(architecture)
    toolkens = make_toolkens(lm, ["add", "log", "root"], scale=20, bias=-0.5)
    toolkens = replace(toolkens, tool_biases=torch.tensor([0.0, 2.0, -1.0]))
    engine = TransformersEngine(lm)
    shared = Scheduler(TransformersRunner(lm, 0), 3, "lm")
    masks = [None, torch.tensor([True, False, True]), torch.tensor([False, False, False])]
    seen: list[Tensor] = [torch.empty(0)] * 3

    def look(caller: int, logits: Tensor) -> list[list[int]]:
        seen[caller] = logits.clone()
        return [[]]

    def placed(mask: Tensor | None) -> PlacedToolkens | None:
        active = None if mask is None else {name for name, on in zip(toolkens.names, mask, strict=True) if on}
        return engine.place(toolkens, active)

    jobs = [
        Job([PROMPTS[caller]], lambda _, logits, caller=caller: look(caller, logits), placed(mask))
        for caller, mask in enumerate(masks)
    ]
    passes.before = lambda number: wait_until(lambda: shared.size == 3) if number == 1 else None
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(shared.run, jobs))
    passes.before = None
    for prompt, mask, (logits,) in zip(PROMPTS, masks, seen, strict=False):
        hidden = last_state(lm, prompt)
        expected = all_logits(lm.head, hidden, toolkens.matrix, toolkens.biases, mask)
        assert expected.shape == (lm.vocab_size + 3,)
        torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)


def test_an_error_in_one_callers_choice_is_only_his(tiny_llama: LanguageModel, passes: Passes) -> None:
    engine = TransformersEngine(tiny_llama, cached_prefixes=0)
    shared = Scheduler(TransformersRunner(tiny_llama, 0), 4, "lm")
    chosen: list[int] = []

    def good(rows: list[int], logits: Tensor) -> list[list[int]]:
        chosen.append(int(logits[0].argmax()))
        return [[chosen[-1]] if len(chosen) < 24 else []]

    def bad(rows: list[int], logits: Tensor) -> list[list[int]]:
        raise LookupError("no such word")

    passes.before = lambda number: wait_until(lambda: shared.size == 2) if number == 1 else None
    with ThreadPoolExecutor(2) as pool:
        fine = pool.submit(shared.run, Job([PROMPTS[0]], good, None))
        failing = pool.submit(shared.run, Job([PROMPTS[1]], bad, None))
        fine.result(timeout=60)
        with pytest.raises(LookupError, match="no such word"):
            failing.result(timeout=60)
    assert shared.size == 0
    passes.before = None
    assert tuple(chosen) == engine.reason([PROMPTS[0]], DecodingRequest(GREEDY))[0].token_ids


# --- ending early -----------------------------------------------------------------------------------------------------


def test_a_cancelled_call_ends_with_the_pass_that_it_is_at(tiny_llama: LanguageModel, passes: Passes) -> None:
    engine = TransformersEngine(tiny_llama)
    cancellation = Cancellation()
    passes.before = lambda number: cancellation.cancel() if number == 3 else None

    def call() -> None:
        current_cancellation.set(cancellation)
        engine.reason(PROMPTS[:2], DecodingRequest(GREEDY))

    with ThreadPoolExecutor(1) as pool, pytest.raises(DecodingCancelledError):
        pool.submit(call).result(timeout=60)
    wait_until(lambda: engine.running == 0)
    assert len(passes) == 3
    with ThreadPoolExecutor(1) as pool, pytest.raises(DecodingCancelledError):  # nothing begins under it any more
        pool.submit(call).result(timeout=60)
    assert len(passes) == 3
    assert engine.reason([PROMPTS[0]], DecodingRequest(GREEDY))[0].token_ids == alone(tiny_llama, PROMPTS[0]).token_ids


def test_a_stream_that_is_closed_stops_and_frees_its_slot(tiny_llama: LanguageModel, passes: Passes) -> None:
    engine = TransformersEngine(tiny_llama, max_batch_size=1)
    expected = alone(tiny_llama, PROMPTS[1])
    permits = threading.Semaphore(3)
    passes.shapes.clear()
    passes.before = lambda _: permits.acquire() and None
    stream = engine.stream(PROMPTS[0], DecodingRequest(GREEDY))
    next(stream)
    wait_until(lambda: len(passes) == 4)  # the fourth pass waits for its permit
    stream.close()  # type: ignore[attr-defined]
    permits.release(1000)
    assert engine.reason([PROMPTS[1]], DecodingRequest(GREEDY))[0].token_ids == expected.token_ids
    assert len(passes) == 4 + len(expected.token_ids)


def test_a_stream_that_nobody_reads_waits_without_a_slot(tiny_llama: LanguageModel, passes: Passes) -> None:
    sampling = Sampling(max_tokens=120)
    expected = alone(tiny_llama, PROMPTS[0], sampling)
    assert len(expected.token_ids) == 120
    engine = TransformersEngine(tiny_llama, max_batch_size=1)
    passes.shapes.clear()
    stream = engine.stream(PROMPTS[0], DecodingRequest(sampling))
    first = next(stream)
    assert isinstance(first, str)
    # There is one slot: this call ends only because the stream has left it.
    assert engine.reason([PROMPTS[1]], DecodingRequest(GREEDY))[0] == alone(tiny_llama, PROMPTS[1])
    assert len(passes) < 100
    assert engine.running == 1
    *pieces, last = stream
    assert last == expected
    assert first + "".join(str(piece) for piece in pieces) == expected.text


def test_a_text_is_read_between_steps_and_never_beside_one(tiny_llama: LanguageModel, passes: Passes) -> None:
    engine = TransformersEngine(tiny_llama)
    inside: list[str] = []

    def running(_: int) -> None:
        inside.append(threading.current_thread().name)

    passes.before = running
    with ThreadPoolExecutor(4) as pool:
        reading = [pool.submit(engine.states, prompt) for prompt in PROMPTS[:3]]
        reasoning = pool.submit(engine.reason, [PROMPTS[0]], DecodingRequest(GREEDY))
        states = [each.result() for each in reading]
    assert reasoning.result()[0].token_ids == alone(tiny_llama, PROMPTS[0]).token_ids
    assert set(inside) == {"toolken-decoding"}
    for prompt, found in zip(PROMPTS, states, strict=False):
        torch.testing.assert_close(found, tiny_llama.hidden_states(torch.tensor([prompt]))[0])
    with pytest.raises(IndexError):
        engine.states([10**6])
    assert engine.reason([PROMPTS[0]], DecodingRequest(GREEDY))


def test_an_idle_engine_keeps_no_thread_and_can_be_collected(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_LINGER", 0.01)

    def decoding() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name == "toolken-decoding"}

    others = decoding()
    engine = TransformersEngine(tiny_llama)
    for _ in range(2):  # and it comes back
        engine.reason([PROMPTS[0]], DecodingRequest(GREEDY))
        wait_until(lambda: not decoding() - others)
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    assert gone() is None


@pytest.fixture(autouse=True)
def _no_thread_is_left_waiting() -> Iterator[None]:
    before = set(threading.enumerate())  # torch's compiler keeps some of its own
    yield
    assert not [thread for thread in {*threading.enumerate()} - before if thread.name.startswith("ThreadPool")]
