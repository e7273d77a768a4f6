"""kill -9 before every file-system call of a save, a fit and an update; then look, and do it again.

    python benchmarks/faults/kill_points.py

Needs strace. A save that was killed must leave the old set or the new one, whole. The same work, done again, must
succeed, and leave the same files as work that was never killed, and no others. `--every 5` takes each fifth call.
"""

from __future__ import annotations

import shutil
import signal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from strace_faults import require_strace, run_forked
from tally import Tally
from work import Work, contents, repeat, set_in, the_lm, unlike, works


def kill_at_each(work: Work, root: Path, start: int, every: int, tally: Tally) -> None:
    begun, whole = root / "begun", root / "whole"
    for folder in (begun, whole):
        work.prepare(folder)
    before = set_in(begun)
    watched = run_forked(repeat(work, whole), whole)
    if watched.status:
        tally.add(work.name, "did not run", watched.said)
        return
    after, expected = set_in(whole), contents(whole)
    for call in watched.calls[start::every]:
        folder = root / "killed"
        shutil.copytree(begun, folder)
        killed = run_forked(repeat(work, folder), folder, f"{call.name}:signal=KILL:when={call.number}")
        found = set_in(folder)
        again = run_forked(repeat(work, folder), folder)
        moment = f"before {call.name} {call.number} ({call.shown})"
        wrong = ""
        if killed.status != -signal.SIGKILL:
            wrong = f"{moment}: not killed, status {killed.status}: {killed.said}"
        elif found not in (before, after):
            wrong = f"{moment}: the set is {found}"
        elif again.status:
            wrong = f"{moment}: doing it again: {again.said}"
        elif set_in(folder) != after:
            wrong = f"{moment}: done again, the set is {set_in(folder)}"
        elif difference := unlike(contents(folder), expected):
            wrong = f"{moment}: done again, {difference}"
        tally.add(work.name, "new set" if found == after else "as before", wrong)
        shutil.rmtree(folder)


def main(
    every: Annotated[int, typer.Option(min=1, help="Take only each n-th call.")] = 1,
    start: Annotated[int, typer.Option(min=0, help="Leave out as many at the start.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Kill, look, do it again."""
    require_strace()
    lm = the_lm()
    tally = Tally("kill -9 before each file-system call")
    for work in works(lm):
        with TemporaryDirectory(prefix="kill-points-") as root:
            kill_at_each(work, Path(root).resolve(), start, every, tally)
    tally.close(as_json=as_json)


if __name__ == "__main__":
    typer.run(main)
