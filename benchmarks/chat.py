"""Measure what tools cost at inference: toolkens, tools in the prompt, and retrieved tools in the prompt.

    python benchmarks/chat.py --parameters 30 --tools 1,10,100,1000

The first table has, for each number of tools: prompt tokens, time to the first token, and time to the complete call
with all arguments, for `tool_mode="toolken"`, `tool_mode="prompt"`, and the prompt mode with BM25's top five tools.
The LM has random weights, so calls are forced with tool_choice="any"; which tool is called does not matter. The first
question of each kind finds an empty cache ("cold"), later ones find the tools' part of the prompt in it ("warm").

The second table has the cost of toolkens while text is decoded: tokens per second with K toolkens, compared with
`generate` of transformers, for an LM whose head has 150,000 rows.

Compare ratios rather than seconds: both sides of a ratio are measured in the same process.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import torch
import typer
from langchain_core.messages import AIMessage
from random_lm import random_lm
from rank_bm25 import BM25Okapi
from rich.console import Console
from rich.table import Table

from langchain_toolken import ToolkenChat, ToolSpec
from langchain_toolken.cli.progress_bars import progress_bars
from langchain_toolken.decoding.engine import DecodingRequest, Sampling
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.provenance import Provenance
from langchain_toolken.toolkens.set import ToolkenSet

VERBS = (
    *("find", "list", "create", "delete", "update", "book", "cancel", "send", "read", "translate"),
    *("convert", "compare", "track", "rate", "share", "print", "count", "merge", "split", "archive"),
)
THINGS = (
    *("flight", "hotel", "invoice", "ticket", "song", "recipe", "patient", "parcel", "meeting", "contract"),
    *("photo", "report", "stock", "river", "museum", "teacher", "vehicle", "password", "garden", "charger"),
    *("novel", "voucher", "satellite", "battery", "bridge", "course", "drone", "email", "farm", "glacier"),
    *("harbour", "insurance", "jacket", "kitchen", "laptop", "mountain", "newspaper", "orchard", "passport", "quota"),
    *("rental", "sensor", "tournament", "umbrella", "visa", "warehouse", "yacht", "zone", "album", "bakery"),
)
RETRIEVED = 5  # tools that retrieval puts into the prompt


@dataclass(frozen=True)
class CallCost:
    """Cost of one way to bind tools, at one number of tools. Warm seconds are medians without the first question."""

    tools: int
    mode: str
    prompt_tokens: int
    cold_call_seconds: float
    warm_call_seconds: float
    cold_first_token_seconds: float
    warm_first_token_seconds: float


@dataclass(frozen=True)
class DecodeCost:
    """The cost of decoding text with a number of toolkens. `ratio` is seconds per token relative to `generate`."""

    toolkens: int
    tokens_per_second: float
    ratio: float


def make_tools(count: int) -> list[ToolSpec]:
    """Make tools like those of a company's API: a verb, a thing, three parameters."""
    if count > len(VERBS) * len(THINGS):
        raise typer.BadParameter(f"there are {len(VERBS) * len(THINGS)} tools at most, not {count}")
    made = []
    for number in range(count):
        thing, verb = THINGS[number % len(THINGS)], VERBS[number // len(THINGS)]
        made.append(
            ToolSpec(
                name=f"{verb}_{thing}",
                description=f"{verb.capitalize()} a {thing} by its number, in one of the two regions.",
                json_schema={
                    "type": "object",
                    "properties": {
                        f"{thing}_id": {"type": "integer", "minimum": 0, "maximum": 999},
                        "region": {"type": "string", "enum": ["north", "south"]},
                        "urgent": {"type": "boolean"},
                    },
                    "required": [f"{thing}_id", "region", "urgent"],
                },
            )
        )
    return made


def numbered_tools(count: int) -> list[ToolSpec]:
    """Make tools for measurements in which only their number matters."""
    schema = {"type": "object", "properties": {}}
    return [ToolSpec(name=f"tool_{i}", description=f"Tool {i}.", json_schema=schema) for i in range(count)]


def make_questions(tools: Sequence[ToolSpec], count: int) -> list[str]:
    """Make requests that name a tool's verb and thing, so that BM25 can find the tool."""
    picked = [tools[(7 * number) % len(tools)] for number in range(count)]
    return [
        f"Please {' a '.join(spec.name.split('_', 1))} number {100 + 13 * i} in the north."
        for i, spec in enumerate(picked)
    ]


def random_toolkens(lm: LanguageModel, tools: Sequence[ToolSpec]) -> ToolkenSet:
    """Make random rows as long as the head's rows. They cost as much as fitted ones."""
    rows = torch.randn(len(tools), lm.hidden_size, generator=torch.Generator().manual_seed(1))
    rows *= lm.head.weight.float().norm(dim=1).mean().cpu() / rows.norm(dim=1, keepdim=True)
    return ToolkenSet(
        specs=tuple(tools),
        matrix=rows,
        prior=rows,
        bias=0.0,
        provenance=Provenance.of(lm.identity, "chat", "random"),
    )


def measure_calls(
    lm: LanguageModel, tools: Sequence[ToolSpec], questions: Sequence[str], done: Callable[[], None]
) -> list[CallCost]:
    """Measure the three ways with these tools, each with a new engine and therefore an empty cache."""
    toolkens = random_toolkens(lm, tools)
    index = BM25Okapi([f"{spec.name} {spec.description}".replace("_", " ").lower().split() for spec in tools])

    def all_tools(_: str) -> Sequence[ToolSpec]:
        return tools

    def retrieved(question: str) -> Sequence[ToolSpec]:
        scores = index.get_scores(question.lower().rstrip(".").split())
        return [tools[i] for i in sorted(range(len(tools)), key=lambda i: -scores[i])[:RETRIEVED]]

    costs = []
    for mode, tool_mode, choose in (
        ("toolken", "toolken", all_tools),
        ("prompt", "prompt", all_tools),
        (f"BM25 top-{RETRIEVED} + prompt", "prompt", retrieved),
    ):
        calls: list[float] = []
        firsts: list[float] = []
        tokens: list[int] = []
        for timed, forced in ((calls, True), (firsts, False)):
            engine = TransformersEngine(lm)
            chat = ToolkenChat.from_engine(
                engine,
                toolkens if tool_mode == "toolken" else None,
                tool_mode=tool_mode,
                style="chat",
                max_tokens=256 if forced else 1,  # a forced call is timed to its end, otherwise only the first token is
            )
            for question in questions:
                began = time.perf_counter()
                bound = chat.bind_tools(list(choose(question)), tool_choice="any" if forced else None)
                message = bound.invoke(question)
                timed.append(time.perf_counter() - began)
                assert isinstance(message, AIMessage)
                if forced:
                    if len(message.tool_calls) != 1:
                        raise RuntimeError(f"{mode}: expected one complete call, got {message!r}")
                    assert message.usage_metadata is not None
                    tokens.append(message.usage_metadata["input_tokens"])
                done()
        costs.append(
            CallCost(
                tools=len(tools),
                mode=mode,
                prompt_tokens=round(statistics.median(tokens)),
                cold_call_seconds=calls[0],
                warm_call_seconds=statistics.median(calls[1:]),
                cold_first_token_seconds=firsts[0],
                warm_first_token_seconds=statistics.median(firsts[1:]),
            )
        )
    return costs


def measure_decoding(
    lm: LanguageModel, counts: Sequence[int], words: int, rounds: int, done: Callable[[], None]
) -> tuple[float, list[DecodeCost]]:
    """Measure tokens per second of `generate`, and with each number of toolkens, biased so that they never fire.

    All take turns in each round, and a ratio is the median of the rounds' ratios, so that a machine that is slow for a
    while slows all of them.
    """
    prompt = list(range(20, 84))
    input_ids = torch.tensor([prompt], device=lm.device)
    tools = numbered_tools(max(counts, default=0))
    seconds: dict[int, list[float]] = {count: [] for count in counts}
    plain: list[float] = []
    engine = TransformersEngine(lm, cached_prefixes=0)
    model: Any = lm.model  # transformers leaves generate untyped
    silent = random_toolkens(lm, tools) if tools else None
    sets = {
        count: None if silent is None or not count else replace(silent.select(silent.names[:count]), bias=-1e4)
        for count in counts
    }
    for round_number in range(rounds + 1):  # the first warms up and isn't counted
        began = time.perf_counter()
        with torch.inference_mode():
            out = model.generate(input_ids, max_new_tokens=words, min_new_tokens=words, do_sample=False, pad_token_id=0)
        took = time.perf_counter() - began
        assert out.shape[1] == len(prompt) + words
        if round_number:
            plain.append(took / words)
        done()
        for count in counts:
            began = time.perf_counter()
            (reasoning,) = engine.reason([prompt], DecodingRequest(Sampling(max_tokens=words), toolkens=sets[count]))
            took = time.perf_counter() - began
            if round_number:
                seconds[count].append(took / max(1, len(reasoning.token_ids)))
            done()
    return 1 / statistics.median(plain), [
        DecodeCost(
            toolkens=count,
            tokens_per_second=1 / statistics.median(taken),
            ratio=statistics.median(mine / its for mine, its in zip(taken, plain, strict=True)),
        )
        for count, taken in seconds.items()
    ]


def main(
    tools: Annotated[str, typer.Option(help="Numbers of tools to measure.")] = "1,10,100,1000",
    toolkens: Annotated[
        str, typer.Option(help="Numbers of toolkens to measure while text is decoded.")
    ] = "0,100,1000,10000",
    parameters: Annotated[
        int, typer.Option(help="Millions of parameters of the LM, without head and embeddings.")
    ] = 30,
    head_words: Annotated[int, typer.Option(help="Rows of the head in the decoding part.")] = 150_000,
    questions: Annotated[int, typer.Option(min=2, help="Questions per measurement; the first is the cold one.")] = 4,
    words: Annotated[int, typer.Option(help="Tokens decoded per round.")] = 32,
    rounds: Annotated[int, typer.Option(help="Rounds of the decoding part.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure calls and decoding, and print both tables."""
    console = Console(stderr=as_json)
    tool_counts, toolken_counts = ([int(n) for n in text.split(",")] for text in (tools, toolkens))
    calls: list[CallCost] = []
    with progress_bars(console) as progress:
        lm = random_lm(parameters)
        total, made = 6 * questions * len(tool_counts), 0

        def called() -> None:
            nonlocal made
            made += 1
            progress(made, total, "calls")

        for count in tool_counts:
            specs = make_tools(count)
            calls += measure_calls(lm, specs, make_questions(specs, questions), called)
        wide = random_lm(parameters, words=head_words, context=1024)
        rounds_total, decoded = (rounds + 1) * (1 + len(toolken_counts)), 0

        def one_round() -> None:
            nonlocal decoded
            decoded += 1
            progress(decoded, rounds_total, "decoding")

        plain, decoding = measure_decoding(wide, toolken_counts, words, rounds, one_round)
    if as_json:
        facts = {"parameters": parameters, "calls": [asdict(c) for c in calls]}
        print(json.dumps({**facts, "generate": plain, "decoding": [asdict(d) for d in decoding]}, indent=1))
        return
    table = Table("tools", "mode", "prompt tokens", title="seconds, cold / warm, and × toolken's")
    for column in ("first token", "complete call", "× call"):
        table.add_column(column, no_wrap=True)
    toolken = {cost.tools: cost for cost in calls if cost.mode == "toolken"}
    for cost in calls:
        base = toolken[cost.tools]
        table.add_row(
            str(cost.tools),
            cost.mode,
            str(cost.prompt_tokens),
            f"{cost.cold_first_token_seconds:.3f} / {cost.warm_first_token_seconds:.3f}",
            f"{cost.cold_call_seconds:.3f} / {cost.warm_call_seconds:.3f}",
            f"{cost.cold_call_seconds / base.cold_call_seconds:.1f} / "
            f"{cost.warm_call_seconds / base.warm_call_seconds:.1f}",
        )
    console.print(table)
    speed = Table("toolkens", "tokens/s", "× generate's time", title=f"decoding words; head of {head_words:,} words")
    speed.add_row("generate", f"{plain:.1f}", "1")
    for decode in decoding:
        speed.add_row(f"{decode.toolkens:,}", f"{decode.tokens_per_second:.1f}", f"{decode.ratio:.3f}")
    console.print(speed)


if __name__ == "__main__":
    typer.run(main)
