"""Decoding with and without compile_decoding: the same LM, prompts and machine, in turns.

    python examples/benchmark_compile.py --model nano
    python examples/benchmark_compile.py --model Qwen/Qwen3-4B --device cuda

Prints words a second, their ratio, the seconds that the graphs of a batch size took to compile, and how many answers
are the same, at temperature 0. The first round of a batch size is not counted: it compiles.
"""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from langchain_toolken.decoding.compiled_batch import CompiledStep
from langchain_toolken.decoding.engine import Reasoning, Sampling
from langchain_toolken.decoding.lm import load_language_model
from langchain_toolken.decoding.transformers_engine import TransformersEngine


def main(
    model: Annotated[str, typer.Option(help="The LM.")] = "nano",
    device: Annotated[str | None, typer.Option(help="Where it runs; the first GPU, if there is one.")] = None,
    sizes: Annotated[list[int], typer.Option("--size", min=1, help="Rows of a batch; may be repeated.")] = [1, 4, 16],  # noqa: B006
    rounds: Annotated[int, typer.Option(min=1, help="How often both are measured; the fastest counts.")] = 3,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most words of an answer.")] = 96,
) -> None:
    lm = load_language_model(model, device=device)
    began = time.perf_counter()
    step = CompiledStep(lm)
    console = Console()
    console.print(f"{model} on {lm.device}: checked and compiled for two rows in {time.perf_counter() - began:.1f} s")
    engines = {
        "plain": TransformersEngine(lm, max_batch_size=max(sizes)),
        "compiled": TransformersEngine(lm, max_batch_size=max(sizes), compiled=step),
    }
    table = Table("rows", "plain, words/s", "compiled, words/s", "ratio", "compiling, s", "same answers")
    for size in sizes:
        prompts = [
            lm.tokenizer(
                f"Q: Ada has {100 + 37 * i} beads and buys {20 + 11 * i} more. How many has she now?\nA:"
            ).input_ids
            for i in range(size)
        ]
        answers: dict[str, list[Reasoning]] = {}
        fastest = dict.fromkeys(engines, float("inf"))
        first = 0.0
        for number in range(rounds + 1):
            for name, engine in engines.items():
                began = time.perf_counter()
                answers[name] = engine.reason(prompts, toolkens=None, sampling=Sampling(max_tokens=max_tokens))
                seconds = time.perf_counter() - began
                if number:
                    fastest[name] = min(fastest[name], seconds)
                elif name == "compiled":
                    first = seconds
        words = {name: sum(len(answer.token_ids) for answer in answers[name]) for name in engines}
        speed = {name: words[name] / fastest[name] for name in engines}
        same = sum(a.token_ids == b.token_ids for a, b in zip(answers["plain"], answers["compiled"], strict=True))
        table.add_row(
            *(str(size), f"{speed['plain']:.0f}", f"{speed['compiled']:.0f}"),
            *(f"{speed['compiled'] / speed['plain']:.2f}", f"{first - fastest['compiled']:.1f}", f"{same} of {size}"),
        )
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
