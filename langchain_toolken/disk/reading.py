"""Read files that anyone may have put there: without waiting for a pipe, reading a device, or filling the memory."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, NoReturn

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


@contextmanager
def opened(file: Path, *, most: int | None = None) -> Iterator[BufferedReader]:
    """Open a regular file, or a link to one, for reading.

    Args:
        file: The file.
        most: Most bytes that it may have; None for any number.

    Raises:
        OSError: It can't be opened, is no regular file, or is larger. `strerror` says which.
    """
    # Opening a device can have effects of its own, and opening a pipe waits: so look first.
    _check_kind(file, file.stat())
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(descriptor)
        _check_kind(file, status)
        if most is not None and status.st_size > most:
            _refuse(errno.EFBIG, f"it has {status.st_size:,} bytes, more than {most:,}", file)
        yield stream


def read_file(file: Path, *, most: int | None = None) -> bytes:
    """Return the content of a regular file. Arguments and errors are those of `opened`."""
    with opened(file, most=most) as stream:
        content = stream.read() if most is None else stream.read(most + 1)
    if most is not None and len(content) > most:
        _refuse(errno.EFBIG, f"it has more than {most:,} bytes", file)
    return content


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a regular file, in hex, without holding all of it in memory.

    Raises:
        OSError: As for `opened`.
    """
    with opened(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def parse_json(content: bytes) -> Any:
    """Parse JSON in UTF-8.

    Raises:
        ValueError: It is not JSON, holds NaN or Infinity, is nested too deeply, or has a number of too many digits.
    """
    try:
        return json.loads(content, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"it holds {name}, which is not JSON")


def _check_kind(file: Path, status: os.stat_result) -> None:
    for is_kind, name in _KINDS:
        if is_kind(status.st_mode):
            _refuse(errno.EISDIR if name == "a folder" else errno.EINVAL, f"it is {name}, not a file", file)


def _refuse(number: int, why: str, file: Path) -> NoReturn:
    raise OSError(number, why, str(file))
