"""Compare `batch` with one `invoke` after another, on the same questions.

    python benchmarks/batch.py --model nano

The two take turns. Prints their seconds, the ratio, and how many answers are equal at temperature 0.
"""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from langchain_toolken import ToolkenChat


def main(
    model: Annotated[str, typer.Option(help="The LM.")] = "nano",
    size: Annotated[int, typer.Option(min=1, help="Questions per batch.")] = 16,
    rounds: Annotated[int, typer.Option(min=1, help="Number of measurements of each.")] = 3,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens per answer.")] = 48,
) -> None:
    """Measure both in turn and print a table."""
    questions = [
        f"Ada has {100 + 37 * i} beads and buys {20 + 11 * i} more. How many has she now?" for i in range(size)
    ]
    llm = ToolkenChat(model=model, style="completion", max_tokens=max_tokens, max_batch_size=size)
    llm.batch(questions[:2])  # loads the LM
    table = Table("round", "invokes, s", "batch, s", "ratio", "same answers", "tokens")
    table.title = f"{model}, {size} questions"
    for number in range(1, rounds + 1):
        began = time.perf_counter()
        alone = [llm.invoke(question) for question in questions]
        between = time.perf_counter()
        together = llm.batch(questions)
        ended = time.perf_counter()
        one, many = between - began, ended - between
        same = sum(a.content == b.content for a, b in zip(alone, together, strict=True))
        tokens = sum(answer.usage_metadata["output_tokens"] for answer in alone if answer.usage_metadata is not None)
        table.add_row(str(number), f"{one:.2f}", f"{many:.2f}", f"{one / many:.2f}", f"{same} of {size}", f"{tokens:,}")
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
