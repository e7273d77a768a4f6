"""One process at a time, by a lock that the operating system takes back from a process that dies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout


@contextmanager
def held(file: Path, *, patience: float = -1, on_wait: Callable[[], None] | None = None) -> Iterator[bool]:
    """Hold the lock `file` inside.

    Args:
        file: The lock's file, made here and removed at the end. Its folder must exist.
        patience: Most seconds to wait for another process; below 0: until it is done.
        on_wait: Called once if another process has the lock, before waiting.

    Yields:
        Whether it is held. Not where the file system has no locks or can't be written.

    Raises:
        TimeoutError: Another process kept it for `patience` seconds.
    """
    lock = FileLock(file)
    owner = 0
    try:
        try:
            lock.acquire(timeout=0)
            owner = os.getpid()
        except Timeout:
            if patience != 0 and on_wait is not None:
                on_wait()
            lock.acquire(timeout=patience)
            owner = os.getpid()
        except (OSError, NotImplementedError):
            pass
        yield bool(owner)
    finally:
        # A fork of this process that ends in here must not let go of the lock.
        if owner == os.getpid():
            # Removed while held: whoever waits for it finds its file gone, and makes a new one.
            with suppress(OSError):
                file.unlink()
            lock.release()
