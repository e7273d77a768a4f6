"""Many callers on one ToolkenChat, for minutes: are all answers right, is memory flat, does anybody wait for ever?

    python benchmarks/soak.py --minutes 5

Half of the callers are threads, half asyncio tasks. Each asks one of the tasks, over and over: words only, a forced
call among several tools, an answer under a schema. Some calls are cancelled after a random time, and some streams are
left after a few pieces. An answer is right if it equals the one that the same LM gave alone, at temperature 0; what a
stream gave before it was left has to begin that answer. Exits with 1 if one is wrong, if callers are stuck, or if rows
are left in the engine; the resident memory is printed for the reader to judge.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import itertools
import random
import sys
import threading
import time
import warnings
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psutil
from langchain_core.messages import AIMessage
from langchain_core.tools import tool

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.local.engine import local_engine
from langchain_toolken.lm.load import load_language_model

STUCK_AFTER = 120  # seconds without any caller getting on


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


@tool
def weather(city: str, unit: str = "celsius") -> str:
    """The weather in a city."""
    return f"{city}: 20 {unit}"


@tool
def lamp(on: bool) -> str:
    """Turn the lamp on or off."""
    return "on" if on else "off"


FIELDS = {"pens": {"type": "integer", "minimum": 0, "maximum": 9999}, "open": {"type": "boolean"}}
BOX = {"type": "object", "description": "A box.", "properties": FIELDS, "required": ["pens", "open"]}
ANSWER = {"type": "json_schema", "json_schema": {"name": "box", "schema": BOX}}


@dataclass(frozen=True)
class Task:
    """What a caller asks: a question and a model with its tools bound; and the right answer."""

    question: str
    model: Any
    answer: tuple[str, str]


def answer_of(message: AIMessage) -> tuple[str, str]:
    """What has to be the same: the text and the calls, without their random ids."""
    return str(message.content), str([(call["name"], call["args"]) for call in message.tool_calls])


def make_tasks(chat: ToolkenChat, alone: ToolkenChat) -> list[Task]:
    """Each kind of call with several questions of different lengths, and what `alone` answers to them."""
    tools = [multiply, weather, lamp]
    kinds = [
        lambda model: model,
        lambda model: model.bind(max_tokens=8),
        lambda model: model.bind_tools(tools, tool_choice="any"),
        lambda model: model.bind_tools([weather], tool_choice="weather"),
        lambda model: model.bind(response_format=ANSWER),
    ]
    questions = [
        f"{'The boxes stand in a row. ' * repeat}A box holds {pens} pens. How many pens are in {boxes} boxes?"
        for repeat, pens, boxes in itertools.product((0, 2, 9), (12, 40), (3, 27))
    ]
    return [Task(q, kind(chat), answer_of(kind(alone).invoke(q))) for kind in kinds for q in questions]


class Soak:
    """The callers, and what they met."""

    def __init__(self, tasks: list[Task], *, seconds: float = float("inf"), rounds: float = float("inf")) -> None:
        self.tasks = tasks
        self.until = time.monotonic() + seconds
        self.rounds = rounds
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.last = time.monotonic()
        self._lock = threading.Lock()

    def met(self, what: str, wrong: str | None = None) -> None:
        with self._lock:
            self.counts[what] += 1
            self.last = time.monotonic()
            if wrong is not None:
                self.wrong.append(wrong)

    def judge(self, what: str, task: Task, message: AIMessage) -> None:
        found = answer_of(message)
        self.met(what, None if found == task.answer else f"{task.question!r}: {found}, alone {task.answer}")

    def judge_part(self, task: Task, text: str) -> None:
        whole = task.answer[0].startswith(text)
        self.met("streams left", None if whole else f"{task.question!r}: {text!r}, alone {task.answer[0]!r}")

    def goes_on(self, done: int) -> bool:
        return done < self.rounds and time.monotonic() < self.until

    def in_thread(self, seed: int) -> None:
        draw = random.Random(seed)
        for done in itertools.count():
            if not self.goes_on(done):
                return
            task = draw.choice(self.tasks)
            if draw.random() < 0.6:
                self.judge("invoke", task, task.model.invoke(task.question))
                continue
            pieces, most = "", draw.randint(1, 12)
            for count, chunk in enumerate(task.model.stream(task.question), 1):
                pieces += str(chunk.content)
                if count == most:
                    break
            self.judge_part(task, pieces)

    async def in_task(self, seed: int) -> None:
        draw = random.Random(seed)
        for done in itertools.count():
            if not self.goes_on(done):
                return
            task, kind = draw.choice(self.tasks), draw.random()
            if kind < 0.4:
                self.judge("ainvoke", task, await task.model.ainvoke(task.question))
            elif kind < 0.7:
                asked = asyncio.create_task(task.model.ainvoke(task.question))
                await asyncio.sleep(draw.random() * 0.5)
                asked.cancel()
                try:
                    self.judge("ainvoke", task, await asked)
                except asyncio.CancelledError:
                    self.met("cancelled")
            else:
                pieces, most = "", draw.randint(1, 12)
                stream = task.model.astream(task.question)
                count = 0
                async for chunk in stream:
                    pieces, count = pieces + str(chunk.content), count + 1
                    if count == most:
                        break
                await stream.aclose()
                self.judge_part(task, pieces)


def main() -> int:
    """Run the callers and say what they met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--model", default="nano")
    parser.add_argument("--backend", choices=("transformers", "llama_cpp"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)  # tools without fitted toolkens are meant here
    lm = load_language_model(options.model, backend=options.backend)
    fields: dict[str, Any] = {"style": "completion", "max_tokens": 32, "max_argument_tokens": 48}
    engine = local_engine(lm)
    chat = ToolkenChat.from_engine(engine, **fields)
    tasks = make_tasks(chat, ToolkenChat.from_engine(local_engine(lm, cached_prefixes=0), **fields))
    soak = Soak(tasks, seconds=options.minutes * 60)
    process = psutil.Process()

    def died(failure: threading.ExceptHookArgs) -> None:
        threading.__excepthook__(failure)
        soak.met("died", f"{failure.thread} died of {failure.exc_value!r}")

    threading.excepthook = died

    def loop() -> None:
        async def everybody() -> None:
            seeds = range(options.callers // 2)
            await asyncio.gather(*(soak.in_task(options.seed * 1000 + 500 + i) for i in seeds))

        asyncio.run(everybody())

    callers = [threading.Thread(target=loop, daemon=True)]
    for i in range(options.callers - options.callers // 2):
        callers.append(threading.Thread(target=soak.in_thread, args=(options.seed * 1000 + i,), daemon=True))
    for caller in callers:
        caller.start()
    started, printed, stuck = time.monotonic(), -1, False
    while any(caller.is_alive() for caller in callers) and not stuck:
        time.sleep(0.5)
        now = time.monotonic()
        stuck = now - soak.last > STUCK_AFTER
        if (tick := int((now - started) // 20)) > printed:
            printed = tick
            memory, threads = process.memory_info().rss / 2**20, threading.active_count()
            print(f"{now - started:5.0f} s  {memory:7.1f} MiB  {threads:3} threads  {dict(soak.counts)}", flush=True)
    if stuck:
        faulthandler.dump_traceback(all_threads=True)
    time.sleep(2)
    left, threads = engine.running, threading.active_count()
    print(f"end      {process.memory_info().rss / 2**20:7.1f} MiB  {threads:3} threads  {dict(soak.counts)}")
    print(f"{len(soak.wrong)} wrong, {left} rows left, {'stuck' if stuck else 'nobody stuck'}")
    for wrong in soak.wrong[:10]:
        print("wrong:", wrong)
    return int(bool(soak.wrong or left or stuck))


if __name__ == "__main__":
    sys.exit(main())
