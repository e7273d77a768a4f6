"""Decoding by a compiled step: the same words, calls and log-probabilities as without, in few graphs, to any end."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import DynamicCache

from langchain_toolken.decoding import scheduler
from langchain_toolken.decoding.batch import Batch, Row
from langchain_toolken.decoding.cancellation import Cancellation, DecodingCancelledError, current_cancellation
from langchain_toolken.decoding.compiled_batch import CompiledBatch, CompiledStep
from langchain_toolken.decoding.engine import Completion, Reasoning, Sampling
from langchain_toolken.decoding.lm import LanguageModel
from langchain_toolken.decoding.static_slots import Slots, states_of
from langchain_toolken.decoding.transformers_engine import TransformersEngine
from langchain_toolken.tools import ToolSpec
from tests.compiled import Compiled, Steps, check_same, one_layer
from tests.passes import wait_until
from tests.tiny import PROMPTS, WINDOW, make_toolkens

Lm = Callable[..., LanguageModel]

NUMBER = {"type": "integer", "minimum": 0, "maximum": 999}
SPEC = ToolSpec(
    name="pair",
    description="Two numbers.",
    json_schema={"type": "object", "properties": {"a": NUMBER, "b": NUMBER}, "required": ["a", "b"]},
)


@pytest.fixture(scope="module")
def compiled(tiny_lm: Lm) -> Callable[[str], Compiled]:
    """compiled(architecture): shared, so that each graph is made once."""
    return cache(lambda architecture: Compiled(tiny_lm(architecture)))


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


# --- the same answers -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3", "gpt2"])
def test_words_and_log_probabilities_are_the_same(
    tiny_lm: Lm, compiled: Callable[[str], Compiled], steps: Steps, architecture: str
) -> None:
    sampling = Sampling(max_tokens=3 * WINDOW, top_logprobs=3)
    engine = compiled(architecture).engine()
    steps.rows.clear()
    ours = engine.reason(PROMPTS[:2], toolkens=None, sampling=sampling)
    plain = TransformersEngine(tiny_lm(architecture)).reason(PROMPTS[:2], toolkens=None, sampling=sampling)
    for mine, its in zip(ours, plain, strict=True):
        check_same(mine, its)
    # The first word comes from the prompt's pass, each other from a step for both rows.
    assert steps.rows == [2] * (3 * WINDOW - 1)
    assert compiled(architecture).graphs == 1


@pytest.mark.parametrize("architecture", ["llama", "gemma3"])
def test_an_agents_steps_are_the_same(tiny_lm: Lm, compiled: Callable[[str], Compiled], architecture: str) -> None:
    lm = tiny_lm(architecture)
    toolkens = make_toolkens(lm, ["add", "subtract", "multiply"], scale=1.5)
    card, result = [70, 71, 72, 73, 74], [17, 18, 19]

    def run(engine: TransformersEngine) -> list[Reasoning | Completion]:
        text, done = list(PROMPTS[2]), []
        for bound in (None, toolkens, None, toolkens):
            (reasoning,) = engine.reason([text], toolkens=bound, sampling=Sampling(max_tokens=10, top_logprobs=2))
            text += reasoning.token_ids
            (completion,) = engine.complete([[*text, *card]], [SPEC])
            text += result
            done += [reasoning, completion]
        return done

    ours = run(compiled(architecture).engine())
    assert any(isinstance(each, Reasoning) and each.trigger for each in ours)
    for mine, its in zip(ours, run(TransformersEngine(lm)), strict=True):
        check_same(mine, its)  # what came out of the prefix cache included


def last_state(lm: LanguageModel, ids: Sequence[int]) -> Tensor:
    with torch.inference_mode():
        return lm.hidden_states(torch.tensor([list(ids)]))[0, -1]


@pytest.fixture(scope="module")
def short(tiny_lm: Lm) -> Compiled:
    """Sliding windows, and slots that soon are too short."""
    return Compiled(tiny_lm("gemma3"), shortest=16)


@settings(max_examples=15, deadline=None)
@given(
    events=st.lists(
        st.one_of(
            st.tuples(st.just("join"), st.integers(1, 14)),
            st.tuples(st.just("leave"), st.integers(0, 3)),
            st.tuples(st.just("return"), st.just(0)),
            st.tuples(st.just("step"), st.integers(1, 3)),
        ),
        min_size=6,
        max_size=14,
    ),
    seed=st.integers(0, 99),
)
def test_rows_that_join_leave_and_come_back_have_the_states_they_have_alone(
    short: Compiled, events: list[tuple[str, int]], seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    batch = CompiledBatch(short.step)
    parted: list[Row] = []

    def more(rows: Sequence[Row], most: int = 1) -> None:
        for row in rows:
            count = int(torch.randint(1, most + 1, (1,), generator=draw))
            row.ids += torch.randint(5, 300, (count,), generator=draw).tolist()

    def check(rows: Sequence[Row], hidden: Tensor) -> None:
        for row, state in zip(rows, hidden, strict=True):
            torch.testing.assert_close(state, last_state(short.lm, row.ids), rtol=1e-3, atol=1e-3)

    def join(row: Row) -> None:
        read = Batch(short.lm, [row])
        check([row], read.start())
        more([row])
        batch.join(read)

    with torch.inference_mode():
        for event, number in events:
            if event == "join" and len(batch.rows) < 3:
                row = Row([0])
                more([row], number)
                join(row)
            elif event == "leave" and batch.rows:
                row = batch.rows[number % len(batch.rows)]
                row.cache = batch.cache_of(row)
                batch.drop([row])
                parted.append(row)
            elif event == "return" and parted and len(batch.rows) < 3:
                join(parted.pop())
            elif event == "step" and batch.rows:
                check(*batch.step())
                more([row for row in batch.rows if not row.pending], number)
                assert all(row.pending for row in batch.rows)


def test_callers_join_and_leave_and_each_answers_as_alone(
    tiny_llama: LanguageModel, compiled: Callable[[str], Compiled], steps: Steps
) -> None:
    samplings = [Sampling(max_tokens=5 + 4 * number, top_logprobs=1) for number in range(len(PROMPTS))]
    plain = [
        TransformersEngine(tiny_llama).reason([prompt], toolkens=None, sampling=sampling)[0]
        for prompt, sampling in zip(PROMPTS, samplings, strict=True)
    ]
    engine = compiled("llama").engine(max_batch_size=2, cached_prefixes=0)
    steps.before = lambda number: wait_until(lambda: engine.running == 5) if number == 1 else None
    with ThreadPoolExecutor(5) as pool:
        futures = [
            pool.submit(engine.reason, [prompt], toolkens=None, sampling=sampling)
            for prompt, sampling in zip(PROMPTS, samplings, strict=True)
        ]
        for future, its in zip(futures, plain, strict=True):
            check_same(future.result(timeout=60)[0], its)
    assert max(steps.rows) == 2


def test_text_ends_before_a_stop_string(tiny_llama: LanguageModel, compiled: Callable[[str], Compiled]) -> None:
    plain = TransformersEngine(tiny_llama)
    whole = plain.reason(PROMPTS[:2], toolkens=None, sampling=Sampling(max_tokens=24))
    stop = [whole[0].text[20:23], whole[1].text[30:32]]
    engines = (compiled("llama").engine(), TransformersEngine(tiny_llama))
    ours, its = (e.reason(PROMPTS[:2], toolkens=None, sampling=Sampling(max_tokens=24), stop=stop) for e in engines)
    assert ours == its
    assert [each.finish_reason for each in ours] == ["stop", "stop"]


def test_slots_grow_with_the_text_to_the_end_of_the_context(tiny_tokenizer: Any) -> None:
    lm = one_layer(tiny_tokenizer, context_length=100)
    small = Compiled(lm, shortest=32)
    sampling = Sampling(max_tokens=1000, top_logprobs=0)
    (ours,) = small.engine().reason([PROMPTS[0]], toolkens=None, sampling=sampling)
    check_same(ours, TransformersEngine(lm).reason([PROMPTS[0]], toolkens=None, sampling=sampling)[0])
    assert ours.finish_reason == "length"
    assert len(PROMPTS[0]) + len(ours.token_ids) == 100
    assert [small.step.columns(tokens) for tokens in (1, 32, 33, 64, 65, 100)] == [32, 32, 64, 64, 100, 100]
    assert small.graphs == 1 + 3  # the check's two rows, and one row in slots of 32, 64 and 100


def test_graphs_are_one_per_power_of_two_of_rows_and_length(tiny_tokenizer: Any) -> None:
    small = Compiled(one_layer(tiny_tokenizer), shortest=32)
    engine = small.engine()

    def vary(lengths: Sequence[int]) -> None:
        for rows in (2, 3, 4):
            for length in lengths:
                prompts = [[5 + (7 * row + i) % 300 for i in range(length - row)] for row in range(rows)]
                engine.reason(prompts, toolkens=None, sampling=Sampling(max_tokens=4))

    vary([6, 27, 33, 50])
    assert small.graphs == 2 * 2  # 2 and 4 rows; 32 and 64 columns
    vary([5, 9, 28, 31, 34, 41, 60])
    assert small.graphs == 2 * 2


# --- ending early, and errors -----------------------------------------------------------------------------------------


def test_a_stream_that_is_left_and_a_cancelled_call_stop_and_free_their_slots(
    tiny_llama: LanguageModel, compiled: Callable[[str], Compiled], steps: Steps
) -> None:
    sampling = Sampling(max_tokens=24)
    expected = TransformersEngine(tiny_llama).reason([PROMPTS[1]], toolkens=None, sampling=sampling)
    engine = compiled("llama").engine(max_batch_size=1, cached_prefixes=0)
    permits = threading.Semaphore(3)
    steps.before = lambda _: permits.acquire() and None
    stream = engine.stream(PROMPTS[0], toolkens=None, sampling=sampling)
    next(stream)
    wait_until(lambda: len(steps.rows) == 4)  # the fourth step waits for its permit
    stream.close()  # type: ignore[attr-defined]
    permits.release(1000)
    assert engine.reason([PROMPTS[1]], toolkens=None, sampling=sampling) == expected
    assert len(steps.rows) == 4 + 23

    cancellation = Cancellation()
    steps.rows.clear()
    steps.before = lambda number: cancellation.cancel() if number == 2 else None

    def cancelled() -> None:
        current_cancellation.set(cancellation)
        engine.reason([PROMPTS[0]], toolkens=None, sampling=sampling)

    with ThreadPoolExecutor(1) as pool, pytest.raises(DecodingCancelledError):
        pool.submit(cancelled).result(timeout=60)
    wait_until(lambda: engine.running == 0)
    assert len(steps.rows) == 2
    assert engine.reason([PROMPTS[1]], toolkens=None, sampling=sampling) == expected


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), ZeroDivisionError("broken")], ids=["memory", "other"]
)
def test_after_an_error_in_a_step_answers_are_right(
    tiny_llama: LanguageModel, compiled: Callable[[str], Compiled], steps: Steps, error: Exception
) -> None:
    sampling = Sampling(max_tokens=12)
    expected = TransformersEngine(tiny_llama).reason(PROMPTS[:2], toolkens=None, sampling=sampling)
    engine = compiled("llama").engine(cached_prefixes=0)

    def fail(number: int) -> None:
        if number == 3:
            raise error

    steps.before = fail
    if isinstance(error, ZeroDivisionError):
        with pytest.raises(ZeroDivisionError):
            engine.reason(PROMPTS[:2], toolkens=None, sampling=sampling)
    assert engine.reason(PROMPTS[:2], toolkens=None, sampling=sampling) == expected


def cache_of(tokens: int, value: float) -> DynamicCache:
    """Two layers of two heads of size four, all of them `value`."""
    made = DynamicCache()
    for layer in range(2):
        made.update(torch.full((1, 2, tokens, 4), value), torch.full((1, 2, tokens, 4), value), layer)
    return made


def test_what_a_longer_row_left_in_a_slot_does_not_reach_the_next() -> None:
    like = cache_of(tokens=6, value=float("nan"))
    slots = Slots(like, columns=8)
    slots.reserve(2)
    slots.write(1, states_of(like, 0, 6))
    slots.write(1, states_of(cache_of(tokens=2, value=1.0), 0, 2))
    for layer in slots.first(2):
        assert layer is not None
        for states in layer:
            assert states[1, :, :2].eq(1).all()
            assert states[1, :, 2:].eq(0).all()
    assert slots.cache_of(1, 2).get_seq_length() == 2


def test_a_graph_that_cannot_be_made_later_names_the_flag_and_the_size(tiny_tokenizer: Any) -> None:
    lm = one_layer(tiny_tokenizer)
    broken = False

    def backend(graph: torch.fx.GraphModule, _: Any) -> Callable[..., Any]:
        if broken:
            raise RuntimeError("no more graphs")
        return graph.forward

    engine = TransformersEngine(lm, compiled=CompiledStep(lm, backend=backend))
    broken = True
    with pytest.raises(RuntimeError, match="compile_decoding.*1 rows of 512 tokens.*off.*no more graphs"):
        engine.reason([PROMPTS[0]], toolkens=None, sampling=Sampling(max_tokens=4))
    assert engine.reason([PROMPTS[0]], toolkens=None, sampling=Sampling(max_tokens=1))[0].token_ids  # needs no step


def test_an_engine_with_a_compiled_step_can_be_collected_and_its_thread_ends(
    tiny_tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_LINGER", 0.01)

    def threads() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith("toolken-compiled")}

    others = threads()
    lm = one_layer(tiny_tokenizer)
    engine = TransformersEngine(lm, compiled=CompiledStep(lm, backend="eager"))
    engine.reason(PROMPTS[:2], toolkens=None, sampling=Sampling(max_tokens=4))
    assert len(threads() - others) == 1
    gone = weakref.ref(lm.model)
    wait_until(lambda: not {thread for thread in threading.enumerate() if thread.name == "toolken-decoding"})
    del engine, lm
    gc.collect()
    assert gone() is None
    wait_until(lambda: not threads() - others)
