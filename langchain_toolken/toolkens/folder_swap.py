"""Replace a folder as a whole: whatever interrupts it, readers find the old files or the new ones, never a mix.

The new folder is written and synced next to the target as `.NAME.new-*`. The old folder is renamed to `.NAME.old-*`,
the new one is renamed to NAME, and the old one is deleted. If the process is killed

- before the first rename, the old folder is still in place;
- between the two renames, the old folder is whole in `.NAME.old-*`, where `resting_place` finds it; the next
  `swap_in` deletes it once its own folder is in place;
- after the second rename, the new folder is in place.

Processes that replace one folder take turns, by the lock `.NAME.lock`, which ends with its process. So whoever has the
lock knows that every `.NAME.new-*` was left by a process that died, and deletes it: each swap does, and `tidy`.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from langchain_toolken.disk.lock import held
from langchain_toolken.disk.writing import sync_folder, writing

Content = TypeVar("Content")

# One swap can move the folder twice under a reader; more moves need one swap right after another.
_READ_ATTEMPTS = 20
# A swap takes the seconds that its files take to be written.
_PATIENCE = 600.0


@contextmanager
def turn(target: Path) -> Iterator[None]:
    """Keep other processes from replacing the folder `target` inside. Makes its parents.

    Raises:
        WriteError: The parents can't be made.
        TimeoutError: Another process has been replacing it for ten minutes.
    """
    with writing(target):
        target.parent.mkdir(parents=True, exist_ok=True)
    with held(_lock_of(target), patience=_PATIENCE) as alone:
        if alone:
            _delete(_left_over(target, "new"))
        yield


def tidy(target: Path) -> None:
    """Delete what processes that died while they replaced `target` left next to it. Does nothing where it can't."""
    with suppress(OSError):
        if _left_over(target, "new", "old"):
            with held(_lock_of(target), patience=0) as alone:
                if alone:
                    _delete(_left_over(target, "new", "old") if target.exists() else _left_over(target, "new"))


def swap_in(target: Path, files: Mapping[str, bytes]) -> None:
    """Replace the folder `target` with one that holds `files` (content by name). Use it in a `turn`.

    Args:
        target: A resolved path; what it holds is deleted.
        files: The content of each file, by its plain name.

    Raises:
        WriteError: Writing failed; the error names the file. What was in place still is.
    """
    new = place_of_new(target)
    with writing(target):
        new.mkdir()
    try:
        for name, content in files.items():
            with writing(target / name):
                _write_synced(new / name, content)
        with writing(target):
            sync_folder(new)
            _move_into_place(new, target)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def place_of_new(target: Path) -> Path:
    """Return a path next to `target` that no other process uses for its new folder."""
    return target.with_name(f".{target.name}.new-{uuid.uuid4().hex}")


def read_settled(target: Path, read: Callable[[Path], Content], failure: type[Exception]) -> Content:
    """Read a folder with `read`, and again if a swap moved it meanwhile.

    Args:
        target: A resolved path.
        read: Reads the folder it is given. May find files missing or not matching if a swap moves the folder.
        failure: What `read` raises then.

    Raises:
        Exception: The last `failure`, if the folder was not moved while it was read.
    """
    for attempt in range(1, _READ_ATTEMPTS + 1):
        place = resting_place(target)
        stamp = _stamp(place)
        try:
            return read(place)
        except failure:
            if attempt == _READ_ATTEMPTS or _stamp(resting_place(target)) == stamp:
                raise
    raise AssertionError("the last attempt returns or raises")


def resting_place(target: Path) -> Path:
    """Return `target`, or where a swap that was killed between its renames left the old folder."""
    if target.exists():
        return target
    # A swap may have finished since that look at the target: then nothing is set aside, and the target is back.
    return next(iter(_left_over(target, "old")), target)


def _lock_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")


def _left_over(target: Path, *kinds: str) -> list[Path]:
    """Return the folders that swaps which were killed, or are going on, made next to the target, latest first."""
    prefix = tuple(f".{target.name}.{kind}-" for kind in kinds)
    found: list[tuple[int, Path]] = []
    if target.parent.is_dir():
        for place in target.parent.iterdir():
            stamp = _stamp(place) if place.name.startswith(prefix) else None
            if stamp is not None:
                found.append((stamp[2], place))
    return [place for _, place in sorted(found, reverse=True)]


def _delete(folders: list[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _stamp(place: Path) -> tuple[int, int, int] | None:
    """Return what changes when another folder takes this place: device, inode, time of modification in ns."""
    try:
        status = place.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _write_synced(file: Path, content: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _move_into_place(new: Path, target: Path) -> None:
    old: Path | None = None
    while True:
        try:
            new.rename(target)
            break
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                if old is not None:
                    old.rename(target)
                raise
        # A folder with files in it cannot be renamed over. Where there are no locks, another swap may move it away now,
        # or put its own there before the next round: then the later of the two replaces it.
        old = target.with_name(f".{target.name}.old-{uuid.uuid4().hex}")
        with suppress(FileNotFoundError):
            target.rename(old)
    sync_folder(target.parent)
    _delete(_left_over(target, "old"))
