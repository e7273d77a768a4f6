"""`results.html`: a comparison as one page without outside assets."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from langchain_toolken.disk.writing import writing
from langchain_toolken.evaluation.methods.ours import OURS, ZERO_SHOT
from langchain_toolken.evaluation.methods.papers import RECIPES
from langchain_toolken.evaluation.results import Results, Row, Setting
from langchain_toolken.evaluation.results_tables import (
    DIFFERENCE,
    by_family,
    by_method,
    heading,
    in_order,
    table_texts,
)
from langchain_toolken.evaluation.tasks import Task
from langchain_toolken.evaluation.traces import Traces, as_json, traces_of

# Told apart without colour: each method has a mark of its own, and the dashes and dark inks take turns.
_SHAPES = ("circle", "square", "diamond", "cross", "x", "triangle-up", "triangle-down", "star", "hexagon", "bowtie")
_MARKS = (*_SHAPES, *(f"{shape}-open" for shape in _SHAPES), *(f"{shape}-dot" for shape in _SHAPES))
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_INKS = ("#000000", "#1f4e8c", "#8c2d04", "#0b6e4f", "#5e3c99")
_APART = 0.15  # of the way to the next place, for all lines together


def write_page(out: Path, results: Results, task_of: Callable[[Setting], Task]) -> None:
    """Write the page into the folder of the answers."""
    text = results_page(results, traces_of(out, task_of))
    file = out / "results.html"
    with writing(file):
        file.write_text(text, encoding="utf-8")


def results_page(results: Results, traces: Traces) -> str:
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
    embedded = Markup(as_json(traces).replace("<", "\\u003c"))
    return environment.get_template("results.html.jinja").render(
        heading=heading(results),
        tables=table_texts(results),
        worded=(DIFFERENCE,),
        figures=shown,
        traces=embedded,
    )


def figures(rows: Sequence[Row]) -> list[tuple[str, go.Figure]]:
    """Draw what the runs contain; lines with one place on the axis are left out, and figures without any other."""
    found: list[tuple[str, go.Figure | None]] = []
    rows = in_order(rows)
    for family, lines in by_family(rows).items():
        own = by_method(lines)
        plain = [row for row in own if not row.setting.ablation]
        tools = _Axis("tools", lambda row: row.tools, ticks={row.tools: str(row.tools) for row in own}, log=True)
        found.append((f"{family}: right answers against the number of tools", _drawn(plain, tools, _RIGHT)))
        reading = [row for row in plain if row.prompt_tokens]
        found.append(
            (f"{family}: prompt tokens of a question against the number of tools", _drawn(reading, tools, _READ))
        )
        changed = {row.setting.method for row in own if row.setting.ablation}
        both = [row for row in own if row.setting.method in changed]
        if len(both) > len(changed):
            title = f"{family}: right answers with something changed, against the number of tools"
            found.append((title, _drawn(both, tools, _RIGHT, lambda row: row.setting.label)))
    plain = [row for row in rows if not row.setting.ablation]
    for task, own in _together(plain, lambda row: row.setting.task).items():
        found.append((f"{task}: right answers against demonstrations a tool", _by_demonstrations(own)))
        told = [row for row in own if row.false_calls is not None and row.called is not None]
        called = _Axis("calls for requests that need one", lambda row: row.called or 0.0)
        false = _Axis("calls for requests that need no tool", lambda row: row.false_calls or 0.0)
        found.append((f"{task}: recall against false calls", _drawn(told, false, called, single=True)))
    by_lam = [row for row in rows if row.setting.ablation.startswith("lam=")]
    for task, own in _together(by_lam, lambda row: row.setting.task).items():
        own += [row for row in plain if _is_published(row, own)]
        lam = _Axis("λ", _lam, ticks={_lam(row): f"{_lam(row):g}" for row in own}, log=True)
        found.append((f"{task}: right answers against λ", _drawn(own, lam, _RIGHT)))
    return [(title, figure) for title, figure in found if figure is not None]


@dataclass(frozen=True)
class _Axis:
    """What a figure shows along one side.

    Attributes:
        title: What it says there.
        of: The value of a line of the table.
        interval: How far the value's interval reaches down and up; None where there is none.
        ticks: The values that are named, and how; empty for plotly's own.
        log: Whether steps are factors.
    """

    title: str
    of: Callable[[Row], float]
    interval: Callable[[Row], tuple[float, float]] | None = None
    ticks: Mapping[float, str] = field(default_factory=dict)
    log: bool = False

    def apart(self, value: float, number: int, lines: int) -> float:
        """Move a point a little to the side, so that the lines' points at one value can be told apart."""
        step = (number - (lines - 1) / 2) / lines * _APART
        return value * (1 + step) if self.log else value + step

    def layout(self) -> dict[str, object]:
        """What plotly is told of it."""
        own: dict[str, object] = {"title": self.title, "type": "log" if self.log else "linear"}
        if self.ticks:
            own |= {"tickvals": list(self.ticks), "ticktext": list(self.ticks.values()), "minor": {"nticks": 0}}
        return own


def _by_demonstrations(rows: Sequence[Row]) -> go.Figure | None:
    """Draw a task's answers against demonstrations a tool, "all" at the end; without any, ours is `ours_zero_shot`."""
    seen = [row for row in rows if row.setting.method != ZERO_SHOT.name]
    counts = sorted({row.setting.demonstrations for row in seen}, key=lambda count: (count is None, count or 0))
    if len(counts) < 2:
        return None
    untrained = max((row for row in rows if row not in seen), key=lambda row: row.questions, default=None)
    places: list[int | None] = [*([] if untrained is None else [0]), *counts]
    if untrained is not None and any(row.setting.method == OURS.name for row in seen):
        same = untrained.setting.model_copy(update={"method": OURS.name, "demonstrations": 0})
        seen.append(untrained.model_copy(update={"setting": same}))
    ticks = {float(place): "all" if count is None else str(count) for place, count in enumerate(places)}
    across = _Axis("demonstrations a tool", lambda row: places.index(row.setting.demonstrations), ticks=ticks)
    return _drawn(seen, across, _RIGHT)


def _drawn(
    rows: Sequence[Row],
    x: _Axis,
    y: _Axis,
    name: Callable[[Row], str] = lambda row: row.setting.method,
    *,
    single: bool = False,
) -> go.Figure | None:
    lines = _together(rows, name)
    if not single:
        lines = {label: own for label, own in lines.items() if len({x.of(row) for row in own}) > 1}
    if not lines:
        return None
    figure = go.Figure()
    for number, (label, own) in enumerate(lines.items()):
        own = sorted(own, key=x.of)
        ink = _INKS[number % len(_INKS)]
        reach = None if y.interval is None else [y.interval(row) for row in own]
        figure.add_trace(
            go.Scatter(
                x=[x.of(row) if single else x.apart(x.of(row), number, len(lines)) for row in own],
                y=[y.of(row) for row in own],
                error_y=reach
                and {
                    "type": "data",
                    "symmetric": False,
                    "array": [up for _, up in reach],
                    "arrayminus": [down for down, _ in reach],
                    "thickness": 1,
                    "width": 3,
                    "color": "#888888",
                },
                name=html.escape(label),
                mode="markers" if single else "lines+markers",
                marker={"symbol": _MARKS[number % len(_MARKS)], "size": 9, "color": ink},
                line={"dash": _DASHES[number % len(_DASHES)], "color": ink, "width": 1.5},
                text=[html.escape(row.setting.task) for row in own],
            )
        )
    figure.update_xaxes(**x.layout())
    figure.update_yaxes(**y.layout(), rangemode="normal" if y.log else "tozero")
    figure.update_layout(
        template="plotly_white",
        height=max(420, 100 + 20 * len(lines)),  # so that the whole list of methods is seen
        margin={"l": 60, "r": 20, "t": 20, "b": 50},
        font={"size": 13},
        showlegend=True,
    )
    return figure


def _right(row: Row) -> float:
    return row.right.mean


def _reach(row: Row) -> tuple[float, float]:
    return row.right.mean - row.right.low, row.right.high - row.right.mean


_RIGHT = _Axis("right", _right, _reach)
_READ = _Axis("prompt tokens", lambda row: row.prompt_tokens, log=True)


def _lam(row: Row) -> float:
    told = row.setting.ablation.partition("lam=")[2].partition(",")[0]
    return float(told) if told else RECIPES[row.setting.method].lam


def _is_published(row: Row, by_lam: Sequence[Row]) -> bool:
    """Say whether a line with nothing changed is its recipe's at the published λ, which the others leave out."""
    if row.setting.method not in RECIPES:
        return False
    place = (row.setting.task, row.setting.method, row.setting.demonstrations)
    same = [one for one in by_lam if (one.setting.task, one.setting.method, one.setting.demonstrations) == place]
    return bool(same) and _lam(row) not in map(_lam, same)


def _together(rows: Sequence[Row], key: Callable[[Row], str]) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found
