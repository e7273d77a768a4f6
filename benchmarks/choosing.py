"""Which tool is chosen, and whether one is, for requests as people write them: metatool's 199 plugin tools.

    python benchmarks/choosing.py --data-dir DATA --model MODEL --cache CACHE --out results.json

For each number of demonstrations a tool (--shots) and each seed, toolkens are fitted with everything on "auto", with
the 100 requests of the train set that need no tool, answered by the LM. Reported are, with Wilson's 95% intervals: the
right tool first and among the first five (dev.jsonl), for the rows alone and with all evidence, beside BM25 with the
tools' descriptions; and the calls at the fit's own operating point and at 5% false calls (no_call_dev.jsonl). The LM
pass is kept in --cache, so that another run takes only the solves.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from rich.console import Console
from shares import Share
from torch import Tensor

from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.lexical import LexicalMatch, description_document
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.features.compute import Features, compute_features
from langchain_toolken.training.fit import fit
from langchain_toolken.training.negatives import answered, negative_features
from langchain_toolken.training.result import FitResult

CONSOLE = Console()


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def tools_of(folder: Path) -> list[ToolSpec]:
    schema = {"type": "object", "properties": {}}
    rows = lines(folder / "tools.jsonl")
    return [ToolSpec(name=row["name"], description=row["description"], json_schema=schema) for row in rows]


def calling(row: dict[str, Any]) -> Demonstration:
    """A request that its tool is called for at once."""
    call = DemonstratedCall(start=0, tool=row["tool"])
    return Demonstration(text="", calls=(call,), before=(HumanMessage(row["question"]),))


def plain(lm: LanguageModel, folder: Path, cache: Path) -> list[list[BaseMessage]]:
    """The train set's requests that need no tool, with the LM's answers."""
    questions = [row["question"] for row in lines(folder / "no_call_train.jsonl")]
    kept = cache / "no_call_train.json"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(answered(lm, questions, "chat")), encoding="utf-8")
    answers = json.loads(kept.read_text(encoding="utf-8"))
    return [[HumanMessage(q), AIMessage(a)] for q, a in zip(questions, answers, strict=True)]


def drawn(rows: Sequence[dict[str, Any]], shots: int, seed: int) -> list[dict[str, Any]]:
    """`shots` demonstrations of each tool: the first ones for seed 0, others by chance."""
    by_tool: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_tool.setdefault(row["tool"], []).append(row)
    chance = random.Random(seed)
    return [
        row
        for found in by_tool.values()
        for row in (found[:shots] if seed == 0 else chance.sample(found, min(shots, len(found))))
    ]


def ranks(scores: Tensor, due: Tensor) -> Tensor:
    """The place of the right tool, 0 for the first."""
    return (scores > scores.gather(1, due[:, None])).sum(dim=1)


def measured(result: FitResult, dev: Features, texts: Sequence[str], no_call: Features) -> dict[str, Any]:
    toolkens, calls = result.toolkens, dev.target >= 0
    order = dev.demonstration[calls]
    due, states = dev.target[calls], dev.hidden[calls]
    assert dev.requests is not None
    assert no_call.requests is not None
    requests = dev.requests[order]
    rows = toolken_logits(states, toolkens.matrix, toolkens.biases)
    scores, evidence = rows, toolkens.evidence
    if evidence is not None:
        words = torch.stack([evidence.lexical_scores(texts[i], len(toolkens)) for i in order.tolist()])
        scores = evidence.scale * rows + words
        if evidence.request_rows is not None:
            scores = scores + requests @ evidence.request_rows.T
    places, alone = ranks(scores, due), ranks(rows, due)
    description = LexicalMatch("description", 1.0, tuple(map(description_document, toolkens.specs)))
    bm25 = ranks(torch.stack([description.scores(texts[i]) for i in order.tolist()]), due)
    gate = None if evidence is None else evidence.gate
    if gate is not None:
        wanted = gate.log_odds(states, requests)
        each, at = gate.log_odds(no_call.hidden[:], no_call.requests[no_call.demonstration]), gate.threshold
    else:
        wanted = rows.amax(dim=1) - dev.word_max[calls]
        best = toolken_logits(no_call.hidden[:], toolkens.matrix, toolkens.biases).amax(dim=1)
        each, at = best - no_call.word_max, 0.0
    count = int(no_call.demonstration.max()) + 1
    highest = torch.full((count,), float("-inf")).scatter_reduce(0, no_call.demonstration, each, "amax")
    five = float(highest.sort(descending=True).values[int(0.05 * count)])
    found = {
        "right tool first": places == 0,
        "right tool among five": places < 5,
        "rows alone: first": alone == 0,
        "rows alone: among five": alone < 5,
        "BM25 on descriptions: first": bm25 == 0,
        "a call at 5% false": wanted > five,
        "the right call at 5% false": (wanted > five) & (places == 0),
        "a call": wanted > at,
        "the right call": (wanted > at) & (places == 0),
        "a false call": highest > at,
    }
    return {name: Share.of(which.tolist()).as_dict() for name, which in found.items()}


def main(
    data_dir: Annotated[Path, typer.Option(help="Folder with the datasets; `metatool` is read.")],
    model: Annotated[str, typer.Option(help="The LM, with a chat template.")],
    cache: Annotated[Path, typer.Option(help="Folder for what the LM computes.")],
    out: Annotated[Path, typer.Option(help="JSON file for the results.")],
    shots: Annotated[list[int], typer.Option(help="Demonstrations a tool; can be repeated.")] = [1, 3, 10, 20],  # noqa: B006
    seeds: Annotated[int, typer.Option(help="Draws of the demonstrations.")] = 1,
) -> None:
    folder = data_dir / "metatool"
    lm, specs = load_language_model(model), tools_of(folder)
    names = [spec.name for spec in specs]
    dev_rows = lines(folder / "dev.jsonl")
    dev = compute_features(lm, [calling(row) for row in dev_rows], names, "chat", folder=cache / "dev")
    questions = cache / "no_call_dev.txt"
    asked = (" ".join(row["question"].split()) for row in lines(folder / "no_call_dev.jsonl"))
    questions.write_text("\n".join(asked), encoding="utf-8")
    no_call = negative_features(lm, questions, "chat", folder=cache / "no_call_dev")
    assert no_call is not None
    results = []
    for number in shots:
        for seed in range(seeds):
            demonstrations = [calling(row) for row in drawn(lines(folder / "train.jsonl"), number, seed)]
            began = time.process_time()
            result = fit(
                lm,
                specs,
                [*demonstrations, *plain(lm, folder, cache)],
                style="chat",
                features_dir=cache / f"shots-{number}-seed-{seed}",
            )
            figures = measured(result, dev, [row["question"] for row in dev_rows], no_call)
            which = None if result.which is None else result.which.weights
            results.append(
                {
                    "shots": number,
                    "seed": seed,
                    "cpu_seconds": time.process_time() - began,
                    "pass_seconds": result.pass_seconds,
                    "weights": which,
                    "figures": figures,
                }
            )
            out.write_text(json.dumps(results, indent=1), encoding="utf-8")
            CONSOLE.print(number, seed, {name: round(one["share"], 3) for name, one in figures.items()})


if __name__ == "__main__":
    typer.run(main)
