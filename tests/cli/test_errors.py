"""What the terminal tells of errors: the file, and the next step where there is one."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from langchain_toolken.cli.errors import message_of
from langchain_toolken.disk.writing import WriteError


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (WriteError("a.json", OSError(errno.ENOSPC, "No space")), "a.json can't be written: No space. To go on, free"),
        (PermissionError(errno.EACCES, "Permission denied", "b.json"), "b.json: Permission denied"),
        (OSError(errno.ENOSPC, "No space"), "standard output can't be written: No space. To go on, free"),
        (OSError("odd"), "odd"),
    ],
)
def test_an_error_is_told_with_its_file(error: OSError, said: str) -> None:
    assert message_of(error).startswith(said)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["inspect", "--help"]])
def test_output_that_cannot_be_written_is_told_in_one_line(arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "langchain_toolken.cli", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("error: standard output can't be written: No space left on device")
    assert len(done.stderr.splitlines()) == 1
