"""`WriteError`: a failed write that names the file and the next step, whatever the operating system left out."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from langchain_toolken.errors import ToolkenError

# The errors of a disk that takes no more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_FREE = "free some space, or choose a place with more"
_FORBIDDEN = "choose a place that can be written"
_NEXT_STEPS = {
    errno.ENOSPC: _FREE,
    errno.EDQUOT: _FREE,
    errno.EFBIG: "choose a place that takes files of this size",
    errno.EROFS: _FORBIDDEN,
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EIO: "the disk or the network to it failed: try again, or choose another place",
}


class WriteError(ToolkenError, OSError):
    """A file can't be written. `errno`, `strerror` and `filename` are those of an `OSError`; the text names all."""

    def __init__(self, file: str | Path, error: OSError) -> None:
        super().__init__(error.errno, error.strerror or str(error), str(file))

    def __str__(self) -> str:
        step = _NEXT_STEPS.get(self.errno or 0, _FORBIDDEN)
        return f"{self.filename} can't be written: {self.strerror}. To go on, {step}"

    def __reduce__(self) -> tuple[type[WriteError], tuple[str, OSError]]:
        return WriteError, (str(self.filename), OSError(self.errno, self.strerror))


@contextmanager
def writing(file: str | Path) -> Iterator[None]:
    """Turn any `OSError` inside into a `WriteError` that names `file`.

    Write and sync fail without a file name, and a file is written under another name before it takes its place.
    """
    try:
        yield
    except WriteError:
        raise
    except OSError as error:
        raise WriteError(file, error) from error


def sync_folder(folder: Path) -> None:
    """Make names and renames in `folder` survive a power cut, where folders can be synced (not on Windows)."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # it may be written, but not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
