"""Compare llama.cpp with transformers on the same GGUF file: what they answer, how fast, and with how much memory.

    python benchmarks/backends.py agree --model FILE.gguf --backend llama_cpp --data-dir DATA --out FOLDER
    python benchmarks/backends.py agree --model FILE.gguf --backend transformers --data-dir DATA --out FOLDER
    python benchmarks/backends.py fitted --model FILE.gguf --backend llama_cpp --data-dir DATA --out FOLDER
    python benchmarks/backends.py fitted --model FILE.gguf --backend transformers --data-dir DATA --out FOLDER
    python benchmarks/backends.py speed --model FILE.gguf --backend plain|llama_cpp
    python benchmarks/backends.py speed --model FILE.gguf --backend generate|transformers --dtype float32|bfloat16

`agree` takes a hundred requests: 34 everyday dev requests, 33 of metatool's dev set and 33 of FuncQA's training
questions, each evenly. llama.cpp answers each
greedily (run it first); transformers reads these answers, and wherever its own choice is another word, the two logits'
difference is kept: an answer without any is the one that it would have written. Both rank the everyday tools by prior
toolkens, so nothing is fitted, and both write the arguments of forced calls. It goes on from where it was stopped.
`--exact` keeps llama.cpp's keys and values in 32 bits and its attention in single steps: with a file of F32 weights
both then compute alike. `fitted` fits toolkens on the backend and ranks requests on it, with the sets of both backends
once both are there: for the first 60 tools of metatool with 3 demonstrations each, and their dev requests, or with
`--everyday` for the everyday tools and all requests for one call.
`speed` needs one process for each backend, since it reports the process's memory; it prints seconds of the clock and of
the CPU, since other processes may be running. "plain" is llama.cpp's own C API, and "generate" transformers' generate:
neither knows toolkens. Calls are forced, of the everyday tools: with nothing fitted; with `--toolkens SET` (of
everyday.py, `--kept`) with the cards that it chose and with plain ones; with `--prompt` also with all tools in the
prompt.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
import typer
from everyday.requests import read_demonstrations, read_requests
from everyday.tools import TOOLS
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from rich.console import Console
from shares import Share

from langchain_toolken import ToolkenChat, fit
from langchain_toolken.decoding.engine import DecodingRequest, Sampling
from langchain_toolken.decoding.local.engine import LocalEngine, local_engine
from langchain_toolken.lm.identity import Backend
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.examples import ArgumentSettings, Examples
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec, tool_specs

CONSOLE = Console()
T = TypeVar("T")
EXACT = {"type_k": "f32", "type_v": "f32", "flash_attn": False}
BACKENDS: tuple[Backend, ...] = ("transformers", "llama_cpp")
REPACK = "For llama.cpp on a CPU with AMX, if its compiler was gcc 12.4 or clang at least."
PROMPT = "Tell me about the history of the railways in Switzerland, and what they are known for today."
app = typer.Typer(add_completion=False, help=__doc__)


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in file.read_text(encoding="utf-8").splitlines()]


def evenly(found: Sequence[T], most: int) -> list[T]:
    return [found[i * len(found) // most] for i in range(most)]


def hundred(data_dir: Path) -> list[list[BaseMessage]]:
    plugins = [row["question"] for row in rows_of(data_dir / "metatool" / "dev.jsonl")]
    texts = [row["text"] for row in rows_of(data_dir / "funcqa" / "train.jsonl")]
    sums = [text.partition("\nA:")[0].removeprefix("Q: ") for text in texts]
    everyday = [list(request.messages) for request in evenly(read_requests("dev", TOOLS), 34)]
    others: list[list[BaseMessage]] = [[HumanMessage(one)] for one in [*evenly(plugins, 33), *evenly(sums, 33)]]
    return everyday + others


def of_tools(data_dir: Path, shots: int, most: int) -> tuple[list[Any], list[Any], list[tuple[Any, str]]]:
    """Metatool's first tools, demonstrations of them as chats, and dev requests for them, as (messages, tool)."""
    folder, schema = data_dir / "metatool", {"type": "object", "properties": {}}
    tools = [
        ToolSpec(name=row["name"], description=row["description"], json_schema=schema)
        for row in rows_of(folder / "tools.jsonl")[:most]
    ]
    names = {spec.name for spec in tools}
    shown = [row for row in rows_of(folder / "train.jsonl") if row["shot"] < shots and row["tool"] in names]
    calls = [AIMessage("", tool_calls=[{"name": row["tool"], "args": {}, "id": "1"}]) for row in shown]
    chats = [[HumanMessage(row["question"]), call] for row, call in zip(shown, calls, strict=True)]
    asked = [row for row in rows_of(folder / "dev.jsonl") if row["tool"] in names]
    return tools, chats, [([HumanMessage(row["question"])], row["tool"]) for row in asked]


class Kept:
    """Results in a JSON file, each computed once."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}

    def get(self, name: str, compute: Callable[[], Any]) -> Any:
        if name not in self.found:
            self.found[name] = compute()
            self.file.write_text(json.dumps(self.found, indent=1, ensure_ascii=False), encoding="utf-8")
        return self.found[name]


def read_again(lm: LanguageModel, prompt: Sequence[int], answer: Sequence[int]) -> list[list[Any]]:
    """Return where transformers would have written another word: [place, its word, the logits' difference]."""
    with torch.inference_mode():
        states = lm.hidden_states(torch.tensor([[*prompt, *answer]]))[0, len(prompt) - 1 : -1]
        logits = lm.head.word_logits(states)
    best = logits.argmax(dim=-1)
    lead = logits.amax(dim=-1) - logits.gather(1, torch.tensor(answer)[:, None])[:, 0]
    places = (best != torch.tensor(answer)).nonzero()[:, 0].tolist()
    return [[place, lm.tokenizer.decode([int(best[place])]), round(float(lead[place]), 3)] for place in places]


@app.command()
def agree(
    model: Annotated[str, typer.Option(help="The GGUF file.")],
    backend: Annotated[str, typer.Option(help="llama_cpp first, then transformers.")],
    data_dir: Annotated[Path, typer.Option(help="Folder with the datasets; `metatool` is read.")],
    out: Annotated[Path, typer.Option(help="Folder for the results.")],
    tokens: Annotated[int, typer.Option(help="Most tokens of an answer.")] = 24,
    calls: Annotated[int, typer.Option(help="How many requests a call is forced for.")] = 34,
    exact: Annotated[bool, typer.Option(help="llama.cpp with 32-bit keys and values.")] = False,
    most: Annotated[int, typer.Option(help="How many requests, evenly of the hundred.")] = 100,
) -> None:
    """Answer, rank and call for a hundred requests on one backend; print what differs once both have."""
    warnings.simplefilter("ignore")
    out.mkdir(parents=True, exist_ok=True)
    other = "transformers" if backend == "llama_cpp" else "llama_cpp"
    kept, written = Kept(out / f"{backend}.json"), Kept(out / "llama_cpp.json").found
    chat = ToolkenChat(
        model=model, backend=backend, max_tokens=tokens, cache=False, model_kwargs=EXACT if exact else {}
    )
    requests = evenly(hundred(data_dir), most)

    def texted(number: int, messages: list[BaseMessage]) -> Any:
        prompt = chat.decoding_setup().lay_out(messages, []).prompt.ids
        if backend == "llama_cpp":
            (found,) = chat.engine.reason([prompt], DecodingRequest(Sampling(max_tokens=tokens)))
            ended = found.finish_reason == "stop"
            return {
                "ids": [*found.token_ids, *([int(chat.engine.tokenizer.eos_token_id)] if ended else [])],
                "text": found.text,
            }
        return read_again(chat.engine.lm, prompt, written[f"text {number}"]["ids"])  # type: ignore[attr-defined]

    def ranked(messages: list[BaseMessage]) -> Any:
        return [[each.tool, round(each.probability, 4)] for each in chat.rank_tools(messages, 3, tools=TOOLS)]

    def called(messages: list[BaseMessage]) -> Any:
        message = chat.bind_tools(TOOLS, tool_choice="any", max_tokens=96).invoke(messages)
        return [[call["name"], call["args"]] for call in (*message.tool_calls, *message.invalid_tool_calls)]

    for number, messages in enumerate(requests):
        if backend == "transformers" and f"text {number}" not in written:
            continue
        kept.get(f"text {number}", partial(texted, number, messages))
    for number, messages in enumerate(requests):
        kept.get(f"rank {number}", partial(ranked, messages))
    for number, messages in enumerate(requests[:calls]):
        kept.get(f"call {number}", partial(called, messages))
    one, two = kept.found, Kept(out / f"{other}.json").found
    for kind in ("rank", "call"):
        both = [name for name in one if name.startswith(kind) and name in two]
        different = [name for name in both if one[name][0] != two[name][0]]
        if kind == "rank":
            different = [name for name in both if one[name][0][0] != two[name][0][0]]
        CONSOLE.print(f"{kind}: {len(different)} of {len(both)} differ")
        for name in different:
            CONSOLE.print(requests[int(name.split()[1])][-1].text, one[name], two[name], markup=False, highlight=False)
    if backend == "transformers":
        unlike = [name for name in one if name.startswith("text") and one[name]]
        CONSOLE.print(f"text: {len(unlike)} of {sum(name.startswith('text') for name in one)} differ")
        words = sum(len(two[name]["ids"]) for name in one if name.startswith("text"))
        CONSOLE.print(f"words: {sum(len(one[name]) for name in unlike)} of {words} differ")
        for name in unlike:
            CONSOLE.print(repr(two[name]["text"]), one[name][0], markup=False, highlight=False)


@app.command()
def fitted(
    model: Annotated[str, typer.Option(help="The GGUF file.")],
    backend: Annotated[str, typer.Option(help="llama_cpp or transformers.")],
    data_dir: Annotated[Path, typer.Option(help="Folder with the datasets; `metatool` is read.")],
    out: Annotated[Path, typer.Option(help="Folder for the sets.")],
    shots: Annotated[int, typer.Option(help="Demonstrations a tool.")] = 3,
    most: Annotated[int, typer.Option(help="How many of metatool's tools, from the first on.")] = 60,
    everyday: Annotated[bool, typer.Option("--everyday", help="The everyday tools instead of metatool's.")] = False,
    repack: Annotated[bool, typer.Option("--repack", help=REPACK)] = False,
) -> None:
    """Fit on one backend, and rank on it with the sets of both."""
    warnings.simplefilter("ignore")
    tools, chats, asked = of_tools(data_dir, shots, most)
    if everyday:
        tools, chats = [*TOOLS], read_demonstrations(None, 20, 0)
        calls = [one for split in ("dev", "test") for one in read_requests(split, TOOLS) if one.kind == "call"]
        asked = [(one.messages, one.expected[0].tool) for one in calls]
    kind = "everyday" if everyday else "metatool"
    given: dict[str, Any] = {"repack": True} if repack else {}
    own = out / f"{kind}-{backend}"
    if not own.exists():
        began, worked = time.perf_counter(), time.process_time()
        result = fit(model, tools, chats, backend=backend, **given)
        seconds, cpu = time.perf_counter() - began, time.process_time() - worked
        result.toolkens.save(own)
        CONSOLE.print(f"fit: {seconds:.0f} s, {cpu:.0f} s of the CPU", highlight=False)
    first: dict[str, list[str]] = {}
    for name in BACKENDS:
        if not (out / f"{kind}-{name}").exists():
            continue
        chat = ToolkenChat(
            model=model,
            backend=backend,
            toolkens=out / f"{kind}-{name}",
            cache=False,
            model_kwargs=given,
        )
        first[name] = [chat.rank_tools(messages, 1)[0].tool for messages, _ in asked]
        right = Share.of(found == tool for found, (_, tool) in zip(first[name], asked, strict=True))
        CONSOLE.print(f"fitted on {name}, used on {backend}: right tool first {right}", highlight=False)
    if len(first) == len(BACKENDS):
        CONSOLE.print(f"{sum(one != other for one, other in zip(*first.values(), strict=True))} of {len(asked)} differ")


@app.command()
def speed(
    model: Annotated[str, typer.Option(help="The GGUF file.")],
    backend: Annotated[str, typer.Option(help="plain, llama_cpp, generate or transformers.")],
    dtype: Annotated[str, typer.Option(help="For transformers.")] = "float32",
    toolkens: Annotated[Path | None, typer.Option(help="A set of the everyday tools.")] = None,
    prompt: Annotated[bool, typer.Option("--prompt", help="Also call with all tools in the prompt.")] = False,
    tokens: Annotated[int, typer.Option(help="Tokens of each answer.")] = 128,
    threads: Annotated[int, typer.Option(help="Threads.")] = 2,
    rounds: Annotated[int, typer.Option(help="Times that all is measured; the best counts.")] = 3,
    calls: Annotated[int, typer.Option(help="Forced calls of the everyday tools that are timed.")] = 8,
    repack: Annotated[bool, typer.Option("--repack", help=REPACK)] = False,
) -> None:
    """Print tokens a second, alone and 16 at once, seconds to a call, and memory."""
    warnings.simplefilter("ignore")
    facts: dict[str, Any] = {"backend": backend, "dtype": dtype, "threads": threads, "load": os.getloadavg()[0]}
    torch.set_num_threads(threads)
    if backend == "plain":
        facts |= _plain(model, tokens, threads, rounds, repack)
    elif backend == "generate":
        facts |= _generate(model, dtype, tokens, rounds)
    else:
        given: dict[str, Any] = {"n_threads": threads} if backend == "llama_cpp" else {"dtype": dtype}
        given |= {"repack": True} if repack else {}
        engine = local_engine(load_language_model(model, backend=backend, **given), cached_prefixes=1)  # type: ignore[arg-type]
        facts |= _ours(engine, tokens, rounds) | _calls(engine, toolkens, prompt, calls)
    facts["peak memory (MB)"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(facts))


def _timed(run: Any, rounds: int) -> dict[str, float]:
    best: dict[str, float] = {}
    for _ in range(rounds):
        began, worked = time.perf_counter(), time.process_time()
        count = run()
        seconds, cpu = time.perf_counter() - began, time.process_time() - worked
        if not best or count / seconds > best["a second"]:
            best = {"a second": count / seconds, "a CPU second": count / cpu}
    return {name: round(value, 2) for name, value in best.items()}


def _plain(model: str, tokens: int, threads: int, rounds: int, repack: bool) -> dict[str, Any]:
    """llama.cpp's own C API, greedy, with nothing but words."""
    from llama_cpp import llama_cpp as api

    api.llama_log_set(silent := api.llama_log_callback(lambda *_: None), ctypes.c_void_p(0))
    api.llama_backend_init()
    how = api.llama_model_default_params()
    how.use_extra_bufts = repack or b"AMX_INT8 = 1" not in api.llama_print_system_info()  # as in lm.llama_cpp.library
    loaded = api.llama_model_load_from_file(model.encode(), how)
    vocab, params = api.llama_model_get_vocab(loaded), api.llama_context_default_params()
    params.n_ctx, params.n_threads, params.n_threads_batch = 2048, threads, threads
    context, words = api.llama_init_from_model(loaded, params), api.llama_vocab_n_tokens(vocab)
    text = PROMPT.encode()
    room = (ctypes.c_int32 * 256)()
    prompt = list(room[: api.llama_tokenize(vocab, text, len(text), room, 256, False, False)])

    def following(ids: list[int]) -> int:
        held = (ctypes.c_int32 * len(ids))(*ids)  # the batch only points to it
        assert api.llama_decode(context, api.llama_batch_get_one(held, len(ids))) == 0
        return int(np.ctypeslib.as_array(api.llama_get_logits_ith(context, -1), (words,)).argmax())

    def run() -> int:
        api.llama_memory_clear(api.llama_get_memory(context), True)
        token = following(prompt)
        for _ in range(tokens - 1):
            token = following([token])
        return tokens

    run()
    found = {"alone": _timed(run, rounds)}
    del silent
    return found


def _generate(model: str, dtype: str, tokens: int, rounds: int) -> dict[str, Any]:
    """transformers' own generate, greedy."""
    lm: Any = load_language_model(model, backend="transformers", dtype=dtype)
    prompt = lm.tokenizer(PROMPT).input_ids
    length = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "pad_token_id": 0}

    def run(count: int) -> int:
        ids = torch.tensor([[*prompt, 100 + i] for i in range(count)])
        with torch.inference_mode():
            made = lm.model.generate(ids, attention_mask=torch.ones_like(ids), **length)
        return int(made[:, ids.shape[1] :].numel())

    run(1)
    return {"alone": _timed(lambda: run(1), rounds), "16 at once": _timed(lambda: run(16), rounds)}


def _ours(engine: LocalEngine, tokens: int, rounds: int) -> dict[str, Any]:
    prompt = engine.tokenizer(PROMPT).input_ids
    # Never the end of the text, so that all answers have the same number of tokens.
    request = DecodingRequest(Sampling(max_tokens=tokens))
    engine.lm.__dict__["eos_ids"] = frozenset()

    def alone() -> int:
        return len(engine.reason([prompt], request)[0].token_ids)

    def together() -> int:
        with ThreadPoolExecutor(16) as pool:
            found = pool.map(lambda i: engine.reason([[*prompt, 100 + i]], request)[0], range(16))
            return sum(len(one.token_ids) for one in found)

    alone()
    facts: dict[str, Any] = {"alone": _timed(alone, rounds), "16 at once": _timed(together, rounds)}
    del engine.lm.__dict__["eos_ids"]
    return facts


def _calls(engine: LocalEngine, folder: Path | None, prompt: bool, most: int) -> dict[str, Any]:
    """Forced calls, each way of telling the LM of the tools after the other."""
    ways = {"a call, nothing fitted": ToolkenChat.from_engine(engine, max_tokens=96, cache=False)}
    if folder is not None:
        chosen = ToolkenSet.load(folder)
        plain = replace(chosen, examples=Examples(settings=ArgumentSettings(copied=dict.fromkeys(chosen.names, ()))))
        ways["a call"] = ToolkenChat.from_engine(engine, chosen, max_tokens=96, cache=False)
        ways["a call, plain cards"] = ToolkenChat.from_engine(engine, plain, max_tokens=96, cache=False)
    if prompt:
        in_prompt = ToolkenChat.from_engine(engine, tool_mode="prompt", max_tokens=96, cache=False)
        ways["a call, tools in the prompt"] = in_prompt
    requests = [request for request in read_requests("dev", TOOLS) if request.kind == "call"][:most]
    facts: dict[str, Any] = {}
    for spec in tool_specs(TOOLS):
        engine.grammars.matcher(spec)  # compiles it
    for name, chat in ways.items():
        bound = chat.bind_tools(TOOLS, tool_choice="any")
        bound.invoke("Hello")  # makes prior toolkens, reads what all prompts begin with
        began, worked = time.perf_counter(), time.process_time()
        used: list[Any] = [bound.invoke(one.messages).usage_metadata for one in requests]
        seconds, cpu = time.perf_counter() - began, time.process_time() - worked
        facts[name] = {
            "seconds": round(seconds / most, 3),
            "cpu seconds": round(cpu / most, 3),
            "tokens read": round(sum(one["input_tokens"] for one in used) / most),
            "tokens written": round(sum(one["output_tokens"] for one in used) / most),
        }
    return facts


if __name__ == "__main__":
    app()
