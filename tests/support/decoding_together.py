"""What an LM answers alone, and what several callers get from one engine at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from langchain_toolken.decoding.engine import DecodingRequest, Reasoning, Sampling
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from tests.support.passes import Passes, wait_until

GREEDY = Sampling(max_tokens=24)


def alone(lm: LanguageModel, prompt: Sequence[int], sampling: Sampling = GREEDY) -> Reasoning:
    (result,) = TransformersEngine(lm, cached_prefixes=0).reason([prompt], DecodingRequest(sampling))
    return result


def together(calls: Sequence[Callable[[], Any]], engine: TransformersEngine, passes: Passes) -> list[Any]:
    """What the calls give, each in a thread; the first pass begins when all of them are there."""

    def gather(number: int) -> None:
        if number == 1:
            wait_until(lambda: engine.running >= len(calls))

    passes.before = gather
    passes.shapes.clear()
    with ThreadPoolExecutor(len(calls)) as pool:
        futures = [pool.submit(call) for call in calls]
        return [future.result(timeout=60) for future in futures]
