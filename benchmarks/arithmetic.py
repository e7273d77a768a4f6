"""Ask the papers' arithmetic questions of an agent with toolkens on any LM, and of the same LM without tools.

    python benchmarks/arithmetic.py --data-dir DATA --model MODEL
    python benchmarks/arithmetic.py --data-dir DATA --model MODEL --sets multi-hop,gsm8k-xl --questions 50 --show 20
    python benchmarks/arithmetic.py --data-dir DATA --model MODEL --sets one-hop --fitted FOLDER --plain-card

Toolkens are fitted with the package's defaults on FuncQA's train set (one-hop and multi-hop) or GSM8K-XL's (at most
`--train` texts), and kept in the folder `--fitted`: with the same folder, a second run fits nothing. `--plain-card`
then shows what the tools' cards with examples, and copying from the request, are worth, and `--no-worked` what the
demonstrations before the question are. With `--out`, answers are kept as they come, and a second run with the same file
asks only what is missing. A LangGraph agent answers with real arithmetic tools. Final answers count as in the papers,
within 0.1%. Wrong answers are counted by kind (`evaluation.runner.Error`):

- no call; wrong tool; wrong arguments: what the first call was, against all calls that the question needs
- later step: the first call was right, and no call has the right result
- right result, wrong answer: the right number came out of a call, and the answer ends with another one
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Annotated, Any, Literal

import typer
from pydantic import TypeAdapter
from rich.console import Console
from rich.table import Table
from shares import Share

from langchain_toolken import ToolkenChat, fit
from langchain_toolken.cli.progress_bars import progress_bars
from langchain_toolken.evaluation.questions import (
    Question,
    read_funcqa_multi_hop,
    read_funcqa_one_hop,
    read_gsm8k_xl,
)
from langchain_toolken.evaluation.runner import Graded, grade
from langchain_toolken.nano.tools import MATH_TOOLS
from langchain_toolken.toolkens.examples import ArgumentSettings, Examples
from langchain_toolken.toolkens.set import ToolkenSet


@dataclass(frozen=True)
class QuestionSet:
    """Where a set's questions and demonstrations are, and how many of the tools it has."""

    test: str
    train: str
    read: Callable[[Path], list[Question]]
    tools: int


SETS = {
    "one-hop": QuestionSet("funcqa/test_one_hop.jsonl", "funcqa/train.jsonl", read_funcqa_one_hop, 13),
    "multi-hop": QuestionSet("funcqa/test_multi_hop.jsonl", "funcqa/train.jsonl", read_funcqa_multi_hop, 13),
    "gsm8k-xl": QuestionSet("gsm8k_xl/test.jsonl", "gsm8k_xl/train.jsonl", read_gsm8k_xl, 4),
}


def demonstrations(file: Path, most: int, seed: int) -> list[dict[str, Any]]:
    """Read the rows, or `most` of them, drawn by the seed: some files are sorted by tool."""
    # Not splitlines(): a row of GSM8K contains U+2028, which JSON allows unescaped.
    lines = file.read_text(encoding="utf-8").removesuffix("\n").split("\n")
    return [json.loads(line) for line in (lines if most >= len(lines) else Random(seed).sample(lines, most))]


@dataclass(frozen=True)
class Kept:
    """An answer in the file `--out`, and its set."""

    set: str
    graded: Graded


def kept_answers(file: Path | None) -> dict[tuple[str, str], Graded]:
    """Read the answers of an earlier run, by set and question; none without a file."""
    if file is None or not file.exists():
        return {}
    with file.open("rb") as lines:
        kept = [TypeAdapter(Kept).validate_json(line) for line in lines]
    return {(one.set, one.graded.question.text): one.graded for one in kept}


def shown(graded: Graded) -> str:
    """Write a question with its calls and answers."""
    lines = [f"Q: {graded.question.text}"]
    lines += [f"   {call.tool}({json.dumps(call.arguments)}) = {call.result}" for call in graded.calls]
    lines += [f"A: {graded.text.strip()}", f"   right: {graded.question.answer} ({graded.error or 'right'})"]
    return "\n".join([*lines, f"   without tools: {graded.plain_text.strip()}"])


def main(
    data_dir: Annotated[Path, typer.Option(help="Folder with funcqa/ and gsm8k_xl/.")],
    model: Annotated[str, typer.Option(help="The LM: a folder or a Hub id.")],
    sets: Annotated[str, typer.Option(help=f"Which of {', '.join(SETS)}.")] = ",".join(SETS),
    questions: Annotated[int, typer.Option(help="Most questions of a set: its first ones.")] = 200,
    train: Annotated[int, typer.Option(help="Most demonstrations, drawn by the seed.")] = 1000,
    calls_from: Annotated[
        Literal["auto", "answer", "request"], typer.Option(help="Where calls are learned; see `fit`.")
    ] = "auto",
    worked_answers: Annotated[
        str, typer.Option(help="Whole demonstrations before a question: a number, or auto; see `fit`.")
    ] = "auto",
    fitted: Annotated[Path | None, typer.Option(help="Folder to keep the toolkens in, or to take them from.")] = None,
    plain_card: Annotated[bool, typer.Option("--plain-card", help="No examples on cards, and no copying.")] = False,
    no_worked: Annotated[bool, typer.Option("--no-worked", help="Nothing before a question.")] = False,
    style: Annotated[str | None, typer.Option(help="completion or chat. Default: what the toolkens ask for.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the fit and of what is drawn.")] = 0,
    dtype: Annotated[str, typer.Option(help="The weights' dtype.")] = "float32",
    max_tokens: Annotated[int, typer.Option(help="Most tokens of each answer of the LM.")] = 128,
    max_calls: Annotated[int, typer.Option(help="Most calls for one question.")] = 8,
    batch_size: Annotated[int, typer.Option(help="Questions that run through the LM together.")] = 16,
    show: Annotated[int, typer.Option(help="Print this many answers of each set, drawn by the seed.")] = 0,
    out: Annotated[Path | None, typer.Option(help="JSONL file of graded answers; it goes on where it ends.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit, ask, grade and print."""
    if unknown := sorted(set(sets.split(",")) - set(SETS)):
        raise typer.BadParameter(f"there is no set {unknown[0]!r}; choose among {', '.join(SETS)}")
    console = Console(stderr=as_json)
    answered = kept_answers(out)
    graded: dict[str, list[Graded]] = {}
    seconds: dict[str, float] = {}
    models: dict[str, ToolkenChat] = {}
    with progress_bars(console) as progress:
        for name in sets.split(","):
            one = SETS[name]
            tools = MATH_TOOLS[:4] if one.tools == 4 else MATH_TOOLS
            if one.train not in models:
                kept = None if fitted is None else fitted / Path(one.train).parent
                if kept is None or not kept.exists():
                    began = time.perf_counter()
                    rows = demonstrations(data_dir / one.train, train, seed)
                    result = fit(
                        model,
                        tools,
                        rows,
                        calls_from=calls_from,
                        worked_answers="auto" if worked_answers == "auto" else int(worked_answers),
                        seed=seed,
                        dtype=dtype,
                        progress=progress,
                    )
                    seconds[f"fit {one.train}"] = time.perf_counter() - began
                    console.print(f"{one.train}: calls from {result.place or calls_from}", highlight=False)
                    toolkens = result.toolkens
                    if kept is not None:
                        result.save(kept)
                else:
                    toolkens = ToolkenSet.load(kept)
                if plain_card:
                    toolkens = replace(
                        toolkens,
                        examples=Examples(
                            settings=ArgumentSettings(copied=dict.fromkeys(toolkens.names, ())),
                            worked=toolkens.examples.worked,
                        ),
                    )
                if no_worked:
                    toolkens = replace(toolkens, examples=replace(toolkens.examples, worked=None))
                models[one.train] = ToolkenChat(
                    model=model, dtype=dtype, toolkens=toolkens, style=style, max_tokens=max_tokens
                )
            began = time.perf_counter()
            asked = one.read(data_dir / one.test)[:questions]
            missing = [question for question in asked if (name, question.text) not in answered]
            for start in range(0, len(missing), batch_size):
                progress(len(asked) - len(missing) + start, len(asked), name)
                some = missing[start : start + batch_size]
                options: dict[str, Any] = {"tolerance": "0.001", "max_calls": max_calls, "batch_size": batch_size}
                found = grade(models[one.train], tools, some, **options)
                answered |= {(name, one_answer.question.text): one_answer for one_answer in found}
                if out:
                    with out.open("ab") as file:
                        file.writelines(TypeAdapter(Kept).dump_json(Kept(name, answer)) + b"\n" for answer in found)
            graded[name] = [answered[name, question.text] for question in asked]
            seconds[name] = time.perf_counter() - began
    facts = {name: figures(answers) for name, answers in graded.items()}
    for name, answers in graded.items():
        for one_answer in Random(seed).sample(answers, min(show, len(answers))):
            console.rule(f"[dim]{name}", align="left")
            console.print(shown(one_answer), markup=False, highlight=False)
    if as_json:
        print(json.dumps({"sets": facts, "seconds": seconds}, indent=1))
        return
    table = Table("questions", "right (95%)", "without tools", "with a call", "right tool first", "errors")
    for name, answers in graded.items():
        right, plain = Share.of(g.right for g in answers), Share.of(g.plain_right for g in answers)
        called, tool = Share.of(bool(g.calls) for g in answers), Share.of(g.right_tool for g in answers)
        kinds = Counter(g.error for g in answers if g.error).most_common()
        errors = ", ".join(f"{count} {kind}" for kind, count in kinds)
        table.add_row(name, str(right), str(plain), f"{called.count} of {called.total}", str(tool.count), errors)
    console.print(table)
    console.print({phase: round(value, 1) for phase, value in seconds.items()})


def figures(answers: Sequence[Graded]) -> dict[str, Any]:
    """Return a set's figures as plain data."""
    return {
        "right": Share.of(g.right for g in answers).as_dict(),
        "without tools": Share.of(g.plain_right for g in answers).as_dict(),
        "with a call": Share.of(bool(g.calls) for g in answers).as_dict(),
        "right tool first": Share.of(g.right_tool for g in answers).as_dict(),
        "right arguments first": Share.of(g.right_arguments for g in answers).as_dict(),
        "errors": dict(Counter(g.error for g in answers if g.error).most_common()),
    }


if __name__ == "__main__":
    typer.run(main)
