"""Progress bars for long work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from langchain_toolken.progress import Progress


@contextmanager
def progress_bars(console: Console, *, time_left: bool = False) -> Iterator[Progress]:
    """Yield a `progress(done, total, what)` callback that draws one bar for each `what`.

    Work that begins again, such as the LM pass over the plain requests, gets its bar and its clock from the start.

    Args:
        console: Where they are drawn.
        time_left: Estimate how long each takes yet.
    """
    columns = (TextColumn("{task.description:>24}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    left = (TextColumn("left"), TimeRemainingColumn()) if time_left else ()
    with Bars(*columns, *left, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def report(done: int, total: int, what: str) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            elif done < bars.tasks[tasks[what]].completed:
                bars.reset(tasks[what])
            bars.update(tasks[what], completed=done, total=total)

        yield report
