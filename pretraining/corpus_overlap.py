"""Measure how much nano's pre-training text overlaps with benchmark questions, in shared n-grams of words.

    python -m pretraining.corpus_overlap --data-dir DATA

Every test and dev question under DATA is compared with --documents documents of the corpus, generated as for
pre-training. All numbers count as equal. Prints for each file how many of its questions share an n-gram of --words words
with the corpus and how many occur there whole, then the most frequent of these n-grams.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from pretraining.documents import LONG_KINDS, SHORT_KINDS, document


def words_of(text: str) -> list[str]:
    """Split a text into lower-case words, with "#" for every number."""
    return re.findall(r"[a-z]+|#", re.sub(r"[\d.,]*\d", "#", text.lower()))


def ngrams(words: list[str], length: int) -> list[tuple[str, ...]]:
    """List all runs of `length` words."""
    return [tuple(words[i : i + length]) for i in range(len(words) - length + 1)]


def questions_of(file: Path) -> list[str]:
    """Read the questions of a test file, or the part of each demonstration before its answer."""
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").removesuffix("\n").split("\n")]
    return [row["question"] if "question" in row else row.get("text", "").split("\nA:")[0] for row in rows]


def main(
    data_dir: Annotated[Path, typer.Option(help="Folder with one folder per dataset.")],
    words: Annotated[int, typer.Option(min=2, help="Length of the n-grams.")] = 8,
    documents: Annotated[
        int, typer.Option(min=1, help="Number of documents. nano was trained on about the default.")
    ] = 400_000,
    seed: Annotated[int, typer.Option(help="Seed of the corpus. nano's is 1.")] = 1,
) -> None:
    """Compare benchmark questions with the corpus."""
    console = Console()
    files = sorted({*data_dir.glob("*/test*.jsonl"), *data_dir.glob("*/dev*.jsonl")})
    if not files:
        raise typer.BadParameter(f"no test or dev files under {data_dir}")
    questions = {(file, i): text for file in files for i, text in enumerate(questions_of(file))}
    wanted: dict[tuple[str, ...], set[tuple[Path, int]]] = defaultdict(set)
    for place, text in questions.items():
        for gram in ngrams(words_of(text), words):
            wanted[gram].add(place)
    shared: dict[tuple[Path, int], set[tuple[str, ...]]] = defaultdict(set)
    counts: Counter[tuple[str, ...]] = Counter()
    total = 0
    for number in track(range(documents), "read the corpus", console=console):
        text = "".join(segment.text for segment in document(seed, number, SHORT_KINDS if number % 8 else LONG_KINDS))
        read = words_of(text)
        total += len(read)
        for gram in ngrams(read, words):
            if gram in wanted:
                counts[gram] += 1
                for place in wanted[gram]:
                    shared[place].add(gram)
    table = Table("file", "questions", f"share a {words}-gram", "occur whole")
    table.title = f"{documents:,} documents, {total:,} words"
    for file in files:
        mine = [place for place in questions if place[0] == file]
        hit = [place for place in mine if place in shared]
        whole = [p for p in hit if shared[p] == set(ngrams(words_of(questions[p]), words))]
        table.add_row(str(file.relative_to(data_dir)), str(len(mine)), str(len(hit)), str(len(whole)))
    console.print(table)
    for gram, count in counts.most_common(10):
        console.print(f"{count:6}  {' '.join(gram)}", markup=False)


if __name__ == "__main__":
    typer.run(main)
