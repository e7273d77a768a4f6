"""Run a function in a fork of this process while strace makes one of its system calls fail, or the last of its life.

strace attaches to the fork before the function begins, so the LM and all imports are there already and a run takes as
long as the function. It needs `strace` (Debian: apt install strace) and leave to trace (root, or a ptrace_scope of 0).
"""

from __future__ import annotations

import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# Calls that change a file system, and those before which a kill is a new moment: opening and locking.
CALLS = (
    *("openat", "open", "creat", "mkdir", "mkdirat", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir"),
    *("write", "writev", "pwrite64", "fsync", "fdatasync", "ftruncate", "truncate", "fallocate", "flock"),
)
_SAID = 1 << 16


@dataclass(frozen=True)
class Call:
    """One system call of a run.

    Attributes:
        name: Its name.
        number: The how manieth of its name in the run, from 1.
        shown: How strace shows it.
    """

    name: str
    number: int
    shown: str


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Attributes:
        status: Exit status; minus the signal's number if a signal ended it.
        said: What it returned or raised.
        calls: Its calls that touched the folder that was watched.
    """

    status: int
    said: str
    calls: tuple[Call, ...]


def require_strace() -> None:
    """End the script if strace is missing or may not trace."""
    if shutil.which("strace") is None:
        sys.exit("error: strace is not installed: apt install strace")
    if run_forked(lambda: "ran", Path("/nowhere")).said != "ran":
        sys.exit("error: strace may not trace here: run as root, or set /proc/sys/kernel/yama/ptrace_scope to 0")


def run_forked(function: Callable[[], str], watched: Path, *inject: str) -> Ended:
    """Run `function` in a fork.

    Args:
        function: Returns what happened, in words.
        watched: Calls that name a path in this folder, or a file opened in it, are listed.
        inject: strace's faults, such as "write:error=ENOSPC:when=3".
    """
    said = mmap.mmap(-1, _SAID)  # memory, since writing may fail
    child = os.fork()
    if child == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        status = 0
        try:
            text = function()
        except BaseException as error:  # noqa: BLE001 - told, whatever it is
            status, text = 1, f"{type(error).__mro__[:-1]} {error}"
        said.write(text.encode(errors="replace")[:_SAID])
        os._exit(status)
    os.waitpid(child, os.WUNTRACED)
    with tempfile.NamedTemporaryFile("r", prefix="strace-") as log:
        command = ["strace", "-f", "-y", "-s", "0", "-e", f"trace={','.join(f'?{name}' for name in CALLS)}"]
        command += [option for one in inject for option in ("-e", f"inject={one}")]
        tracer = subprocess.Popen([*command, "-o", log.name, "-p", str(child)], stderr=subprocess.DEVNULL)
        while tracer.poll() is None and _tracer_of(child) != tracer.pid:
            time.sleep(0.002)
        os.kill(child, signal.SIGCONT)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        tracer.wait()
        calls = _calls(log.read(), child, watched)
    return Ended(status, said[:].rstrip(b"\0").decode(errors="replace"), calls)


def _tracer_of(pid: int) -> int:
    found = re.search(r"TracerPid:\t(\d+)", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) if found else 0


def _calls(log: str, pid: int, watched: Path) -> tuple[Call, ...]:
    numbers: Counter[str] = Counter()
    calls = []
    for line in log.splitlines():
        thread, _, rest = line.partition(" ")
        name = re.match(r"\s*([a-z0-9]+)\(", rest)
        if name is None or int(thread) != pid:
            continue
        numbers[name[1]] += 1
        if str(watched) in rest:
            calls.append(Call(name[1], numbers[name[1]], rest.strip()))
    return tuple(calls)
