"""llama.cpp decodes what transformers decodes from the same weights, alone and together."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from langchain_toolken.decoding.cancellation import Cancellation, DecodingCancelledError, current_cancellation
from langchain_toolken.decoding.copy_source import CopySource
from langchain_toolken.decoding.engine import DecodingRequest, OutOfMemoryError, PromptTooLongError, Sampling
from langchain_toolken.decoding.local.engine import LlamaCppEngine, LocalEngine, TransformersEngine
from langchain_toolken.decoding.local.llama_cpp_runner import LlamaCppRunner
from langchain_toolken.decoding.local.row import Row
from langchain_toolken.lm.llama_cpp.library import Context
from langchain_toolken.lm.llama_cpp.model import LlamaCppModel
from langchain_toolken.prompts.requests import Request
from langchain_toolken.tools.spec import ToolSpec
from tests.support.evidence import make_evidence
from tests.support.llama_cpp_lms import in_llama_cpp, in_transformers, needs_llama_cpp, tiny_file
from tests.support.tiny import PROMPTS
from tests.support.toolken_sets import make_toolkens

pytestmark = needs_llama_cpp

GREEDY = DecodingRequest(Sampling(max_tokens=24))
NUMBER = {"type": "integer", "minimum": 0, "maximum": 999}
SPEC = ToolSpec(
    name="pair",
    description="Two numbers.",
    json_schema={"type": "object", "properties": {"a": NUMBER, "b": NUMBER}, "required": ["a", "b"]},
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("gguf"))


@pytest.fixture(scope="module")
def lm(file: Path) -> LlamaCppModel:
    return in_llama_cpp(file)


@pytest.fixture
def engine(lm: LlamaCppModel) -> LlamaCppEngine:
    return LlamaCppEngine(lm)


@pytest.fixture(scope="module")
def other(file: Path) -> TransformersEngine:
    return TransformersEngine(in_transformers(file))


def ids(engine: LocalEngine, prompts: Sequence[Sequence[int]], request: DecodingRequest = GREEDY) -> list[tuple]:
    return [
        (result.token_ids, result.trigger and result.trigger.tool, result.finish_reason)
        for result in engine.reason(prompts, request)
    ]


def test_words_and_calls_are_those_of_transformers(engine: LlamaCppEngine, other: TransformersEngine) -> None:
    toolkens = make_toolkens(engine.lm, ["add", "log"], scale=1.1, seed=0)
    request = DecodingRequest(GREEDY.sampling, toolkens=toolkens)
    expected = ids(other, PROMPTS, request)
    assert {reason for *_, reason in expected} >= {"tool_calls", "length"}
    assert ids(engine, PROMPTS, request) == expected
    assert [ids(engine, [prompt], request)[0] for prompt in PROMPTS] == expected
    found, own = (each.reason(PROMPTS, request) for each in (engine, other))
    assert [one.trigger and one.trigger.probability for one in found] == pytest.approx(
        [one.trigger and one.trigger.probability for one in own], abs=1e-3
    )


def test_sampling_with_a_seed_and_logprobs_are_those_of_transformers(
    engine: LlamaCppEngine, other: TransformersEngine
) -> None:
    request = DecodingRequest(Sampling(temperature=1.2, seed=4, max_tokens=12, top_logprobs=2))
    for found, own in zip(engine.reason(PROMPTS, request), other.reason(PROMPTS, request), strict=True):
        assert found.token_ids == own.token_ids
        assert [one.logprob for one in found.logprobs] == pytest.approx([one.logprob for one in own.logprobs], abs=0.02)


def test_evidence_reads_the_requests_mean_state_again_from_a_cached_prompt(
    engine: LlamaCppEngine, other: TransformersEngine
) -> None:
    toolkens = make_toolkens(engine.lm, ["add", "log"], scale=0.8, seed=0)
    toolkens = replace(toolkens, evidence=make_evidence(toolkens))
    prompts = [PROMPTS[0], PROMPTS[2]]
    requests = [Request("what is the log", (2, 8)), Request("add 5 and 6", (3, 15))]
    expected = other.rank(prompts, toolkens=toolkens, requests=requests)
    for _ in range(2):
        found = engine.rank(prompts, toolkens=toolkens, requests=requests)
        for one, own in zip(found, expected, strict=True):
            assert [each.tool for each in one] == [each.tool for each in own]
            assert [each.probability for each in one] == pytest.approx([each.probability for each in own], abs=1e-3)


def test_arguments_are_those_of_transformers(engine: LlamaCppEngine, other: TransformersEngine) -> None:
    copying = [CopySource("from 17 to 204", {"a": 3.0, "b": 3.0}), None, None]
    found, own = (each.complete(PROMPTS[:3], [SPEC] * 3, copying=copying) for each in (engine, other))
    assert [one.text for one in found] == [one.text for one in own]
    assert found[0].arguments is not None


def test_scores_are_those_of_transformers(engine: LlamaCppEngine, other: TransformersEngine) -> None:
    continuations = [[5], [6, 7, 8], [9, 10]]
    for prompt in (PROMPTS[0], [*PROMPTS[0], 44]):
        assert engine.score(prompt, continuations) == pytest.approx(other.score(prompt, continuations), abs=0.01)


def test_a_stream_gives_the_same_text_piece_by_piece(engine: LlamaCppEngine) -> None:
    *pieces, last = engine.stream(PROMPTS[0], GREEDY)
    assert replace(last, reused_tokens=0) == replace(engine.reason(PROMPTS[:1], GREEDY)[0], reused_tokens=0)
    assert "".join(map(str, pieces)) == last.text  # type: ignore[union-attr]


def test_a_prompt_that_goes_on_from_an_answer_runs_only_what_is_new(engine: LlamaCppEngine) -> None:
    told = [[*prompt, *ids(engine, [prompt])[0][0]] for prompt in PROMPTS]
    again = engine.reason([[*text, 33, 34] for text in told], GREEDY)
    assert [result.reused_tokens for result in again] == [len(text) - 1 for text in told]
    fresh = LlamaCppEngine(engine.lm, cached_prefixes=0)  # type: ignore[arg-type]
    assert [result.token_ids for result in again] == [ids(fresh, [[*text, 33, 34]])[0][0] for text in told]


def test_many_callers_get_what_each_gets_alone(engine: LlamaCppEngine) -> None:
    prompts = [[0, 20 + i, 30, *range(40, 45 + i)] for i in range(40)]
    expected = [ids(engine, [prompt])[0] for prompt in prompts]
    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(lambda prompt: ids(engine, [prompt])[0], prompts)) == expected
    assert engine.running == 0


def test_kept_beginnings_make_room_and_too_many_texts_run_one_by_one(file: Path) -> None:
    small = in_llama_cpp(file, n_ctx=256)
    engine, roomy = LlamaCppEngine(small), LlamaCppEngine(in_llama_cpp(file))
    prompts = [[0, 60 + i, *range(5, 95)] for i in range(4)]
    expected = [ids(roomy, [prompt])[0] for prompt in prompts]
    assert [ids(engine, [prompt])[0] for prompt in prompts] == expected
    assert ids(engine, prompts) == expected  # 4 * 92 tokens do not fit together


def test_a_text_beyond_the_context_is_refused(file: Path) -> None:
    engine = LlamaCppEngine(in_llama_cpp(file, n_ctx=64))
    with pytest.raises(PromptTooLongError, match="64"):
        engine.reason([[5] * 64], GREEDY)
    assert ids(engine, [[5] * 60])[0][2] == "length"


def test_memory_that_stays_short_is_an_error_and_the_next_call_works(
    engine: LlamaCppEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = ids(engine, PROMPTS[:1])

    def fail(*_: object, **__: object) -> int:
        raise MemoryError("no more")

    with monkeypatch.context() as patch:
        patch.setattr("langchain_toolken.lm.llama_cpp.library.Context._decode", fail)
        with pytest.raises(OutOfMemoryError, match="twice"):
            ids(engine, PROMPTS[:1])
    assert ids(engine, PROMPTS[:1]) == expected


def test_a_cancelled_call_ends_and_others_go_on(engine: LlamaCppEngine) -> None:
    cancellation = Cancellation()
    steps = engine.stream(PROMPTS[0], DecodingRequest(Sampling(max_tokens=400)))

    def call() -> None:
        current_cancellation.set(cancellation)
        engine.reason(PROMPTS[:2], DecodingRequest(Sampling(max_tokens=400)))

    next(steps)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(call)
        next(steps)
        cancellation.cancel()
        with pytest.raises(DecodingCancelledError):
            waiting.result(timeout=60)
    steps.close()  # type: ignore[attr-defined]
    assert ids(engine, PROMPTS[:1])


@torch.inference_mode()
def test_rows_that_are_held_and_that_end_are_kept_and_rows_that_fail_are_not(lm: LlamaCppModel) -> None:
    runner = LlamaCppRunner(lm, cached_prefixes=4)
    held, failed = Row(PROMPTS[0]), Row(PROMPTS[2])
    runner.start([held, failed])
    runner.hold([held])
    runner.forget([failed])
    held.ids.append(7)
    due = runner.start([held])
    whole = lm.head.word_logits(lm.hidden_states(torch.tensor([held.ids]))[0, -1])
    torch.testing.assert_close(due.words[0], whole, rtol=1e-3, atol=1e-3)
    runner.end([held])
    for prompt, reused in ((held.ids, len(held.ids)), (PROMPTS[2], 1)):
        again = Row([*prompt, 5, 6])
        runner.resume(again, len(again.ids))
        assert again.fed == reused
        runner.forget([again])
    runner.clear()
    last = Row(PROMPTS[0])
    runner.resume(last, len(last.ids))
    assert last.fed == 0


@torch.inference_mode()
def test_rows_of_which_only_words_are_wanted_run_without_states(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = in_llama_cpp(file, n_ctx=1024)
    texts = [PROMPTS[0], [0, *range(5, 300)], [1, *range(5, 300)], PROMPTS[2]]  # more than one pass takes
    whole = [lm.head.word_logits(lm.hidden_states(torch.tensor([[*ids, 9]]))[0, -2:]) for ids in texts]
    monkeypatch.setattr(Context, "states", None)
    runner = LlamaCppRunner(lm, cached_prefixes=0)
    rows = [Row(ids, words_only=True) for ids in texts]
    torch.testing.assert_close(runner.start(rows).words, torch.stack([both[0] for both in whole]), rtol=1e-3, atol=1e-3)
    for row in rows:
        row.ids.append(9)
    torch.testing.assert_close(runner.step().words, torch.stack([both[1] for both in whole]), rtol=1e-3, atol=1e-3)
    assert not any(row.pending for row in rows)


def test_rows_that_start_are_parted_by_whether_states_are_wanted(lm: LlamaCppModel) -> None:
    one, other, third = Row([5]), Row([6], words_only=True), Row([7])
    assert LlamaCppRunner(lm, cached_prefixes=0).groups([one, other, third]) == [[one, third], [other]]


def test_a_number_of_kept_beginnings_below_zero_is_refused(lm: LlamaCppModel) -> None:
    with pytest.raises(ValueError, match="cached_prefixes must be 0"):
        LlamaCppRunner(lm, -1)
