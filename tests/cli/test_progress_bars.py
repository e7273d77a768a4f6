"""Progress bars: one line for each kind of work."""

from __future__ import annotations

import io
import re

from rich.console import Console

from langchain_toolken.cli.progress_bars import progress_bars


def test_work_that_begins_again_gets_its_clock_from_the_start() -> None:
    seconds = 0.0
    console = Console(file=io.StringIO(), width=80, force_terminal=True, get_time=lambda: seconds)
    with progress_bars(console) as progress:
        progress(1, 4, "LM pass")
        seconds = 50.0
        progress(4, 4, "LM pass")
        progress(2, 9, "LM pass")
        seconds = 53.0
        progress(9, 9, "LM pass")
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    last = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", drawn).splitlines()[-1].split("LM pass")[-1]
    assert re.search(r"9/9 +0:00:03", last), last
