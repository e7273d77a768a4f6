"""Compare nano with toolkens and nano without tools, on FuncQA one-hop and on nano's own held-out problems.

    python benchmarks/nano.py --data-dir DATA

FuncQA is graded as in the papers, within 0.1%; nano's own problems must have the exact number. Those come in two
kinds: with names and number ranges that pre-training never shows, and also in wordings that it never shows.

Toolkens are fitted on FuncQA's train set. Prints for each kind of question the share where the right tool was called
first, where its arguments were exactly right, where the final answer was right, and where the answer without tools
was right. Without --data-dir, toolkens are fitted on generated demonstrations, and only nano's own questions are
asked.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from langchain_toolken import ToolkenChat
from langchain_toolken.cli.progress_bars import progress_bars
from langchain_toolken.decoding.local.shared import shared_engine
from langchain_toolken.disk.writing import writing
from langchain_toolken.evaluation.nano_demonstrations import nano_demonstrations
from langchain_toolken.evaluation.questions import nano_questions, read_funcqa_one_hop
from langchain_toolken.evaluation.runner import Graded, grade, summarize
from langchain_toolken.nano.problems.word_problems import HeldOut
from langchain_toolken.nano.tools import MATH_TOOLS
from langchain_toolken.training.fit import fit


def main(
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with funcqa/train.jsonl and test_one_hop.jsonl.")
    ] = None,
    model: Annotated[str, typer.Option(help="The LM.")] = "nano",
    own_questions: Annotated[int, typer.Option(help="Number of questions of each of nano's own two kinds.")] = 200,
    style: Annotated[
        str | None, typer.Option(help="completion or chat. Default: the style the toolkens were fitted in.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="JSONL file for every graded answer.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Fit toolkens, ask the questions, and print the shares."""
    console = Console(stderr=as_json)
    engine = shared_engine(model)
    rows: dict[str, list[Graded]] = {}
    with progress_bars(console) as progress:
        given = data_dir / "funcqa" / "train.jsonl" if data_dir else nano_demonstrations(25, seed=7)
        result = fit(engine.lm, MATH_TOOLS, given, progress=progress)
        llm = ToolkenChat.from_engine(engine, result.toolkens, style=style)
        if data_dir:
            one_hop = read_funcqa_one_hop(data_dir / "funcqa" / "test_one_hop.jsonl")
            rows["FuncQA one-hop"] = grade(
                llm, MATH_TOOLS, one_hop, tolerance="0.001", progress=progress, what="FuncQA one-hop"
            )
        kinds: dict[HeldOut, str] = {"numbers": "new names and numbers", "wordings": "new wordings too"}
        for held_out, name in kinds.items():
            own = nano_questions(own_questions, held_out)
            rows[f"nano's own, {name}"] = grade(llm, MATH_TOOLS, own, progress=progress, what=name)

    fitted = {
        "demonstrations": result.demonstrations, "dropped": len(result.dropped), "lm_passes": result.lm_passes,
        "pass_seconds": round(result.pass_seconds, 2), "solve_seconds": round(result.solve_seconds, 2),
        "positions": result.tool_positions + result.word_positions, "style": llm.prompt_format.style,
    }  # fmt: skip
    summaries = {name: summarize(graded) for name, graded in rows.items()}
    if out:
        with writing(out), out.open("w") as file:
            for name, graded in rows.items():
                for answer in graded:
                    file.write(json.dumps({"set": name, **asdict(answer)}, ensure_ascii=False) + "\n")
    if as_json:
        json.dump(
            {"fit": fitted, **{name: asdict(summary) for name, summary in summaries.items()}}, sys.stdout, indent=2
        )
        print()
        return
    console.print(f"fit: {fitted}")
    table = Table(
        "questions", "n", "right tool first", "right arguments", "right in the end", "without tools", "harmed"
    )
    for name, s in summaries.items():
        shares = (s.right_tool, s.right_arguments, s.right, s.plain_right, s.harmed)
        table.add_row(name, str(s.questions), *(f"{share:.2f}" for share in shares))
    console.print(table)


if __name__ == "__main__":
    typer.run(main)
