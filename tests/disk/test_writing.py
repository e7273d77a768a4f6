"""A failed write names the file and the next step."""

from __future__ import annotations

import errno
import os
import pickle

import pytest

from langchain_toolken.disk.writing import WriteError, writing
from langchain_toolken.errors import ToolkenError


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "choose a place that can be written"),
        (errno.EACCES, "choose a place that can be written"),
        (errno.EIO, "the disk or the network to it failed"),
    ],
)
def test_a_failed_write_names_the_file_and_the_next_step(number: int, step: str) -> None:
    with pytest.raises(WriteError) as caught, writing("/a/file"):
        raise OSError(number, os.strerror(number))
    assert str(caught.value).startswith(f"/a/file can't be written: {os.strerror(number)}. To go on, {step}")
    assert isinstance(caught.value, OSError)
    assert isinstance(caught.value, ToolkenError)
    assert (caught.value.errno, caught.value.filename) == (number, "/a/file")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - our own


def test_the_innermost_name_stays() -> None:
    with pytest.raises(WriteError, match="^inner"), writing("outer"), writing("inner"):
        raise OSError(errno.EIO, "broken")
