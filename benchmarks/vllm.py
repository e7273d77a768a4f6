"""A vLLM server beside the engine in this process: are the answers the same, and how many requests a second?

    TOOLKEN_VLLM_PYTHON=.vllm/bin/python python benchmarks/vllm.py --model MODEL --toolkens DIR
    python benchmarks/vllm.py --model MODEL --toolkens DIR --same 50 --agents 1 --agents 8 --agents 32 --dtype bfloat16

DIR has toolkens for the tools of `everyday/`, fitted on MODEL. The requests are those of its dev split, over and over.
vLLM is started by this script, on an export that is removed at the end, both in --dtype. An agent asks, and waits for
the answer (a call with its arguments, or words) before it asks again.

Answers are the same if text and calls are. Where they differ, the first token that differs is printed with how much
likelier the first was than the second, in this process and in vLLM: a small number is a tie that rounding decides.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Annotated, Any

import typer
from everyday.requests import Request, read_requests
from everyday.tools import TOOLS
from langchain_core.messages import AIMessage
from rich.console import Console

from langchain_toolken import ToolkenChat
from langchain_toolken.serve.vllm_process import VllmProcess, exported, vllm_python
from langchain_toolken.toolkens.set import ToolkenSet


@dataclass(frozen=True)
class Speed:
    """How fast requests were answered."""

    engine: str
    agents: int
    requests_a_second: float
    tokens_a_second: float
    median_seconds: float


def said(message: AIMessage) -> tuple[Any, ...]:
    return message.text, [(call["name"], call["args"]) for call in message.tool_calls]


def ask(chat: ToolkenChat, request: Request, **changes: Any) -> AIMessage:
    return chat.bind_tools(TOOLS).invoke(request.messages, **changes)


def run(name: str, chat: ToolkenChat, requests: Sequence[Request], agents: int, count: int) -> Speed:
    """Let agents ask until `count` requests were answered."""
    waiting: Iterator[Request] = iter(list(islice(cycle(requests), count)))
    lock, seconds, tokens = threading.Lock(), [], []

    def agent() -> None:
        while True:
            with lock:
                request = next(waiting, None)
            if request is None:
                return
            began = time.perf_counter()
            message = ask(chat, request)
            seconds.append(time.perf_counter() - began)
            assert message.usage_metadata is not None
            tokens.append(message.usage_metadata["output_tokens"])

    began = time.perf_counter()
    threads = [threading.Thread(target=agent) for _ in range(agents)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    return Speed(name, agents, count / took, sum(tokens) / took, sorted(seconds)[len(seconds) // 2])


def first_difference(here: AIMessage, there: AIMessage) -> str:
    """Describe the first token that differs, and how close the second likeliest was in both."""
    if here.text == there.text:
        return f"calls {said(here)[1]} and {said(there)[1]}"
    listed = [message.response_metadata["logprobs"]["content"] for message in (here, there)]
    for mine, theirs in zip(*listed, strict=False):
        if mine["token"] != theirs["token"]:
            leads = [
                token["top_logprobs"][0]["logprob"] - token["top_logprobs"][1]["logprob"] for token in (mine, theirs)
            ]
            return f"{mine['token']!r} and {theirs['token']!r}, ahead by {leads[0]:.3f} and {leads[1]:.3f} nats"
    return "one ends earlier"


def compare(console: Console, here: ToolkenChat, there: ToolkenChat, requests: Sequence[Request]) -> None:
    same = calls = 0
    for request in requests:
        asked = {"logprobs": True, "top_logprobs": 2}
        one, other = ask(here, request, **asked), ask(there, request, **asked)
        calls += said(one)[1] == said(other)[1]
        if said(one) == said(other):
            same += 1
        else:
            console.print(f"{request.text[:60]!r}: {first_difference(one, other)}", markup=False)
    console.print(f"same calls {calls} of {len(requests)}, same calls and texts {same} of {len(requests)}")


def main(
    model: Annotated[str, typer.Option(help="The LM: a folder or a Hub id.")],
    toolkens: Annotated[Path, typer.Option(help="Toolkens for the tools of everyday/.")],
    same: Annotated[int, typer.Option(help="Requests whose answers are compared; 0 for none.")] = 50,
    agents: Annotated[list[int] | None, typer.Option(help="Agents at once. Repeatable.")] = None,
    requests: Annotated[int, typer.Option(help="Requests for each number of agents; for one agent a quarter.")] = 64,
    dtype: Annotated[str, typer.Option(help="The weights' dtype.")] = "float32",
    max_tokens: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 48,
    flag: Annotated[list[str] | None, typer.Option(help="Further flags of vllm serve. Repeatable.")] = None,
) -> None:
    """Start vLLM, compare, measure and print."""
    console = Console()
    loaded = ToolkenSet.load(toolkens)
    asked = read_requests("dev", TOOLS)
    here = ToolkenChat(model=model, dtype=dtype, toolkens=loaded, max_tokens=max_tokens, max_batch_size=32)
    with tempfile.TemporaryDirectory() as folder:
        exported(loaded, Path(folder) / "exported", model, dtype=dtype)
        flags = ["--dtype", dtype, "--max-model-len", "4096", *(flag or ())]
        with VllmProcess(Path(folder) / "exported", python=vllm_python(), flags=flags) as vllm:
            there = ToolkenChat(
                backend="vllm", base_url=vllm.base_url, model=model, toolkens=loaded, max_tokens=max_tokens
            )
            for chat in (here, there):
                ask(chat, asked[0])  # what is only done once
            if same:
                compare(console, here, there, list(islice(cycle(asked), same)))
            for count in agents or (1, 8, 32):
                for name, chat in (("in process", here), ("vLLM", there)):
                    speed = run(name, chat, asked, count, requests if count > 1 else requests // 4)
                    console.print(
                        f"{speed.agents:2} agents, {speed.engine}: {speed.requests_a_second:.2f} requests and "
                        f"{speed.tokens_a_second:.0f} tokens a second, half of the requests within "
                        f"{speed.median_seconds:.1f} s"
                    )


if __name__ == "__main__":
    typer.run(main)
