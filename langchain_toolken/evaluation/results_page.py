"""`results.html`: a comparison as one page without outside assets, and the same question's traces of two methods."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from langchain_toolken.disk.writing import writing
from langchain_toolken.evaluation.results import Results, Row, Setting, graded, settings_in
from langchain_toolken.evaluation.results_tables import COLUMNS, cells_of, heading, said, tables_of
from langchain_toolken.evaluation.tasks import Task

# Told apart without colour: each method has a mark and a dash of its own.
_MARKS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "star", "hexagon", "bowtie")
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_TRACED = 12  # questions of each task whose traces are in the page


def write_page(out: Path, results: Results, task_of: Callable[[Setting], Task]) -> None:
    """Write the page into the folder of the answers."""
    text = results_page(results, traces_of(out, task_of))
    file = out / "results.html"
    with writing(file):
        file.write_text(text, encoding="utf-8")


def traces_of(out: Path, task_of: Callable[[Setting], Task]) -> dict[str, dict[str, dict[str, object]]]:
    """Gather traces: by task and question, what was asked and each method's steps."""
    found: dict[str, dict[str, dict[str, object]]] = {}
    for setting in settings_in(out):
        task = task_of(setting)
        one = graded(out, setting, task)
        name = setting.method + (f" ({setting.ablation})" if setting.ablation else "")
        shown = "" if setting.demonstrations is None else f", {setting.demonstrations} demonstrations a tool"
        asked = {each.id: each for each in task.questions}
        for seed, run in list(one.runs.items())[:1]:
            for question in list(run)[:_TRACED]:
                attempt, grade = run[question]
                of_task = found.setdefault(setting.task + shown, {})
                entry = of_task.setdefault(
                    question,
                    {
                        "text": asked[question].text[-600:],
                        "answer": "; ".join(asked[question].answers[:3]) or (asked[question].tool or "no tool"),
                        "methods": {},
                    },
                )
                methods = entry["methods"]
                assert isinstance(methods, dict)
                methods[name] = {
                    "right": grade.right,
                    "seed": seed,
                    "tokens": attempt.prompt_tokens,
                    "steps": [[step.kind, step.text] for step in attempt.trace if step.kind != "prompt"],
                }
    return found


def results_page(results: Results, traces: dict[str, dict[str, dict[str, object]]]) -> str:
    """Render the page. Everything that comes from files is escaped."""
    environment = Environment(
        loader=PackageLoader("langchain_toolken.evaluation", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    shown: list[tuple[str, Markup]] = []
    script: str | bool = True  # the first figure brings plotly's script along
    for title, figure in figures(results.rows):
        text = figure.to_html(
            full_html=False, include_plotlyjs=script, div_id=f"figure{len(shown)}", config={"displaylogo": False}
        )
        # Safe: plotly writes its JSON with "<", ">" and "/" escaped, and names are escaped in `_line`.
        shown.append((title, Markup(text)))
        script = False
    # Safe: no "<" is left that could end the script, and the page's script writes texts as text.
    embedded = Markup(json.dumps(traces, ensure_ascii=False).replace("<", "\\u003c"))
    tables = [(title, [cells_of(row) for row in rows]) for title, rows in tables_of(results).items()]
    return environment.get_template("results.html.jinja").render(
        heading=heading(results),
        columns=COLUMNS,
        tables=tables,
        comparisons=[(one.task, said(one)) for one in results.comparisons],
        figures=shown,
        traces=embedded,
    )


def figures(rows: Sequence[Row]) -> list[tuple[str, go.Figure]]:
    """Draw what the runs contain; a figure whose points have only one place on its axis is left out."""
    found = []
    plain = [row for row in rows if not row.setting.ablation]
    by_kind: dict[str, list[Row]] = {}
    for row in plain:
        by_kind.setdefault(row.setting.task.rstrip("0123456789").rstrip("_"), []).append(row)
    for family, own in by_kind.items():
        title = f"{family}: right answers against the number of tools"
        found.append((title, _drawn(own, lambda row: row.tools, _right, "tools", "right", log=True)))
    found.append(
        (
            "Prompt tokens of a question against the number of tools",
            _drawn(plain, lambda row: row.tools, _tokens, "tools", "prompt tokens", log=True),
        )
    )
    for task, own in _by_task(plain).items():
        title = f"{task}: right answers against demonstrations a tool"
        of_each = [row for row in own if row.setting.demonstrations is not None]
        found.append((title, _drawn(of_each, _demonstrations, _right, "demonstrations a tool", "right")))
        found.append(
            (
                f"{task}: recall against false calls",
                _drawn(
                    [row for row in own if row.false_calls is not None and row.called is not None],
                    lambda row: row.false_calls or 0.0,
                    lambda row: (row.called or 0.0, None),
                    "calls for requests that need no tool",
                    "calls for requests that need one",
                    single=True,
                ),
            )
        )
    for task, own in _by_task([row for row in rows if row.setting.ablation.startswith("lam=")]).items():
        found.append((f"{task}: right answers against λ", _drawn(own, _lam, _right, "λ", "right", log=True)))
    return [(title, figure) for title, figure in found if figure is not None]


def _drawn(
    rows: Sequence[Row],
    x: Callable[[Row], float],
    y: Callable[[Row], tuple[float, tuple[float, float] | None]],
    across: str,
    up: str,
    *,
    log: bool = False,
    single: bool = False,
) -> go.Figure | None:
    if not rows or (not single and len({x(row) for row in rows}) < 2):
        return None
    figure = go.Figure()
    for number, name in enumerate(dict.fromkeys(row.setting.method for row in rows)):
        own = sorted((row for row in rows if row.setting.method == name), key=x)
        values = [y(row) for row in own]
        errors = [each[1] for each in values]
        figure.add_trace(
            go.Scatter(
                x=[x(row) for row in own],
                y=[each[0] for each in values],
                error_y=None
                if None in errors
                else {
                    "type": "data",
                    "symmetric": False,
                    "array": [pair[1] for pair in errors if pair],
                    "arrayminus": [pair[0] for pair in errors if pair],
                    "thickness": 1,
                },
                name=html.escape(name),
                mode="markers" if single else "lines+markers",
                marker={"symbol": _MARKS[number % len(_MARKS)], "size": 9},
                line={"dash": _DASHES[number % len(_DASHES)]},
                text=[html.escape(row.setting.task) for row in own],
            )
        )
    figure.update_xaxes(title=across, type="log" if log else None)
    figure.update_yaxes(title=up, rangemode="tozero")
    figure.update_layout(
        template="plotly_white", height=420, margin={"l": 60, "r": 20, "t": 20, "b": 50}, font={"size": 13}
    )
    return figure


def _right(row: Row) -> tuple[float, tuple[float, float] | None]:
    mean = row.right.mean
    return mean, (mean - row.right.low, row.right.high - mean)


def _tokens(row: Row) -> tuple[float, tuple[float, float] | None]:
    return row.prompt_tokens, None


def _demonstrations(row: Row) -> float:
    return float(row.setting.demonstrations or 0)


def _lam(row: Row) -> float:
    return float(row.setting.ablation.partition("lam=")[2].partition(",")[0])


def _by_task(rows: Sequence[Row]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.setting.task, []).append(row)
    return found
