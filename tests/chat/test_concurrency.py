"""ToolkenChat with many callers: batches are batches, cancelled calls stop, and what is passed on to the LM arrives."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.decoding.local.shared import shared_engine
from langchain_toolken.lm.model import LanguageModel
from tests.support.passes import Passes, wait_until
from tests.support.tiny import save_lm

pytestmark = pytest.mark.filterwarnings("ignore:No fitted toolken")

QUESTIONS = [f"How many pens do {count} boxes hold{', all in all' * (count % 3)}?" for count in range(16)]


@tool
def lamp(on: bool, level: int) -> str:
    """Turn the lamp on or off."""
    return "done"


@tool
def pens(boxes: int) -> int:
    """Count the pens."""
    return boxes


def chat_on(lm: LanguageModel, **fields: Any) -> tuple[ToolkenChat, TransformersEngine]:
    engine = TransformersEngine(lm)
    return ToolkenChat.from_engine(engine, **{"style": "completion", "max_tokens": 12, **fields}), engine


def gather(engine: TransformersEngine, passes: Passes, rows: int) -> None:
    """Let the first pass begin when so many rows are there."""
    passes.shapes.clear()
    passes.before = lambda number: wait_until(lambda: engine.running >= rows) if number == 1 else None


def content(message: AIMessage) -> tuple[str, list[Any]]:
    return str(message.content), [(call["name"], call["args"]) for call in message.tool_calls]


# --- batch ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["batch", "abatch"])
async def test_a_batch_of_sixteen_runs_as_one(lm: LanguageModel, passes: Passes, way: str) -> None:
    alone, _ = chat_on(lm)
    expected = [content(alone.invoke(question)) for question in QUESTIONS]
    needed = len(passes)
    chat, engine = chat_on(lm)
    gather(engine, passes, 16)
    answers = await chat.abatch(QUESTIONS) if way == "abatch" else await asyncio.to_thread(chat.batch, QUESTIONS)
    assert [content(answer) for answer in answers] == expected
    assert passes.most_rows >= 15  # the first may have begun before the others came
    assert len(passes) * 6 < needed


def test_calls_of_a_batch_complete_their_arguments_together(lm: LanguageModel, passes: Passes) -> None:
    alone, _ = chat_on(lm, max_tokens=512)
    forced = {"tools": [lamp, pens], "tool_choice": "any"}
    expected = [content(alone.bind_tools(**forced).invoke(question)) for question in QUESTIONS]
    assert all(calls for _, calls in expected)
    needed = len(passes)
    chat, engine = chat_on(lm, max_tokens=512)
    chat.bind_tools([lamp, pens]).invoke("Warm up.", max_tokens=12)  # the grammars' tokenizer and the priors
    gather(engine, passes, 16)
    assert [content(answer) for answer in chat.bind_tools(**forced).batch(QUESTIONS)] == expected
    assert len(passes) * 3 < needed


def test_max_batch_size_bounds_a_batch_and_a_config_its_threads(lm: LanguageModel, passes: Passes) -> None:
    chat, _ = chat_on(lm, max_batch_size=3)
    expected = [content(answer) for answer in chat.batch(QUESTIONS, {"max_concurrency": 1})]
    assert passes.most_rows == 1
    assert [content(answer) for answer in chat.batch(QUESTIONS)] == expected
    assert 1 < passes.most_rows <= 3
    errors = chat.batch(["fine", ""], return_exceptions=True, stop=[""])
    assert all(isinstance(error, ValueError) for error in errors)


# --- asyncio ----------------------------------------------------------------------------------------------------------


async def test_more_tasks_than_asyncio_has_threads_run_together(lm: LanguageModel, passes: Passes) -> None:
    chat, engine = chat_on(lm)
    engine.max_batch_size = 40
    gather(engine, passes, 40)
    answers = await asyncio.gather(*(chat.ainvoke(QUESTIONS[i % 16]) for i in range(40)))
    assert passes.most_rows >= 39
    assert [content(answer) for answer in answers[:16]] == [content(answer) for answer in answers[16:32]]


async def test_a_cancelled_call_stops_decoding(lm: LanguageModel, passes: Passes) -> None:
    chat, engine = chat_on(lm, max_tokens=100)
    loop, cancelled = asyncio.get_running_loop(), threading.Event()

    def cancel(number: int) -> None:
        if number == 3:
            loop.call_soon_threadsafe(task.cancel)
            assert cancelled.wait(60)

    passes.before = cancel
    task = asyncio.create_task(chat.ainvoke(QUESTIONS[0]))
    with pytest.raises(asyncio.CancelledError):
        await task
    cancelled.set()
    await asyncio.to_thread(wait_until, lambda: engine.running == 0)
    assert len(passes) == 3
    passes.before = None
    fresh, _ = chat_on(lm, max_tokens=100)
    assert content(await chat.ainvoke(QUESTIONS[0])) == content(fresh.invoke(QUESTIONS[0]))


async def test_a_cancelled_agent_run_stops_decoding(lm: LanguageModel, passes: Passes) -> None:
    chat, engine = chat_on(lm, max_tokens=100)
    agent = create_toolken_agent(chat, [lamp])
    question: Any = {"messages": [("user", QUESTIONS[0])]}
    loop, cancelled = asyncio.get_running_loop(), threading.Event()

    def cancel(number: int) -> None:
        if number == 3:
            loop.call_soon_threadsafe(task.cancel)
            assert cancelled.wait(60)

    chat.bind_tools([lamp]).invoke(QUESTIONS[0], max_tokens=1)  # the tool's prior toolken
    passes.shapes.clear()
    passes.before = cancel
    task = asyncio.create_task(agent.ainvoke(question))
    with pytest.raises(asyncio.CancelledError):
        await task
    cancelled.set()
    await asyncio.to_thread(wait_until, lambda: engine.running == 0)
    assert len(passes) == 3
    passes.before = None
    (whole, written) = await agent.ainvoke(question), agent.invoke(question)
    assert whole["text"] == written["text"] != ""
    pieces = [piece["text"] async for piece in agent.astream(question, stream_mode="custom")]
    assert "".join(pieces) == str(written["steps"][0]["text"])


@pytest.mark.parametrize("way", ["stream", "astream"])
async def test_a_stream_left_early_stops_decoding_and_frees_its_slot(
    lm: LanguageModel, passes: Passes, way: str
) -> None:
    chat, engine = chat_on(lm, max_tokens=100)
    permits, asked = threading.Semaphore(4), threading.Event()

    def permitted(_: int) -> None:
        if not permits.acquire(blocking=False):
            asked.set()
            permits.acquire()

    passes.before = permitted
    if way == "astream":
        stream = chat.astream(QUESTIONS[0])
        await anext(stream)
        await asyncio.to_thread(asked.wait, 60)
        await stream.aclose()  # type: ignore[attr-defined]
    else:
        for _ in chat.stream(QUESTIONS[0]):
            assert asked.wait(60)
            break
    at = len(passes)
    permits.release(1000)
    await asyncio.to_thread(wait_until, lambda: engine.running == 0)
    assert len(passes) == at == 5


async def test_async_streams_give_what_streams_give_and_tell_callbacks_each_chunk(lm: LanguageModel) -> None:
    class Tokens(AsyncCallbackHandler):
        def __init__(self) -> None:
            self.tokens: list[str] = []

        async def on_llm_new_token(self, token: str, **_: Any) -> None:
            self.tokens.append(token)

    chat, _ = chat_on(lm)
    handler = Tokens()
    chunks = [chunk async for chunk in chat.astream(QUESTIONS[0], config={"callbacks": [handler]})]
    assert [chunk.content for chunk in chunks] == [chunk.content for chunk in chat.stream(QUESTIONS[0])]
    assert "".join(handler.tokens) == "".join(str(chunk.content) for chunk in chunks) != ""
    with pytest.raises(ValueError, match="stop string"):
        async for _ in chat.astream(QUESTIONS[0], stop=[""]):
            pass


# --- everything at once -----------------------------------------------------------------------------------------------


def test_many_callers_that_cancel_and_leave_get_right_answers(lm: LanguageModel) -> None:
    """benchmarks/soak.py for minutes; this in a second."""
    alone, _ = chat_on(lm)
    chat, engine = chat_on(lm)
    engine.max_batch_size = 5
    kinds: list[Callable[[ToolkenChat], Any]] = [
        lambda model: model,
        lambda model: model.bind_tools([lamp, pens], tool_choice="any"),
        lambda model: model.bind(temperature=1.2, seed=3),
    ]
    expected = {(k, q): content(kind(alone).invoke(q)) for k, kind in enumerate(kinds) for q in QUESTIONS[:6]}
    wrong: list[Any] = []

    def check(k: int, question: str, message: AIMessage) -> None:
        if content(message) != expected[k, question]:
            wrong.append((k, question, content(message)))

    def by_thread(draw: random.Random) -> None:
        for _ in range(3):
            k, question = draw.choice(sorted(expected))
            check(k, question, kinds[k](chat).invoke(question))
            text = ""
            for piece in kinds[0](chat).stream(question):
                text += piece.content
                if len(text) > 10:
                    break
            if not expected[0, question][0].startswith(text):
                wrong.append((question, text))

    async def by_task(draw: random.Random) -> None:
        for _ in range(3):
            k, question = draw.choice(sorted(expected))
            asked = asyncio.create_task(kinds[k](chat).ainvoke(question))
            await asyncio.sleep(draw.random() * 0.02)
            asked.cancel()
            try:
                check(k, question, await asked)
            except asyncio.CancelledError:
                check(k, question, await kinds[k](chat).ainvoke(question))

    async def tasks() -> None:
        await asyncio.gather(*(by_task(random.Random(i)) for i in range(6)))

    threads = [threading.Thread(target=by_thread, args=(random.Random(100 + i),)) for i in range(6)]
    for thread in threads:
        thread.start()
    asyncio.run(tasks())
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert wrong == []
    wait_until(lambda: engine.running == 0)


# --- loading ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> str:
    save_lm(tmp_path)
    return str(tmp_path)


def test_instances_that_differ_in_batch_size_share_an_lm_and_the_last_decides(folder: str) -> None:
    first = ToolkenChat(model=folder, device="cpu", max_batch_size=3)
    assert first.engine.max_batch_size == 3  # type: ignore[attr-defined]
    second = ToolkenChat(model=folder, device="cpu")
    assert second.engine is first.engine
    assert shared_engine(folder, device="cpu", max_batch_size=7).max_batch_size == 7
    assert first.engine.max_batch_size == 7  # type: ignore[attr-defined]


def test_dtype_and_further_arguments_reach_the_lm_and_make_it_another_one(folder: str) -> None:
    plain = ToolkenChat(model=folder, device="cpu")
    eager = ToolkenChat(model=folder, device="cpu", model_kwargs={"attn_implementation": "eager"})
    half = ToolkenChat(model=folder, device_map={"": "cpu"}, dtype="bfloat16", max_tokens=3)
    assert len({id(chat.engine) for chat in (plain, eager, half)}) == 3
    assert eager.engine.lm.model.config._attn_implementation == "eager"  # type: ignore[attr-defined]
    assert half.engine.lm.head.weight.dtype == torch.bfloat16  # type: ignore[attr-defined]
    assert half.invoke(QUESTIONS[0]).usage_metadata is not None
    again = ToolkenChat(model=folder, device="cpu", model_kwargs={"attn_implementation": "eager"})
    assert again.engine is eager.engine


def test_a_quantization_config_is_handed_on_and_told_apart_by_what_it_says(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    load = AutoModelForCausalLM.from_pretrained

    def recorded(*args: Any, quantization_config: Any = None, **others: Any) -> Any:
        seen.append(quantization_config)
        return load(*args, **others)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", recorded)
    configs = [BitsAndBytesConfig(load_in_8bit=True), BitsAndBytesConfig(load_in_8bit=True), {"load_in_4bit": True}]
    engines = [
        ToolkenChat(model=folder, device_map="cpu", model_kwargs={"quantization_config": config}).engine
        for config in configs
    ]
    assert engines[0] is engines[1] is not engines[2]
    assert seen == [configs[0], configs[2]]
