"""One engine for several streams, calls and threads, and after a stream or a pass that did not end."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from langchain_toolken.decoding.engine import DecodingRequest, Reasoning
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from tests.support.decoding import GREEDY, PROMPTS, TOOLS
from tests.support.toolken_sets import make_toolkens


def test_a_stream_closed_early_leaves_the_engine_usable(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    expected = TransformersEngine(tiny_llama).reason([PROMPTS[0]], DecodingRequest(GREEDY))[0]
    stream = engine.stream(PROMPTS[0], DecodingRequest(GREEDY))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    again = engine.reason([PROMPTS[0]], DecodingRequest(GREEDY))[0]
    assert replace(again, reused_tokens=0) == expected
    assert again.reused_tokens == len(PROMPTS[0]) - 1


def test_an_error_in_the_middle_of_a_pass_leaves_no_broken_cache(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = TransformersEngine(tiny_llama)
    expected = TransformersEngine(tiny_llama).reason([PROMPTS[0]], DecodingRequest(GREEDY))
    last_layer = tiny_llama.model.get_decoder().layers[-1]

    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(last_layer, "forward", fail)
        with pytest.raises(RuntimeError, match="out of memory"):
            engine.reason([PROMPTS[0]], DecodingRequest(GREEDY))
    assert engine.reason([PROMPTS[0]], DecodingRequest(GREEDY)) == expected


def test_two_streams_and_a_call_with_other_toolkens_do_not_disturb_each_other(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    toolkens = make_toolkens(tiny_llama, TOOLS, bias=1000)
    plain = TransformersEngine(tiny_llama).reason(PROMPTS[:2], DecodingRequest(GREEDY))
    first = engine.stream(PROMPTS[0], DecodingRequest(GREEDY))
    second = engine.stream(PROMPTS[1], DecodingRequest(GREEDY))
    ends: list[Reasoning] = []
    while len(ends) < 2:
        for stream in (first, second):
            piece = next(stream, None)
            if isinstance(piece, Reasoning):
                ends.append(piece)
        fired = engine.reason([PROMPTS[2]], DecodingRequest(GREEDY, toolkens=toolkens))[0]
        assert fired.finish_reason == "tool_calls"
    assert {end.text for end in ends} == {result.text for result in plain}


def test_threads_share_an_engine(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    expected = [r.token_ids for r in engine.reason(PROMPTS, DecodingRequest(GREEDY))]
    found: dict[int, tuple[int, ...]] = {}

    def run(i: int) -> None:
        found[i] = engine.reason([PROMPTS[i % 3]], DecodingRequest(GREEDY))[0].token_ids

    threads = [threading.Thread(target=run, args=(i,)) for i in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(9)] == expected * 3
