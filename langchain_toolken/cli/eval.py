"""`toolken eval`: compare methods of tool calling on the papers' tasks, with one LM."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from langchain_toolken.cli.errors import reported
from langchain_toolken.cli.options import AsJson, ModelArg, parse_model_args
from langchain_toolken.cli.progress_bars import progress_bars
from langchain_toolken.cli.terminal import shown, terminal
from langchain_toolken.disk.writing import writing

if TYPE_CHECKING:
    from langchain_toolken.evaluation.methods.method import Ablation
    from langchain_toolken.evaluation.other_names import Naming
    from langchain_toolken.evaluation.results import Setting
    from langchain_toolken.evaluation.tasks import Task

_IN_A_FILE = 140
_QUICK_QUESTIONS, _QUICK_DEMONSTRATIONS = 8, "5"
Names = Literal["own", "meaningless", "irrelevant"]


def evaluate(
    model: Annotated[str, typer.Option(help='"nano", a folder, a .gguf file or a Hub id.')] = "nano",
    tasks: Annotated[str, typer.Option(help="Tasks, with commas between them; see docs/evaluation.md.")] = "nano",
    methods: Annotated[str, typer.Option(help="Methods, with commas between them, or all.")] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of what is random.")] = 1,
    questions: Annotated[
        int | None, typer.Option(min=1, help="Questions of each task, drawn once. Default: all.")
    ] = None,
    demonstrations: Annotated[
        str, typer.Option(help='Demonstrations of each tool: numbers with commas between them, or "all".')
    ] = "all",
    data_dir: Annotated[Path | None, typer.Option(help="Folder with the datasets.")] = None,
    out: Annotated[
        Path, typer.Option(help="Folder for answers, fits and results.html. A run goes on where it was.")
    ] = Path("toolken-eval"),
    lam: Annotated[str, typer.Option(help='λ of fits: numbers with commas between them, or "auto".')] = "auto",
    prior: Annotated[
        str, typer.Option(help='Priors of fits, such as "head/name/average", "description" or "random"; or "auto".')
    ] = "auto",
    names: Annotated[
        Names, typer.Option(help="Call the tools by other names: func_42, or words of other things.")
    ] = "own",
    batch_size: Annotated[int, typer.Option(min=1, help="Questions that run through the LM together.")] = 8,
    max_tokens: Annotated[int, typer.Option(min=1, help="Most tokens of each answer of the LM.")] = 96,
    max_calls: Annotated[int, typer.Option(min=1, help="Most calls for one question.")] = 6,
    model_arg: ModelArg = None,
    quick: Annotated[bool, typer.Option("--quick", help="8 of nano's questions, 5 demonstrations a tool.")] = False,
    table: Annotated[bool, typer.Option("--table", help="Ask nothing; tabulate what --out holds.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the tables as Markdown.")] = False,
    as_json: AsJson = False,
) -> None:
    """Answer each task's questions by each method, and print who got how many right, and at what cost.

    All methods use the same LM in the same engine, the same demonstrations and tools that really run. Every answer is
    kept in --out, so that a run that was stopped goes on where it was, and runs add up.
    """
    from langchain_toolken.evaluation.results_page import write_page
    from langchain_toolken.evaluation.results_tables import as_markdown, print_tables
    from langchain_toolken.evaluation.run import Plan, run, tabulate
    from langchain_toolken.evaluation.task_loaders import load_task

    if quick:
        tasks, questions, demonstrations = "nano", _QUICK_QUESTIONS, _QUICK_DEMONSTRATIONS
    console = terminal(stderr=as_json or markdown)
    if not console.is_terminal:  # a file has room for the tables
        console.width = max(console.width, _IN_A_FILE)

    @cache
    def task_named(name: str, naming: Naming) -> Task:
        from langchain_toolken.evaluation.other_names import renamed

        return renamed(load_task(name, data_dir), naming)

    def task_of(setting: Setting) -> Task:
        return task_named(setting.task, setting.naming)

    with reported(console):
        if not table:
            from langchain_toolken.decoding.local.shared import shared_engine
            from langchain_toolken.evaluation.methods.all_methods import methods_named

            plan = Plan(
                tasks=[task_named(name, names).sampled(questions) for name in dict.fromkeys(_parts(tasks))],
                methods=methods_named(methods),
                seeds=seeds,
                demonstrations=[
                    None if one == "all" else _number(one, "--demonstrations") for one in _parts(demonstrations)
                ],
                ablations=_ablations(lam, prior),
                names="" if names == "own" else f"names={names}",
                max_tokens=max_tokens,
                max_calls=max_calls,
                batch_size=batch_size,
            )
            for sentence in plan.left_out():
                console.print(sentence, highlight=False)
            engine = shared_engine(model, max_batch_size=batch_size, **parse_model_args(model_arg))
            try:
                with progress_bars(console, time_left=True) as progress:
                    run(engine, plan, out, progress)
            except KeyboardInterrupt:
                said = f"stopped: the answers are in {out}; the same command goes on, and --table tabulates them"
                console.print(shown(said, style="yellow"), soft_wrap=True)
                raise
        results = tabulate(out, task_of)
        with writing(out / "results.json"):
            (out / "results.json").write_text(results.model_dump_json(indent=1), encoding="utf-8")
        write_page(out, results, task_of)
        if as_json:
            print(results.model_dump_json(indent=1))
        elif markdown:
            print(as_markdown(results))
        else:
            print_tables(console, results)
            console.print(f"{out / 'results.html'}", highlight=False)


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",")]


def _number(text: str, option: str) -> int:
    if not text.isdigit():
        raise typer.BadParameter(f'{option} {text!r}: write numbers with commas between them, or "all"')
    return int(text)


def _ablations(lam: str, prior: str) -> Sequence[Ablation]:
    from langchain_toolken.evaluation.methods.method import Ablation
    from langchain_toolken.toolkens.priors import PriorConfig

    try:
        lams = [None if one == "auto" else float(one) for one in _parts(lam)]
        priors = [one if one in _WORDS else PriorConfig.parse(one) for one in _parts(prior)]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return [
        Ablation(each, None if other == "auto" else "random" if isinstance(other, str) else other)
        for each in lams
        for other in priors
    ]


_WORDS = ("auto", "random")  # what --prior takes that names no prior
