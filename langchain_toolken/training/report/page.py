"""`report.html`: a fit's report as one page that needs no network; plotly's script is inside it."""

from __future__ import annotations

import html
from collections.abc import Sequence

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from langchain_toolken.training.report.records import NO_CALL, FitReport, LamTried, Reliability, ToolReport

# With more tools, labels would cover the map; names are then shown on hover only.
_LABELLED_TOOLS = 60
# With more tools, the cells of the matrix are too small to see.
_MATRIX_TOOLS = 60
_COLOURS = ("#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#b45309", "#0e7490")
_GREY = "#9ca3af"


def report_page(report: FitReport) -> str:
    """Render the page. Names, descriptions and words are escaped, because they come from outside."""
    environment = Environment(
        loader=PackageLoader("langchain_toolken.training.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = {
        "path": _path(report.path, report.prior, report.lam) if report.path else None,
        "calibration": _calibration(report.reliability_before, report.reliability_after)
        if report.reliability_before
        else None,
        "when": _calibration(report.when.before, report.when.after, "requests for a tool") if report.when else None,
        "which": _calibration(report.which.before, report.which.after, "right tools") if report.which else None,
        "confusions": _matrix(report) if report.confusions and len(report.tools) <= _MATRIX_TOOLS else None,
        "map": _map(report) if report.tools else None,
    }
    shown: dict[str, Markup | None] = {}
    script: str | bool = True  # the first figure brings plotly's script along
    for name, figure in figures.items():
        if figure is None:
            shown[name] = None
            continue
        text = figure.to_html(full_html=False, include_plotlyjs=script, div_id=name, config={"displaylogo": False})
        # Safe: plotly writes its JSON with "<", ">" and "/" escaped, and the texts inside are escaped below.
        shown[name] = Markup(text)
        script = False
    return environment.get_template("report.html.jinja").render(report=report, figures=shown, no_call=NO_CALL)


def _path(path: Sequence[LamTried], prior: str, lam: float | None) -> go.Figure:
    figure = go.Figure()
    for number, name in enumerate(dict.fromkeys(point.prior for point in path)):
        points = sorted((point for point in path if point.prior == name), key=lambda point: point.lam)
        figure.add_trace(
            go.Scatter(
                x=[point.lam for point in points],
                y=[point.loss for point in points],
                error_y={"type": "data", "array": [point.error for point in points]},
                mode="lines+markers",
                name=name,
                line={"color": _COLOURS[number % len(_COLOURS)]},
                customdata=[[point.top1, point.best_f1] for point in points],
                hovertemplate="λ=%{x:g}: loss %{y:.4f}, right tool %{customdata[0]:.3f}, best F1 %{customdata[1]:.3f}",
            )
        )
    chosen = [point for point in path if (point.prior, point.lam) == (prior, lam)]
    figure.add_trace(
        go.Scatter(
            x=[point.lam for point in chosen],
            y=[point.loss for point in chosen],
            mode="markers",
            name="chosen",
            marker={"size": 18, "symbol": "circle-open", "color": "black", "line": {"width": 2}},
            hoverinfo="skip",
        )
    )
    figure.update_xaxes(type="log", title="λ", exponentformat="power")
    figure.update_yaxes(title="held-out loss")
    return _laid_out(figure)


def _calibration(before: Sequence[Reliability], after: Sequence[Reliability], what: str = "right calls") -> go.Figure:
    figure = go.Figure(
        go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name="means what it says", line={"color": _GREY, "dash": "dot"})
    )
    for name, bins, colour in (("before", before, _COLOURS[0]), ("after", after, _COLOURS[1])):
        figure.add_trace(
            go.Scatter(
                x=[b.probability for b in bins],
                y=[b.right for b in bins],
                mode="lines+markers",
                name=name,
                line={"color": colour},
                customdata=[b.mass for b in bins],
                hovertemplate="said %{x:.3f}, came true %{y:.3f} (%{customdata:.0%} of them)",
            )
        )
    figure.update_xaxes(title="probability", range=[0, 1.02])
    figure.update_yaxes(title=f"share of {what}", range=[0, 1.02])
    return _laid_out(figure)


def _matrix(report: FitReport) -> go.Figure:
    names = [NO_CALL, *(tool.name for tool in report.tools)]
    place = {name: i for i, name in enumerate(names)}
    counts: list[list[float | None]] = [[None] * len(names) for _ in names]
    for pair in report.confusions:
        counts[place[pair.due]][place[pair.called]] = pair.count
    escaped = [html.escape(name) for name in names]
    figure = go.Figure(
        go.Heatmap(
            x=escaped,
            y=escaped,
            z=counts,
            colorscale="OrRd",
            hovertemplate="due %{y}, called %{x}: %{z:.0f}",
            hoverongaps=False,
        )
    )
    figure.update_xaxes(title="called", tickangle=-45, type="category")
    figure.update_yaxes(title="due", autorange="reversed", type="category")
    return _laid_out(figure, height=320 + 14 * len(names))


def _map(report: FitReport) -> go.Figure:
    labelled = len(report.tools) <= _LABELLED_TOOLS
    figure = go.Figure(
        go.Scatter(
            x=[word.x for word in report.words],
            y=[word.y for word in report.words],
            text=[html.escape(word.word) for word in report.words],
            mode="text" if labelled else "markers",
            marker={"size": 3, "color": _GREY},
            textfont={"size": 10, "color": _GREY},
            hovertemplate="%{text}<extra>word</extra>",
            name="words",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=[tool.x for tool in report.tools],
            y=[tool.y for tool in report.tools],
            text=[html.escape(tool.name) for tool in report.tools],
            customdata=[_near(tool) for tool in report.tools],
            mode="markers+text" if labelled else "markers",
            textposition="top center",
            marker={"size": 9 if labelled else 6, "color": _COLOURS[0]},
            hovertemplate="<b>%{text}</b><br>%{customdata}<extra></extra>",
            name="toolkens",
        )
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return _laid_out(figure, height=640)


def _near(tool: ToolReport) -> str:
    words = ", ".join(word.name for word in tool.nearest_words[:5])
    tools = ", ".join(other.name for other in tool.nearest_tools[:3])
    return html.escape(f"words: {words}") + ("<br>" + html.escape(f"tools: {tools}") if tools else "")


def _laid_out(figure: go.Figure, height: int = 420) -> go.Figure:
    figure.update_layout(
        template="plotly_white", height=height, margin={"l": 60, "r": 20, "t": 20, "b": 50}, font={"size": 13}
    )
    return figure
