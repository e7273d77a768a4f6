"""One process at a time, and a process that dies lets go."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_toolken.disk.lock import held


def test_a_lock_is_held_once_and_leaves_no_file(tmp_path: Path) -> None:
    waited: list[int] = []
    with held(tmp_path / "lock") as alone:
        assert alone
        with pytest.raises(TimeoutError), held(tmp_path / "lock", patience=0.01, on_wait=lambda: waited.append(1)):
            raise AssertionError("held twice")
    assert waited == [1]
    assert list(tmp_path.iterdir()) == []
    with held(tmp_path / "lock") as alone:
        assert alone


def test_where_no_lock_can_be_made_it_is_not_held(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with held(tmp_path / "file" / "lock") as alone:
        assert not alone


def test_a_killed_process_lets_go(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom langchain_toolken.disk.lock import held\n"
        "with held(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with pytest.raises(TimeoutError), held(tmp_path / "lock", patience=0):
            raise AssertionError("held by two")
        process.send_signal(signal.SIGKILL)
        process.wait()
        with held(tmp_path / "lock", patience=60) as alone:
            assert alone


class Child(Exception):
    """Unwinds the stack of a fork."""


def test_a_fork_that_ends_inside_does_not_let_go(tmp_path: Path) -> None:
    try:
        with held(tmp_path / "lock"):
            child = os.fork()
            if child == 0:
                raise Child
            os.waitpid(child, 0)
            with pytest.raises(TimeoutError), held(tmp_path / "lock", patience=0):
                raise AssertionError("held by two")
    except Child:
        os._exit(0)
