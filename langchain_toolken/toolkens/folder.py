"""The folder that toolkens are kept in, whatever stands in it: tensors, settings, and files beside them.

A folder holds `toolkens.safetensors` (float32 tensors) and `toolkens.json` (everything else, and the SHA-256 of the
first, so that files of two saves are never taken for one set). Nothing is pickled. Files that were saved beside them (a
report, a model card) are named there with their SHA-256 too: a later save replaces them, unless someone has changed
them since.

How a save stays whole. The new folder is written and synced beside the target as `.NAME.new-*`. A folder in the
target's place is renamed to `.NAME.old-*`, the new one is renamed into place, and the old one is deleted. A kill before
the first rename leaves the old set in place; between the renames, the old set is whole in `.NAME.old-*`, where `load`
looks for it while nothing is in place and which the next `save` deletes once its own set is; after the second, the new
set is in place. A killed save may leave a `.NAME.new-*` behind: it is never read and may be deleted.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from langchain_toolken._version import __version__
from langchain_toolken.errors import ToolkenError

TENSORS_FILE = "toolkens.safetensors"
SETTINGS_FILE = "toolkens.json"
FORMAT = "langchain-toolken toolkens"
# Version 2 added `tool_biases` and the calibration, which version 1 did not know: it would have read them as faults.
# Version 3 added `call_states`, likewise.
FORMAT_VERSION = 3
_READABLE_VERSIONS = (1, 2, 3)

# A save that runs meanwhile may move the folder twice under a reader; more often only if saves follow on each other.
_READ_ATTEMPTS = 20

Settings = TypeVar("Settings", bound=BaseModel)


class ToolkenSetError(ToolkenError, ValueError):
    """Toolkens that cannot be loaded, saved, combined or used with this LM. The message says which and what to do."""


class _Header(BaseModel):
    """What toolkens.json holds beside its format, its version and the settings."""

    model_config = ConfigDict(extra="allow")

    payload_sha256: str
    beside_sha256: dict[str, str] = {}


def check_place(folder: str | Path) -> None:
    """Raises ToolkenSetError, as a save would, if toolkens can't be saved to `folder`: for whoever works long before.

    Nothing is left there.
    """
    target = Path(folder).resolve()
    _refuse_to_replace(target, Path(folder))
    there = next(place for place in target.parents if place.exists())
    try:
        TemporaryDirectory(prefix=f".{target.name}.new-", dir=there).cleanup()
    except OSError as error:
        raise ToolkenSetError(
            f"{folder} can't be written ({there}: {error.strerror}): give a folder that can"
        ) from error


def write_folder(
    folder: str | Path, settings: BaseModel, tensors: Mapping[str, Tensor], beside: Mapping[str, str] | None = None
) -> None:
    """Writes tensors and settings to `folder`, replacing what an earlier save put there.

    beside: further text files of the same save, by name. Raises as `ToolkenSet.save`.
    """
    files = {name: text.encode() for name, text in (beside or {}).items()}
    for name in files:
        if name != Path(name).name or name in ("", "..", TENSORS_FILE, SETTINGS_FILE):
            raise ValueError(f"{name!r} can't be saved beside toolkens: give a plain file name that they don't use")
    target = Path(folder).resolve()
    _refuse_to_replace(target, Path(folder))
    payload = tensors_to_bytes(dict(tensors))
    header = _Header(
        payload_sha256=hashlib.sha256(payload).hexdigest(),
        beside_sha256={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )
    text = json.dumps(
        {"format": FORMAT, "format_version": FORMAT_VERSION, **header.model_dump(), **settings.model_dump()},
        ensure_ascii=False,
        indent=1,
        allow_nan=False,
    )
    target.parent.mkdir(parents=True, exist_ok=True)
    new = target.with_name(f".{target.name}.new-{uuid.uuid4().hex}")
    new.mkdir()
    try:
        for name, content in files.items():
            _write_synced(new / name, content)
        _write_synced(new / TENSORS_FILE, payload)
        _write_synced(new / SETTINGS_FILE, text.encode())
        _sync_folder(new)
        _move_into_place(new, target)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def read_folder(folder: str | Path, kind: type[Settings]) -> tuple[Settings, dict[str, Tensor]]:
    """Settings and tensors that one save wrote to `folder`. Raises as `ToolkenSet.load`, of which this is a part."""
    given = Path(folder)
    target = given.resolve()
    for attempt in range(1, _READ_ATTEMPTS + 1):
        place = _resting_place(target)
        identity = _identity(place)
        try:
            return _read(place, given, kind)
        except ToolkenSetError:
            # Only where a save moved the folder while its files were being read may a second look help.
            if attempt == _READ_ATTEMPTS or _identity(_resting_place(target)) == identity:
                raise
    raise AssertionError("the last attempt returns or raises")


def _read(place: Path, shown: Path, kind: type[Settings]) -> tuple[Settings, dict[str, Tensor]]:
    header = _read_header(place, shown)
    settings = _validated(kind, header.model_extra or {}, shown / SETTINGS_FILE)
    file = shown / TENSORS_FILE
    payload = _read_file(place / TENSORS_FILE, file)
    if hashlib.sha256(payload).hexdigest() != header.payload_sha256:
        raise ToolkenSetError(
            f"{file} is not the file that {SETTINGS_FILE} beside it was saved with (it is truncated, changed, "
            "or from another set): copy the whole folder again, or fit anew"
        )
    try:
        tensors = tensors_from_bytes(payload)
    except SafetensorError as error:
        raise ToolkenSetError(f"{file} is not a safetensors file ({error}): fit anew") from error
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise ToolkenSetError(f"{file}: {name} is {tensor.dtype}, not float32: fit anew")
    return settings, tensors


def _read_header(place: Path, shown: Path) -> _Header:
    file = shown / SETTINGS_FILE
    if not place.is_dir():
        what = "is a file, not a folder" if place.is_file() else "does not exist"
        raise ToolkenSetError(f"{shown} {what}: give the folder that `toolken fit --out` or ToolkenSet.save wrote")
    try:
        content: Any = json.loads(_read_file(place / SETTINGS_FILE, file))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ToolkenSetError(f"{file} is not JSON ({error}): copy the whole folder again, or fit anew") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ToolkenSetError(f"{file} was not written by langchain-toolken: give a folder of toolkens")
    version = content.pop("format_version", None)
    if version not in _READABLE_VERSIONS:
        raise ToolkenSetError(
            f"{file} has format version {version!r}, this is langchain-toolken {__version__} that reads versions "
            f"{', '.join(map(str, _READABLE_VERSIONS))}: install the version that wrote it, or fit anew"
        )
    return _validated(_Header, content, file)


def _validated(kind: type[Settings], content: dict[str, Any], file: Path) -> Settings:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ToolkenSetError(f"{file}: {field}: {first['msg']}. Copy the folder again, or fit anew") from error


def _read_file(path: Path, shown: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ToolkenSetError(
            f"{shown} is missing: a folder of toolkens holds {SETTINGS_FILE} and {TENSORS_FILE}; give such a folder"
        ) from error
    except OSError as error:
        raise ToolkenSetError(f"{shown} cannot be read: {error.strerror}") from error


def _set_aside(target: Path) -> list[Path]:
    """What saves renamed away and did not come to delete, the latest first."""
    prefix = f".{target.name}.old-"
    found: list[tuple[int, Path]] = []
    if target.parent.is_dir():
        for place in target.parent.iterdir():
            identity = _identity(place) if place.name.startswith(prefix) else None
            if identity is not None:
                found.append((identity[2], place))
    return [place for _, place in sorted(found, reverse=True)]


def _resting_place(target: Path) -> Path:
    """`target`, or where a save that was cut off between its two renames left what stood there."""
    if target.exists():
        return target
    # A save may have finished between the look at the target and the look beside it: then the target is back.
    return next(iter(_set_aside(target)), target)


def _identity(place: Path) -> tuple[int, int, int] | None:
    try:
        status = place.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _refuse_to_replace(target: Path, shown: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise ToolkenSetError(f"{shown} is a file: give a folder for the toolkens")
    entries = [entry for entry in target.iterdir() if entry.name not in (TENSORS_FILE, SETTINGS_FILE)]
    saved = _read_header(target, shown).beside_sha256 if entries and (target / SETTINGS_FILE).exists() else {}
    foreign = sorted(entry.name for entry in entries if entry.name not in saved)
    changed = [
        entry.name
        for entry in entries
        if entry.name in saved and hashlib.sha256(_read_file(entry, entry)).hexdigest() != saved[entry.name]
    ]
    if changed:
        raise ToolkenSetError(
            f"{shown} holds {', '.join(sorted(changed))}, changed since it was saved there, which saving would delete: "
            "move it away, or give a new folder"
        )
    if foreign:
        raise ToolkenSetError(
            f"{shown} holds something else ({', '.join(foreign[:3])}) that saving would delete: give a new folder"
        )


def _write_synced(file: Path, content: bytes) -> None:
    with file.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes names and renames in `folder` last through a power cut, where folders can be synced (not on Windows)."""
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
            # A folder with files in it cannot be renamed over. Another save may put its own there in between: the later
            # of the two then goes over it in the next round.
            old = target.with_name(f".{target.name}.old-{uuid.uuid4().hex}")
            target.rename(old)
    _sync_folder(target.parent)
    for place in _set_aside(target):
        shutil.rmtree(place, ignore_errors=True)
