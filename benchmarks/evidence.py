"""Measure what a set's evidence costs while text is decoded: a gate, rows for the request, and matches of its words.

    OMP_NUM_THREADS=1 python benchmarks/evidence.py --model MODEL

Toolkens and evidence are random, and never fire. "no toolkens", "toolkens" and "evidence" take turns in each round, and
a ratio is the median of the rounds' ratios, so that a machine that is slow for a while slows all of them. Times are
processor time on a CPU, since other processes do not count for it. Prints, for each number of tools: milliseconds for
each decoded token (a whole step, LM included), milliseconds for the head alone
(word logits, toolken logits and their combination for one state), and what a turn costs once: the words' scores of a
request of 20 words, and the index that a set makes of its texts when it is first used.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.table import Table

from langchain_toolken.decoding.engine import DecodingRequest, Sampling
from langchain_toolken.decoding.local.call_evidence import CallEvidence
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.requests import Request
from langchain_toolken.toolkens.evidence import Evidence, Gate
from langchain_toolken.toolkens.lexical import LexicalMatch, WordClassifier
from langchain_toolken.toolkens.provenance import Provenance
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec

VOCABULARY = 5000  # words that descriptions and requests are made of
DESCRIPTION, DEMONSTRATIONS, REQUEST = 30, 150, 20  # words of each
HEAD_CALLS = 50


@dataclass(frozen=True)
class Cost:
    """Milliseconds with K tools.

    Attributes:
        tools: K.
        step: A decoded token by variant.
        head: The head alone by variant.
        ratio: The median of evidence against toolkens, for a step and for the head.
        request: The words' scores of one request.
        index: The index of the texts, once for a set.
    """

    tools: int
    step: dict[str, float]
    head: dict[str, float]
    ratio: dict[str, float]
    request: float
    index: float


def made_up(lm: LanguageModel, tools: int) -> ToolkenSet:
    """Random toolkens with evidence of every kind, whose gate never opens."""
    drawn, generator = random.Random(0), torch.Generator().manual_seed(0)
    vocabulary = [f"word{number}" for number in range(VOCABULARY)]

    def text(words: int) -> str:
        return " ".join(drawn.choices(vocabulary, k=words))

    size = lm.hidden_size
    specs = tuple(ToolSpec(name=f"tool_{k}", description=text(DESCRIPTION), json_schema={}) for k in range(tools))
    rows = torch.randn(tools, size, generator=generator) / size**0.5
    evidence = Evidence(
        gate=Gate(torch.zeros(size), torch.zeros(size), constant=-10.0),
        scale=0.9,
        request_rows=torch.randn(tools, size, generator=generator) / size**0.5,
        lexical=(
            LexicalMatch("description", 0.5, tuple(spec.description for spec in specs)),
            LexicalMatch("demonstrations", 0.5, tuple(text(DEMONSTRATIONS) for _ in specs)),
            WordClassifier(
                weight=0.5,
                vocabulary=tuple(vocabulary),
                idf=torch.ones(VOCABULARY),
                rows=torch.randn(VOCABULARY, tools, generator=generator),
                biases=torch.zeros(tools),
            ),
        ),
    )
    provenance = Provenance.of(lm.identity, "completion", "random")
    return ToolkenSet(specs, rows, rows, -1e4, provenance, evidence=evidence)


def clock() -> float:
    return time.perf_counter() if torch.cuda.is_available() else time.process_time()


def milliseconds(run: Callable[[], object], times: int) -> float:
    began = clock()
    for _ in range(times):
        run()
    return (clock() - began) / times * 1e3


def head_runs(engine: TransformersEngine, toolkens: ToolkenSet, request: Request) -> dict[str, Callable[[], object]]:
    """What follows the last layer in one greedy step, by variant."""
    lm = engine.lm
    placed = engine.place(toolkens, None)
    assert placed is not None
    assert placed.evidence is not None
    evidence = CallEvidence(placed, placed.evidence, [request], lm.vocab_size)
    hidden = torch.randn(1, lm.hidden_size, generator=torch.Generator().manual_seed(1)).to(lm.head.weight.dtype)
    hidden = hidden.to(lm.head.weight.device)
    evidence.read(0, hidden[0].float())

    def words() -> object:
        return lm.head.word_logits(hidden).argmax(dim=-1)

    def rows() -> object:
        logits = toolken_logits(hidden, placed.matrix, placed.biases)
        return torch.cat([lm.head.word_logits(hidden), logits], dim=-1).argmax(dim=-1)

    def informed() -> object:
        logits = toolken_logits(hidden, placed.matrix, placed.biases)
        states = evidence.state_logits(hidden)
        assert states is not None
        together = torch.cat([lm.head.word_logits(hidden), logits, states], dim=-1)
        return evidence.combined([0], together, 0.0).argmax(dim=-1)

    return {"no toolkens": words, "toolkens": rows, "evidence": informed}


@torch.inference_mode()
def measure(engine: TransformersEngine, tools: int, words: int, rounds: int) -> Cost:
    toolkens = made_up(engine.lm, tools)
    assert toolkens.evidence is not None
    text = " ".join(random.Random(1).choices([f"word{number}" for number in range(VOCABULARY)], k=REQUEST))
    first = milliseconds(lambda: toolkens.evidence and toolkens.evidence.lexical_scores(text, tools), 1)
    scores = milliseconds(lambda: toolkens.evidence and toolkens.evidence.lexical_scores(text, tools), 50)
    prompt, request = list(range(20, 84)), Request(text, (10, 60))
    bound = {"no toolkens": None, "toolkens": replace(toolkens, evidence=None), "evidence": toolkens}
    runs = head_runs(engine, toolkens, request)
    step: dict[str, list[float]] = {variant: [] for variant in bound}
    head: dict[str, list[float]] = {variant: [] for variant in bound}
    for number in range(rounds + 1):  # the first warms up and isn't counted
        for variant, with_toolkens in bound.items():
            decoding = DecodingRequest(Sampling(max_tokens=words), toolkens=with_toolkens, requests=(request,))
            began = clock()
            (reasoning,) = engine.reason([prompt], decoding)
            took = (clock() - began) / max(1, len(reasoning.token_ids)) * 1e3
            alone = milliseconds(runs[variant], HEAD_CALLS)
            if number:
                step[variant].append(took)
                head[variant].append(alone)
    ratio = {
        name: statistics.median(a / b for a, b in zip(taken["evidence"], taken["toolkens"], strict=True))
        for name, taken in (("step", step), ("head", head))
    }
    return Cost(
        tools=tools,
        step={variant: statistics.median(taken) for variant, taken in step.items()},
        head={variant: statistics.median(taken) for variant, taken in head.items()},
        ratio=ratio,
        request=scores,
        index=first - scores,
    )


def main(
    model: Annotated[str, typer.Option(help="The LM.")] = "nano",
    tools: Annotated[str, typer.Option(help="Numbers of tools.")] = "100,1000,2000",
    words: Annotated[int, typer.Option(help="Tokens decoded in each round.")] = 64,
    rounds: Annotated[int, typer.Option(help="Rounds.")] = 7,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print milliseconds without toolkens, with toolkens, and with evidence."""
    engine = TransformersEngine(load_language_model(model), cached_prefixes=0)
    costs = [measure(engine, int(count), words, rounds) for count in tools.split(",")]
    if as_json:
        json.dump({"model": model, "costs": [asdict(cost) for cost in costs]}, sys.stdout)
        return
    table = Table("tools", "", "no toolkens", "toolkens", "evidence", "evidence / toolkens", title=model)
    for cost in costs:
        for name, taken in (("step, ms", cost.step), ("head, ms", cost.head)):
            ratio = cost.ratio[name.split(",")[0]]
            table.add_row(str(cost.tools), name, *(f"{taken[variant]:.3f}" for variant in taken), f"{ratio:.3f}")
        table.add_row(str(cost.tools), "once a turn, ms", "", "", f"{cost.request:.3f}", "")
        table.add_row(str(cost.tools), "once a set, ms", "", "", f"{cost.index:.1f}", "")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
