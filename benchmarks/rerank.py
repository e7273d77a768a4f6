"""Measure what rerank="docs" and rerank="frozen" change about unsure calls.

    python benchmarks/rerank.py --data-dir DATA

Toolkens are fitted on four fifths of FuncQA's demonstrations. The last fifth gives the positions to judge: its calls,
and six positions per text where no call is made. Only positions where some toolken has a probability of at least 0.1
count. Prints, by the margin of the first choice over the second, the number of positions and how often the first
choice and each method are right. Where no call is made, only a rejected call is right.
"""

from __future__ import annotations

import json
import random
import sys
from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from langchain_toolken.chat.reranking import Reranking, judge
from langchain_toolken.cli.progress_bars import progress_bars
from langchain_toolken.decoding.engine import Reasoning
from langchain_toolken.decoding.local.shared import shared_engine
from langchain_toolken.nano.tools import MATH_TOOLS
from langchain_toolken.prompts.content import bos_ids, encode_content
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.requests import Request, question_of, request_of
from langchain_toolken.prompts.turns import Turn
from langchain_toolken.tools.spec import tool_specs
from langchain_toolken.training.fit import fit

EDGES = (0.1, 0.25, 0.5, 0.75, 0.9, 1.01)


def main(
    data_dir: Annotated[Path, typer.Option(help="Folder with funcqa/train.jsonl.")],
    model: Annotated[str, typer.Option(help="The LM.")] = "nano",
    seed: Annotated[int, typer.Option(help="Seed of the positions without a call.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit toolkens, judge unsure calls, and print how often each method is right."""
    console = Console(stderr=as_json)
    engine, specs = shared_engine(model), tool_specs(MATH_TOOLS)
    names = {spec.name for spec in specs}
    file = data_dir / "funcqa" / "train.jsonl"
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").removesuffix("\n").split("\n")]
    rows = [row for row in rows if all(call["tool"].strip("<>") in names for call in row["calls"])]
    held_out = rows[4::5]
    training = [row for i, row in enumerate(rows) if i % 5 != 4]
    with progress_bars(console) as progress:
        toolkens = fit(
            engine.lm, MATH_TOOLS, training, style="completion", calls_from="answer", progress=progress
        ).toolkens

    drawn = random.Random(seed)
    places: list[tuple[str, str | None]] = []
    for row in held_out:
        text, calls = row["text"], row["calls"]
        places += [(text[: call["start"]], call["tool"].strip("<>")) for call in calls]
        first = text.index("\nA:") + 3 if "\nA:" in text else 0
        gaps = [i for i in range(first, len(text)) if text[i] == " " and all(i != call["start"] for call in calls)]
        places += [(text[:i], None) for i in drawn.sample(gaps, min(6, len(gaps)))]

    counts: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    tokens: dict[str, list[int]] = defaultdict(list)
    with progress_bars(console) as progress:
        for done, (text, due) in enumerate(places, start=1):
            ids = [*bos_ids(engine.tokenizer), *encode_content(engine.tokenizer, text.rstrip(" "))]
            request, question = Request(text, (0, len(ids))), question_of(text)
            if question is not None:
                asked = Turn("user", text[slice(*question)])
                request = request_of(engine.tokenizer, [asked], PromptFormat("completion"))
            (ranking,) = engine.rank([ids], toolkens=toolkens, requests=[request])
            first, second = ranking[:2]
            if first.probability < 0.1:
                continue
            margin = first.probability - second.probability
            edge = next(edge for edge in EDGES if margin < edge)
            kind = "call" if due else "words"
            cell = counts[kind, f"< {min(edge, 1.0):g}"]
            cell["places"] += 1
            cell["first choice"] += first.tool == due
            reasoning = Reasoning((), "", first, tuple(ranking[1:5]), "tool_calls", len(ids), 0)
            for method in ("docs", "frozen"):
                judgement = judge(engine, ids, reasoning, specs, Reranking(method, 1.0))
                assert judgement is not None
                cell[method] += judgement.chosen == due
                tokens[method].append(judgement.extra_tokens)
            progress(done, len(places), "places")

    result = {
        "model": model, "held_out_rows": len(held_out),
        "extra_tokens": {method: round(sum(read) / len(read), 1) for method, read in tokens.items()},
        "right": [{"due": kind, "margin": edge, **cell} for (kind, edge), cell in sorted(counts.items())],
    }  # fmt: skip
    if as_json:
        json.dump(result, sys.stdout, indent=2)
        print()
        return
    table = Table("due", "margin", "places", "first choice", "docs", "frozen")
    for row in result["right"]:
        table.add_row(
            *(str(row.get(name, 0)) for name in ("due", "margin", "places", "first choice", "docs", "frozen"))
        )
    console.print(table)
    console.print(f"LM tokens read for a second look, on average: {result['extra_tokens']}")


if __name__ == "__main__":
    typer.run(main)
