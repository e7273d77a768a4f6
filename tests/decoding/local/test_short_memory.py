"""Short memory: the caches go first, rows run apart, and nobody else's answer is lost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from langchain_toolken.decoding.engine import DecodingRequest, OutOfMemoryError
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.transformers_model import TransformersModel
from tests.support.decoding_together import GREEDY, alone, together
from tests.support.passes import Passes
from tests.support.tiny import PROMPTS

SHORTAGES = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:119] DefaultCPUAllocator: not enough memory: you tried to allocate"),
    MemoryError(),
]


@pytest.mark.parametrize("shortage", SHORTAGES, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("at", [1, 4], ids=["prompt", "step"])
def test_short_memory_drops_the_caches_and_tries_once_more(
    tiny_llama: LanguageModel, passes: Passes, shortage: Exception, at: int
) -> None:
    expected = [alone(tiny_llama, prompt).token_ids for prompt in PROMPTS]
    engine = TransformersEngine(tiny_llama)
    engine.reason([PROMPTS[0]], DecodingRequest(GREEDY))
    passes.shapes.clear()

    def fail(number: int) -> None:
        if number == at:
            raise shortage

    passes.before = fail
    results = engine.reason(PROMPTS, DecodingRequest(GREEDY))
    assert [result.token_ids for result in results] == expected
    assert passes.shapes[-1][0] == 1
    if at > 1:  # all rows were in the pass that failed
        assert results[0].reused_tokens <= 1  # the prompts begin with the same token; what else was cached is dropped
        assert {rows for rows, _ in passes.shapes[at:]} == {1}
    passes.before = None
    passes.shapes.clear()
    assert [r.token_ids for r in engine.reason(PROMPTS, DecodingRequest(GREEDY))] == expected
    assert passes.most_rows > 1


def test_memory_that_stays_short_is_an_error_and_the_next_call_works(tiny_llama: LanguageModel, passes: Passes) -> None:
    expected = alone(tiny_llama, PROMPTS[0])
    engine = TransformersEngine(tiny_llama)
    passes.shapes.clear()

    def fail(number: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    passes.before = fail
    with pytest.raises(OutOfMemoryError, match=r"out of memory.*12 tokens, twice.*smaller"):
        engine.reason([PROMPTS[0]], DecodingRequest(GREEDY))
    assert len(passes) == 2
    passes.before = None
    assert engine.reason([PROMPTS[0]], DecodingRequest(GREEDY))[0] == expected


def test_one_caller_too_many_for_memory_costs_nobody_his_answer(tiny_llama: LanguageModel, passes: Passes) -> None:
    expected = [alone(tiny_llama, prompt).token_ids for prompt in PROMPTS]
    engine = TransformersEngine(tiny_llama)
    calls = [lambda p=p: engine.reason([p], DecodingRequest(GREEDY))[0].token_ids for p in PROMPTS]
    # Three rows are one too many for this machine.
    hidden_states = TransformersModel.hidden_states

    def limited(lm: LanguageModel, input_ids: Tensor, *others: Any, **more: Any) -> Tensor:
        if input_ids.shape[0] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return hidden_states(lm, input_ids, *others, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransformersModel, "hidden_states", limited)
        assert together(calls, engine, passes) == expected
