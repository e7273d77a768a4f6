"""The folder that toolkens are saved in: its files, their format, and what a save may replace.

A folder holds `toolkens.safetensors` (float32 tensors), `toolkens.json` (everything else) and, where a set has them,
further files of its own. Nothing is pickled. The JSON lists every file of the save with its size and SHA-256, and
begins with a checksum of itself (`disk.sealed_json`): a set loads as it was saved or not at all. The list also holds
the files that were saved with the set and are no part of it (a report, a model card). A later save replaces those,
unless they have been changed since. `examples.jsonl`, which may hold private data, is part of a set and may yet be
deleted. `folder_swap` makes a save whole or not there at all.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from langchain_toolken._version import __version__
from langchain_toolken.disk.reading import parse_json, read_file, sha256_of
from langchain_toolken.disk.sealed_json import intact, sealed
from langchain_toolken.toolkens.errors import ToolkenSetError, ToolkenSetWarning
from langchain_toolken.toolkens.examples import EXAMPLES_FILE, WORKED_FILE, ArgumentSettings
from langchain_toolken.toolkens.folder_swap import place_of_new, read_settled, swap_in, tidy, turn
from langchain_toolken.toolkens.provenance import Calibration, Provenance
from langchain_toolken.tools.spec import ToolSpec

TENSORS_FILE = "toolkens.safetensors"
SETTINGS_FILE = "toolkens.json"
FORMAT = "langchain-toolken toolkens"
# Version 2 added `tool_biases` and the calibration, version 3 `call_states`, version 4 the list of files, the
# checksum of toolkens.json, the evidence, the examples and `arguments`. A reader of an older version would take them
# for damage.
FORMAT_VERSION = 4
_READABLE_VERSIONS = (1, 2, 3, 4)
_SEALED_SINCE = 4
# 47,000 tools with schemas of 2 kB take 100 MB.
_MOST_SETTINGS = 256 << 20

Checked = TypeVar("Checked", bound=BaseModel)


class SavedSettings(BaseModel):
    """What toolkens.json says of the set itself; its fields are those of `ToolkenSet`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    bias: float
    specs: list[ToolSpec]
    provenance: Provenance
    calibration: Calibration | None = None
    arguments: ArgumentSettings | None = None


@dataclass(frozen=True, eq=False)
class SavedSet:
    """What a set's folder holds.

    Attributes:
        settings: toolkens.json.
        tensors: toolkens.safetensors, float32, by name.
        files: The content of further files that are part of the set, by name.
    """

    settings: SavedSettings
    tensors: Mapping[str, Tensor]
    files: Mapping[str, bytes]


class _SavedFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sha256: str
    bytes: int | None = None  # not noted before version 4


class _Header(BaseModel):
    """What toolkens.json says of the folder's other files. The settings are its extra fields.

    Attributes:
        files: The files that are part of the set.
        beside: The other files of the same save.
    """

    model_config = ConfigDict(extra="allow")

    files: dict[str, _SavedFile]
    beside: dict[str, _SavedFile] = {}


def check_place(folder: str | Path) -> None:
    """Check that toolkens can be saved to `folder`, before the work that makes them. Leaves nothing there.

    Raises:
        ToolkenSetError: A save would raise it, or the folder cannot be written.
    """
    target = Path(folder).resolve()
    there = target
    try:
        _refuse_to_replace(target, Path(folder))
        there = next(place for place in target.parents if place.exists())
        # No name, so a kill leaves nothing. The name of the new folder may be too long where that of the target is not.
        tempfile.TemporaryFile(dir=there).close()
        with suppress(FileNotFoundError):
            os.lstat(place_of_new(target))
    except OSError as error:
        raise ToolkenSetError(
            f"{folder} can't be written ({there}: {error.strerror}): give a folder that can"
        ) from error


def write_folder(
    folder: str | Path,
    settings: SavedSettings,
    tensors: Mapping[str, Tensor],
    *,
    own_files: Mapping[str, bytes] | None = None,
    extra_files: Mapping[str, str] | None = None,
) -> None:
    """Write a set to `folder` and replace what an earlier save put there.

    Args:
        folder: Where to.
        settings: What goes into toolkens.json.
        tensors: What goes into toolkens.safetensors, float32.
        own_files: Further files that are part of the set, by name: it does not load without them.
        extra_files: Text files of the same save that are no part of the set, by name.

    Raises:
        ToolkenSetError: `folder` holds something that saving would delete, another process has been saving to it for
            ten minutes, or the settings hold what JSON can't.
        WriteError: A file can't be written; the set that was there still is.
        ValueError: An extra file's name is not a plain file name, or belongs to the set itself.
    """
    own = {TENSORS_FILE: tensors_to_bytes(dict(tensors)), **(own_files or {})}
    beside = {name: text.encode(errors="replace") for name, text in (extra_files or {}).items()}
    for name in beside:
        if not _is_plain(name) or name in own or name == SETTINGS_FILE:
            raise ValueError(f"{name!r} can't be saved with toolkens: give a plain file name that they don't use")
    header = _Header(files=_listed(own), beside=_listed(beside))
    text = {"format": FORMAT, "format_version": FORMAT_VERSION, **header.model_dump(), **settings.model_dump()}
    try:
        manifest = sealed(text)
    except (ValueError, RecursionError) as error:
        raise ToolkenSetError(
            f"the set can't be written to {SETTINGS_FILE}: {_culprit(settings)} holds what JSON can't ({error}). "
            "Change it, and save again"
        ) from error
    target = Path(folder).resolve()
    try:
        with turn(target):
            _refuse_to_replace(target, Path(folder))
            swap_in(target, {**beside, **own, SETTINGS_FILE: manifest})
    except TimeoutError as error:
        raise ToolkenSetError(
            f"another process has been saving to {folder} for ten minutes: end it, or give another folder"
        ) from error


def read_folder(folder: str | Path) -> SavedSet:
    """Read what one save wrote to `folder`. Deletes what saves that were killed left next to it.

    Raises:
        ToolkenSetError: The folder is missing, damaged, mixed from two saves, or of an unknown format. The message
            names the file and the next step.

    Warns:
        ToolkenSetWarning: A file that was saved with the set and is no part of it has been changed.
    """
    shown = Path(folder)
    try:
        target = shown.resolve()
        tidy(target)
        saved, changed = read_settled(target, lambda place: _read(place, shown), ToolkenSetError)
    except (OSError, RuntimeError) as error:  # a name too long, a loop of links, a parent that may not be searched
        why = error.strerror if isinstance(error, OSError) else error
        raise ToolkenSetError(f"{shown} can't be read ({why}): give a folder of toolkens") from error
    for name in changed:
        warnings.warn(
            f"{shown / name} was changed after it was saved with these toolkens. They are as they were saved; "
            "a save to this folder will refuse to replace it",
            ToolkenSetWarning,
            stacklevel=3,
        )
    return saved


def _listed(files: Mapping[str, bytes]) -> dict[str, _SavedFile]:
    return {
        name: _SavedFile(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    }


def _culprit(settings: SavedSettings) -> str:
    for spec in settings.specs:
        try:
            sealed(spec.model_dump())
        except (ValueError, RecursionError):
            return f"tool {spec.name!r}"
    return "its provenance"


def _is_plain(name: str) -> bool:
    return name == Path(name).name and name not in ("", "..") and "\0" not in name


def _read(place: Path, shown: Path) -> tuple[SavedSet, list[str]]:
    """Return what the folder holds, and the names of the files beside the set that were changed."""
    header = _read_header(place, shown)
    settings = _validated(SavedSettings, header.model_extra or {}, shown / SETTINGS_FILE)
    own = {
        name: _read_own(place / name, shown / name, saved)
        for name, saved in header.files.items()
        if name not in (EXAMPLES_FILE, WORKED_FILE) or os.path.lexists(place / name)
    }
    file = shown / TENSORS_FILE
    try:
        tensors = tensors_from_bytes(own.pop(TENSORS_FILE))
    except SafetensorError as error:
        raise ToolkenSetError(f"{file} is not a safetensors file ({error}): fit anew") from error
    for name, tensor in tensors.items():
        if tensor.dtype != torch.float32:
            raise ToolkenSetError(f"{file}: {name} is {tensor.dtype}, not float32: fit anew")
    changed = [name for name, saved in header.beside.items() if _is_changed(place / name, saved)]
    return SavedSet(settings, tensors, own), changed


def _read_own(path: Path, shown: Path, saved: _SavedFile) -> bytes:
    """Return the content of a file of the set, which must be as it was saved."""
    try:
        size = path.stat().st_size if saved.bytes is None else saved.bytes
        # Hashed before it is read: a file of another size or content may be larger than the memory.
        right = path.stat().st_size == size and sha256_of(path) == saved.sha256
        content = read_file(path, most=size) if right else b""
    except FileNotFoundError as error:
        raise _missing(shown) from error
    except OSError as error:
        raise _unreadable(shown, error) from error
    if not right or hashlib.sha256(content).hexdigest() != saved.sha256:
        raise ToolkenSetError(
            f"{shown} is not the file that {SETTINGS_FILE} was saved with (it is truncated, changed, or from another "
            "set): copy the whole folder again, or fit anew"
        )
    return content


def _is_changed(path: Path, saved: _SavedFile) -> bool:
    """Whether a file beside the set differs from what was saved. One that is gone is no change: it may be left out."""
    try:
        if saved.bytes is not None and path.stat().st_size != saved.bytes:
            return True
        return sha256_of(path) != saved.sha256
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _read_header(place: Path, shown: Path) -> _Header:
    file = shown / SETTINGS_FILE
    if not place.is_dir():
        what = "is a file, not a folder" if os.path.lexists(place) else "does not exist"
        raise ToolkenSetError(f"{shown} {what}: give the folder that `toolken fit --out` or ToolkenSet.save wrote")
    try:
        raw = read_file(place / SETTINGS_FILE, most=_MOST_SETTINGS)
    except FileNotFoundError as error:
        raise _missing(file) from error
    except OSError as error:
        raise _unreadable(file, error) from error
    whole = intact(raw)
    try:
        content: Any = {} if whole is False else parse_json(raw)
    except ValueError as error:
        raise ToolkenSetError(f"{file} is not JSON ({error}): copy the whole folder again, or fit anew") from error
    version = content.pop("format_version", None) if isinstance(content, dict) else None
    if whole is False or (whole is None and version in _READABLE_VERSIONS and version >= _SEALED_SINCE):
        raise ToolkenSetError(
            f"{file} was changed after it was saved, if only in its line breaks (its checksum differs): copy the whole "
            "folder again, or fit anew"
        )
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise ToolkenSetError(f"{file} was not written by langchain-toolken: give a folder of toolkens")
    if version not in _READABLE_VERSIONS:
        raise ToolkenSetError(
            f"{file} has format version {version!r}, but langchain-toolken {__version__} reads versions "
            f"{', '.join(map(str, _READABLE_VERSIONS))}: install the version that wrote it, or fit anew"
        )
    if version >= _SEALED_SINCE:
        del content["sha256"]
    else:
        content["files"] = {TENSORS_FILE: {"sha256": content.pop("payload_sha256", None)}}
        content["beside"] = _of_version_3(content.pop("beside_sha256", {}))
    header = _validated(_Header, content, file)
    odd = [name for name in (*header.files, *header.beside) if not _is_plain(name)]
    if odd or TENSORS_FILE not in header.files:
        what = f"lists {odd[0]!r}, which is no file's name" if odd else f"does not list {TENSORS_FILE}"
        raise ToolkenSetError(f"{file} {what}: copy the whole folder again, or fit anew")
    return header


def _of_version_3(beside: Any) -> Any:
    return {name: {"sha256": sha256} for name, sha256 in beside.items()} if isinstance(beside, dict) else beside


def _validated(kind: type[Checked], content: dict[str, Any], file: Path) -> Checked:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ToolkenSetError(f"{file}: {field}: {first['msg']}. Copy the folder again, or fit anew") from error
    except (RecursionError, OverflowError) as error:
        raise ToolkenSetError(f"{file}: {error}. Copy the folder again, or fit anew") from error


def _missing(file: Path) -> ToolkenSetError:
    return ToolkenSetError(
        f"{file} is missing: a folder of toolkens holds {SETTINGS_FILE} and {TENSORS_FILE}; give such a folder"
    )


def _unreadable(file: Path, error: OSError) -> ToolkenSetError:
    return ToolkenSetError(f"{file} can't be read: {error.strerror}. Copy the whole folder again, or give another")


def _refuse_to_replace(target: Path, shown: Path) -> None:
    """Raise ToolkenSetError if `target` holds something that a save would lose: a foreign file, or a changed one."""
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise ToolkenSetError(f"{shown} is a file: give a folder for the toolkens")
    if os.path.ismount(target):
        raise ToolkenSetError(f"{shown} is where a disk is mounted, and a save replaces its folder: give one inside it")
    read_settled(target, lambda place: _check_losses(place, shown), ToolkenSetError)


def _check_losses(place: Path, shown: Path) -> None:
    try:
        names = {entry.name for entry in place.iterdir()}
    except OSError as error:
        raise _unreadable(shown, error) from error
    others = names - {TENSORS_FILE, SETTINGS_FILE}
    try:
        header = _read_header(place, shown) if others and SETTINGS_FILE in names else None
    except ToolkenSetError as error:
        raise ToolkenSetError(
            f"{shown} holds {', '.join(sorted(others)[:3])}, and nothing says whether saving may delete that "
            f"({error}): give a new folder, or delete this one"
        ) from error
    beside = {} if header is None else header.beside
    changed = sorted(name for name in others if name in beside and _is_changed(place / name, beside[name]))
    if changed:
        raise ToolkenSetError(
            f"{shown} holds {', '.join(changed)}, changed since it was saved there, which saving would delete: "
            "move it away, or give a new folder"
        )
    foreign = sorted(others - set(beside) - set(header.files if header is not None else ()))
    if foreign:
        raise ToolkenSetError(
            f"{shown} holds something else ({', '.join(foreign[:3])}) that saving would delete: give a new folder"
        )
