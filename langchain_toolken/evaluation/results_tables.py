"""A comparison's tables, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table

from langchain_toolken.evaluation.results import Comparison, Results, Row, Setting

DIFFERENCE = "difference (paired p)"
"""The column of how a method differs from others."""

_NOTHING = ("–", "")
_NARROW = {
    "method": "method",
    "right (95%)": "right (95%)",
    "right tool first": "tool",
    "arguments too": "args",
    "false calls": "false",
    "prompt tokens": "prompt",
    "written": "wrote",
    "passes": "passes",
    "seconds": "s",
}
"""The columns in a terminal, and what they are called there."""


def title_of(row: Row) -> str:
    """Say what a line's table is about: the task, its tools and the demonstrations."""
    return f"{row.setting.task}: {row.tools} tools, {row.setting.shown}"


@dataclass(frozen=True)
class TableText:
    """A table in words; columns that say nothing of any line are left out.

    Attributes:
        title: What it is about.
        columns: The columns' names.
        lines: Each line's cells.
    """

    title: str
    columns: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


def table_texts(results: Results) -> list[TableText]:
    """Write all tables."""
    compared: dict[Setting, list[Comparison]] = {}
    for one in results.comparisons:
        compared.setdefault(one.one, []).append(one)
    found, families = [], by_family(results.rows)
    for title, rows in tables_of(results).items():
        # The first table of tasks that differ in their tools alone comes after one of all of them.
        found += _by_tools(families.pop(family_of(rows[0]), ()))
        lines = [cells_of(row, compared.get(row.setting, [])) for row in rows]
        found.append(_table(title, lines))
    return found


def _by_tools(rows: Sequence[Row]) -> list[TableText]:
    """Write one table of a family's tasks, a column for each; none if they all have as many tools."""
    if len({row.tools for row in rows}) < 2:
        return []
    lines: dict[str, dict[str, str]] = {}
    for row in rows:
        line = lines.setdefault(row.setting.label, {"method": row.setting.label})
        line[f"{row.tools} tools"] = _right(row)
    order = list(dict.fromkeys(row.setting.label for row in by_method(rows)))
    columns = {"method": "", **{f"{count} tools": "" for count in sorted({row.tools for row in rows})}}
    title = f"{family_of(rows[0])}: right answers by the number of tools"
    return [_table(title, [columns | lines[label] for label in order])]


def _table(title: str, lines: Sequence[dict[str, str]]) -> TableText:
    columns = dict.fromkeys(column for line in lines for column in line)
    told = tuple(each for each in columns if any(line.get(each, "") not in _NOTHING for line in lines))
    return TableText(title, told, tuple(tuple(line.get(each, "") for each in told) for line in lines))


def family_of(row: Row) -> str:
    """Name tasks that differ only in their tools, with the demonstrations that they show."""
    family = row.setting.task.rstrip("0123456789").rstrip("_")
    return family if row.setting.demonstrations is None else f"{family}, {row.setting.shown}"


def by_family(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the lines of each family, the families and the lines in the tables' order."""
    found: dict[str, list[Row]] = {}
    for row in in_order(rows):
        found.setdefault(family_of(row), []).append(row)
    return found


def cells_of(row: Row, comparisons: Sequence[Comparison] = ()) -> dict[str, str]:
    """Write a line of the table by column, with how it differs from others, and a column for each mark."""
    return {
        "method": row.setting.label,
        "right (95%)": _right(row),
        DIFFERENCE: "; ".join(_difference(one, row.questions) for one in comparisons),
        "right tool first": _percent(row.right_tool),
        "arguments too": _percent(row.right_arguments),
        "false calls": _percent(row.false_calls),
        "prompt tokens": f"{row.prompt_tokens:,.0f}",
        "written": f"{row.generated_tokens:.0f}",
        "passes": f"{row.lm_passes:.1f}",
        "seconds": f"{row.seconds:.1f}",
        **{name: _percent(share) for name, share in row.marks.items()},
    }


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


def print_tables(console: Console, results: Results) -> None:
    """Print the tables, and which differences are more than chance."""
    console.print(heading(results), highlight=False)
    for title, rows in tables_of(results).items():
        table = Table(*_NARROW.values(), title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.columns[0].no_wrap = table.columns[1].no_wrap = True
        for row in rows:
            cells = cells_of(row)
            table.add_row(*(cells[column] for column in _NARROW))
        console.print(table)
    for one in results.comparisons:
        console.print(said(one), highlight=False)


def as_markdown(results: Results) -> str:
    """Write the tables as Markdown."""
    lines = [heading(results), ""]
    for table in table_texts(results):
        lines += [f"**{table.title}**", "", _line(table.columns), _line(["---"] * len(table.columns))]
        lines += [*map(_line, table.lines), ""]
    return "\n".join(lines)


def heading(results: Results) -> str:
    """Say where it was measured."""
    header = results.header
    versions = ", ".join(f"{name} {number}" for name, number in header.versions.items())
    return f"LM: {header.model}, {header.dtype}. {header.day}, {header.machine}; {versions}."


def said(one: Comparison) -> str:
    """Say where two methods were compared, and how they differ."""
    shown = "" if one.one.demonstrations is None else f", {one.one.shown}"
    count = f"{one.questions} question{'' if one.questions == 1 else 's'}"
    return (
        f"{one.one.task}{shown}: {one.one.label} against {one.other.label}: {one.difference:+.2f} ({_p(one)}, {count})"
    )


def _right(row: Row) -> str:
    spread = f", {row.seeds} seeds {min(row.by_seed):.2f} to {max(row.by_seed):.2f}" if row.seeds > 1 else ""
    return f"{row.right} of {row.questions}{spread}"


def _difference(one: Comparison, answered: int) -> str:
    fewer = "" if one.questions == answered else f", {one.questions} questions"
    return f"{one.difference:+.2f} from {one.other.method} ({_p(one)}{fewer})"


def _p(one: Comparison) -> str:
    return f"p = {one.p:.3f}" if one.p >= 0.001 else "p < 0.001"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _percent(share: float | None) -> str:
    return _NOTHING[0] if share is None else f"{share:.2f}"
