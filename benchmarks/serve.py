"""Many clients of one `toolken serve`: are all answers right, is memory flat, does anybody wait for others?

    python benchmarks/serve.py --seconds 60
    python benchmarks/serve.py --clients 64 --seconds 180 --toolkens DIR

A server of its own is started on a free port of this machine, with toolkens for the tools of `examples/mytools.py` on
nano (fitted first), or with those in DIR. Clients ask, over and over: with tools, without, streamed and not. An answer
is right if it equals the one that the same server gave alone, at temperature 0. Meanwhile a few clients read nothing of
their streams, a few leave in the middle, and some send bodies that are too large or no JSON, which has to be a 4xx.
Exits with 1 if an answer is wrong, or a bad body is not refused.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from langchain_toolken.prompts.tool_cards import openai_tool
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.training.fit import fit

EXAMPLES = Path(__file__).parents[1] / "examples"
QUESTIONS = (
    "A shop sells apples for 4127 dollars each. How much do 394 apples cost?",
    "Ann has 51 pens and gives away 17. How many pens are left?",
    "Seven friends share 126 sweets. How many does each of them get?",
    "What is the capital of France?",
    "A baker sells rolls for 3 dollars each. How much do 12 rolls cost?",
)
MOST_TOKENS = 40
PATH = "/v1/chat/completions"


@dataclass
class Seen:
    """What the clients saw: how often what happened, how long whole answers took, the server's memory in MB."""

    counts: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    examples: list[str] = field(default_factory=list)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def bodies(toolkens: ToolkenSet, name: str) -> list[dict[str, Any]]:
    tools = [openai_tool(spec) for spec in toolkens.specs]
    made: list[dict[str, Any]] = []
    for question in QUESTIONS:
        asked = {"model": name, "messages": [{"role": "user", "content": question}], "max_tokens": MOST_TOKENS}
        made += [{**asked, "tools": tools}, asked]
    return made


def shape(message: dict[str, Any]) -> str:
    """Return what must be the same each time: the text and the calls, without their ids."""
    calls = [call["function"] for call in message.get("tool_calls") or ()]
    return json.dumps([message.get("content") or "", [[c["name"], json.loads(c["arguments"])] for c in calls]])


async def ask(http: httpx.AsyncClient, body: dict[str, Any], stream: bool) -> str:
    if not stream:
        answer = await http.post(PATH, json=body)
        answer.raise_for_status()
        return shape(answer.json()["choices"][0]["message"])
    text, calls = "", []
    async with http.stream("POST", PATH, json={**body, "stream": True}) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if not line.startswith("data: {"):
                continue
            delta = json.loads(line[6:])["choices"][0]["delta"]
            text += delta.get("content") or ""
            for call in delta.get("tool_calls") or ():
                if "name" in call["function"]:
                    calls.append({"function": dict(call["function"])})
                else:
                    calls[-1]["function"]["arguments"] += call["function"]["arguments"]
    return shape({"content": text, "tool_calls": calls})


async def client(
    number: int, http: httpx.AsyncClient, asked: list[dict[str, Any]], right: list[str], until: float, seen: Seen
) -> None:
    dice = random.Random(number)
    while time.monotonic() < until:
        which, kind = dice.randrange(len(asked)), dice.random()
        if kind < 0.02:
            answer = await http.post(PATH, content=b"{", headers={"Content-Type": "application/json"})
            seen.counts["bad body refused" if answer.status_code == 400 else "bad body NOT refused"] += 1
        elif kind < 0.03:
            answer = await http.post(PATH, content=b" " * (9 << 20), headers={"Content-Type": "application/json"})
            seen.counts["large body refused" if answer.status_code == 413 else "large body NOT refused"] += 1
        elif kind < 0.08:
            async with http.stream("POST", PATH, json={**asked[which], "stream": True}) as answer:
                async for _ in answer.aiter_lines():
                    break
            seen.counts["left in the middle"] += 1
        else:
            began = time.monotonic()
            found = await ask(http, asked[which], stream=dice.random() < 0.5)
            seen.seconds.append(time.monotonic() - began)
            seen.counts["right" if found == right[which] else "WRONG"] += 1
            if found != right[which]:
                seen.examples.append(f"{found} instead of {right[which]}")


async def sleeper(port: int, body: dict[str, Any], until: float, seen: Seen) -> None:
    """A client that reads nothing."""
    content = json.dumps({**body, "stream": True}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
    await writer.drain()
    await asyncio.sleep(max(0.0, until - time.monotonic()))
    seen.counts["read nothing"] += 1
    writer.close()
    del reader


async def measure(port: int, options: argparse.Namespace, toolkens: ToolkenSet, server: psutil.Process) -> Seen:
    seen = Seen()
    limits = httpx.Limits(max_connections=options.clients + 8)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=300, limits=limits) as http:
        while True:
            try:
                name = (await http.get("/v1/models")).json()["data"][0]["id"]
                break
            except httpx.ConnectError:
                await asyncio.sleep(0.2)
        asked = bodies(toolkens, name)
        right = [await ask(http, body, stream=False) for body in asked]
        until = time.monotonic() + options.seconds
        tasks = [asyncio.create_task(client(n, http, asked, right, until, seen)) for n in range(options.clients)]
        tasks += [asyncio.create_task(sleeper(port, asked[1], until, seen)) for _ in range(4)]
        while time.monotonic() < until:
            await asyncio.sleep(min(5.0, options.seconds / 6))
            seen.memory.append(server.memory_info().rss / 1e6)
        await asyncio.gather(*tasks)
    return seen


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--toolkens", type=Path, help="a saved set, in place of a new one for nano")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.toolkens or Path(temporary) / "toolkens"
        if options.toolkens is None:
            fit("nano", EXAMPLES / "mytools.py", EXAMPLES / "demos.jsonl").save(folder)
        port = free_port()
        command = [sys.executable, "-m", "langchain_toolken.cli", "serve", "--toolkens", str(folder)]
        server = subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL)
        try:
            seen = asyncio.run(measure(port, options, ToolkenSet.load(folder), psutil.Process(server.pid)))
        finally:
            server.terminate()
            server.wait(30)
    taken = sorted(seen.seconds)
    facts = {
        "clients": options.clients,
        "counts": dict(seen.counts),
        "answers_a_second": len(taken) / options.seconds,
        "seconds_median": taken[len(taken) // 2] if taken else None,
        "seconds_99": taken[int(len(taken) * 0.99)] if taken else None,
        "memory_mb": [round(value) for value in seen.memory],
        "wrong": seen.examples[:5],
    }
    print(json.dumps(facts, indent=None if options.json else 1, ensure_ascii=False))
    return int(any(kind.isupper() or "NOT" in kind for kind in seen.counts))


if __name__ == "__main__":
    sys.exit(main())
