"""A comparison's tables, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from langchain_toolken.evaluation.results import Comparison, Results, Row, place_of

COLUMNS = (
    "method",
    "right (95%)",
    "right tool first",
    "arguments too",
    "false calls",
    "prompt tokens",
    "written",
    "passes",
    "seconds",
    "besides",
)
_NOTHING = ("–", "")
_NARROW = ("method", "right (95%)", "tool", "args", "false", "prompt", "wrote", "passes", "s")


def title_of(row: Row) -> str:
    """Say what a line's table is about: the task, its tools and the demonstrations."""
    return f"{row.setting.task}: {row.tools} tools, {row.setting.shown}"


def cells_of(row: Row) -> tuple[str, ...]:
    """Write a line of the table."""
    spread = f", {row.seeds} seeds {min(row.by_seed):.2f} to {max(row.by_seed):.2f}" if row.seeds > 1 else ""
    return (
        row.setting.label,
        f"{row.right} of {row.questions}{spread}",
        _percent(row.right_tool),
        _percent(row.right_arguments),
        _percent(row.false_calls),
        f"{row.prompt_tokens:,.0f}",
        f"{row.generated_tokens:.0f}",
        f"{row.lm_passes:.1f}",
        f"{row.seconds:.1f}",
        ", ".join(f"{name} {share:.2f}" for name, share in row.marks.items()),
    )


def tables_of(results: Results) -> dict[str, list[Row]]:
    """Return the lines of each table by its title; the lines in the methods' order."""
    found: dict[str, list[Row]] = {}
    for row in in_order(results.rows):
        found.setdefault(title_of(row), []).append(row)
    return found


def in_order(rows: Sequence[Row]) -> list[Row]:
    """Sort lines by task, fewest tools first, by demonstrations, and then as `by_method`."""

    def place(row: Row) -> tuple[str, int, str, float]:
        count = row.setting.demonstrations
        task = row.setting.task
        return task.rstrip("0123456789"), row.tools, task, float("inf") if count is None else count

    return sorted(by_method(rows), key=place)


def by_method(rows: Sequence[Row]) -> list[Row]:
    """Sort lines by method, as methods are listed, and by what is changed about it."""
    from langchain_toolken.evaluation.methods.all_methods import METHODS  # loads torch

    order = {name: place for place, name in enumerate(METHODS)}

    def place(row: Row) -> tuple[int, float, str]:
        setting = row.setting
        lam = setting.ablation.partition("lam=")[2].partition(",")[0]
        return order.get(setting.method, len(order)), float(lam or 0), setting.ablation

    return sorted(rows, key=place)


def columns_that_tell(cells: Sequence[Sequence[str]]) -> list[int]:
    """Return the places of the columns that say something of any line."""
    return [place for place in range(len(COLUMNS)) if any(each[place] not in _NOTHING for each in cells)]


def print_tables(console: Console, results: Results) -> None:
    """Print the tables, and which differences are more than chance."""
    console.print(heading(results), highlight=False)
    for title, rows in tables_of(results).items():
        table = Table(*_NARROW, title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.columns[0].no_wrap = table.columns[1].no_wrap = True
        for row in rows:
            table.add_row(*cells_of(row)[: len(_NARROW)])
        console.print(table)
    for one in results.comparisons:
        console.print(f"{one.task}: {said(one)}", highlight=False)


def as_markdown(results: Results) -> str:
    """Write the tables as Markdown, without columns that say nothing of any method."""
    lines = [heading(results), ""]
    comparisons = _by_task(results.comparisons)
    for title, rows in tables_of(results).items():
        cells = [cells_of(row) for row in rows]
        told = columns_that_tell(cells)
        lines += [f"**{title}**", "", _line([COLUMNS[place] for place in told]), _line(["---"] * len(told))]
        lines += [_line([each[place] for place in told]) for each in cells]
        places = dict.fromkeys(place_of(row.setting) for row in rows)
        found = [said(one) for place in places for one in comparisons.get(place, [])]
        lines += ["", *([f"{'; '.join(found)}.", ""] if found else [])]
    return "\n".join(lines)


def heading(results: Results) -> str:
    """Say where it was measured."""
    header = results.header
    versions = ", ".join(f"{name} {number}" for name, number in header.versions.items())
    return f"LM: {header.model}, {header.dtype}. {header.day}, {header.machine}; {versions}."


def said(one: Comparison) -> str:
    """Say how two methods differ."""
    p = f"p = {one.p:.3f}" if one.p >= 0.001 else "p < 0.001"
    return f"{one.one} against {one.other}: {one.difference:+.2f} ({p}, {one.questions} questions)"


def _by_task(comparisons: Sequence[Comparison]) -> dict[str, list[Comparison]]:
    found: dict[str, list[Comparison]] = {}
    for one in comparisons:
        found.setdefault(one.task, []).append(one)
    return found


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(share: float | None) -> str:
    return _NOTHING[0] if share is None else f"{share:.2f}"
