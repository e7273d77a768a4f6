"""Replace a folder as a whole: whatever interrupts it, readers find the old files or the new ones, never a mix.

The new folder is written and synced next to the target as `.NAME.new-*`. The old folder is renamed to `.NAME.old-*`,
the new one is renamed to NAME, and the old one is deleted. If the process is killed

- before the first rename, the old folder is still in place;
- between the two renames, the old folder is whole in `.NAME.old-*`, where `resting_place` finds it; the next
  `swap_in` deletes it once its own folder is in place;
- after the second rename, the new folder is in place.

A killed swap may leave a `.NAME.new-*`, which is never read and may be deleted.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

Content = TypeVar("Content")

# One swap can move the folder twice under a reader; more moves need one swap right after another.
_READ_ATTEMPTS = 20


def swap_in(target: Path, files: Mapping[str, bytes]) -> None:
    """Replace the folder `target` with one that holds `files` (content by name). Parents are made as needed.

    Args:
        target: A resolved path; what it holds is deleted.
        files: The content of each file, by its plain name.

    Raises:
        OSError: Writing failed. What was in place still is.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.new-{uuid.uuid4().hex}")
    new.mkdir()
    try:
        for name, content in files.items():
            _write_synced(new / name, content)
        _sync_folder(new)
        _move_into_place(new, target)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


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
    return next(iter(_set_aside(target)), target)


def _set_aside(target: Path) -> list[Path]:
    """Return the old folders that killed swaps did not delete, latest first."""
    prefix = f".{target.name}.old-"
    found: list[tuple[int, Path]] = []
    if target.parent.is_dir():
        for place in target.parent.iterdir():
            stamp = _stamp(place) if place.name.startswith(prefix) else None
            if stamp is not None:
                found.append((stamp[2], place))
    return [place for _, place in sorted(found, reverse=True)]


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


def _sync_folder(folder: Path) -> None:
    """Make names and renames in `folder` survive a power cut, where folders can be synced (not on Windows)."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move_into_place(new: Path, target: Path) -> None:
    old: Path | None = None
    while True:
        try:
            new.rename(target)
            break
        except OSError:
            if not target.exists():
                if old is not None:
                    old.rename(target)
                raise
            # A folder with files in it cannot be renamed over. If another swap puts its own there in between, the later
            # of the two replaces it in the next round.
            old = target.with_name(f".{target.name}.old-{uuid.uuid4().hex}")
            target.rename(old)
    _sync_folder(target.parent)
    for place in _set_aside(target):
        shutil.rmtree(place, ignore_errors=True)
