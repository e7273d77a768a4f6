"""Let every file-system call of a save, a fit and an update fail as on a full, read-only or broken disk.

    python benchmarks/faults/full_disk.py

Needs strace, which makes the n-th call of a kind fail with ENOSPC, EDQUOT, EIO, EROFS or EACCES in turn (no tmpfs and
no quota are needed), once or from there on. What fails must end in an error of this package that names a file of the
folder, or have no effect; the set that was there must still be, whole; and the same work, done again on a disk with
space, must succeed and leave the same files as work that never failed.
"""

from __future__ import annotations

import shutil
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from strace_faults import Call, require_strace, run_forked
from tally import Tally
from work import Work, contents, repeat, set_in, the_lm, unlike, works

FAULTS = ("ENOSPC", "EDQUOT", "EIO", "EROFS", "EACCES")
# What a full disk refuses. Deleting works on it, and so does reading.
FAILING = ("openat", "open", "mkdir", "mkdirat", "write", "writev", "pwrite64", "fsync", "ftruncate", "fallocate")


def can_fail(call: Call) -> bool:
    if call.name in ("openat", "open"):
        return "O_CREAT" in call.shown or "O_WRONLY" in call.shown or "O_RDWR" in call.shown
    return call.name in FAILING or call.name.startswith("rename")


def fail_at_each(work: Work, root: Path, every: int, tally: Tally) -> None:
    begun, whole = root / "begun", root / "whole"
    for folder in (begun, whole):
        work.prepare(folder)
    before = set_in(begun)
    watched = run_forked(repeat(work, whole), whole)
    if watched.status:
        tally.add(work.name, "did not run", watched.said)
        return
    after, expected = set_in(whole), contents(whole)
    faults = cycle((fault, when) for fault in FAULTS for when in ("", "+"))
    for call in [call for call in watched.calls if can_fail(call)][::every]:
        folder = root / "failed"
        shutil.copytree(begun, folder)
        fault, when = next(faults)
        failed = run_forked(repeat(work, folder), folder, f"{call.name}:error={fault}:when={call.number}{when}")
        found = set_in(folder)
        again = run_forked(repeat(work, folder), folder)
        moment = f"{fault} at {call.name} {call.number}{when} ({call.shown})"
        wrong = ""
        if failed.status and not ("ToolkenError" in failed.said and str(folder) in failed.said):
            wrong = f"{moment}: the error names no file: {failed.said}"
        elif found not in ((before, after) if failed.status else (after,)):
            wrong = f"{moment}: the set is {found}"
        elif again.status:
            wrong = f"{moment}: doing it again: {again.said}"
        elif set_in(folder) != after:
            wrong = f"{moment}: done again, the set is {set_in(folder)}"
        elif difference := unlike(contents(folder), expected):
            wrong = f"{moment}: done again, {difference}"
        tally.add(work.name, "an error that names the file" if failed.status else "no effect", wrong)
        shutil.rmtree(folder)


def main(
    every: Annotated[int, typer.Option(min=1, help="Take only each n-th call.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Let a call fail, look, do it again."""
    require_strace()
    lm = the_lm()
    tally = Tally("every file-system call fails (ENOSPC, EDQUOT, EIO, EROFS, EACCES in turn)")
    for work in works(lm):
        with TemporaryDirectory(prefix="full-disk-") as root:
            fail_at_each(work, Path(root).resolve(), every, tally)
    tally.close(as_json=as_json)


if __name__ == "__main__":
    typer.run(main)
