"""The folder that toolkens are saved in: its files, their format, and what a save may replace.

A folder holds `toolkens.safetensors` (float32 tensors) and `toolkens.json` (everything else). The JSON records the
SHA-256 of the tensors, so that files of two saves are never taken for one set. Nothing is pickled. It also records the
SHA-256 of the other files of the same save (a report, a model card): a later save replaces those, unless they have been
changed since. `folder_swap` makes a save whole or not there at all.
"""

from __future__ import annotations

import hashlib
import json
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
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.folder_swap import read_settled, swap_in
from langchain_toolken.toolkens.provenance import Calibration, Provenance
from langchain_toolken.tools.spec import ToolSpec

TENSORS_FILE = "toolkens.safetensors"
SETTINGS_FILE = "toolkens.json"
FORMAT = "langchain-toolken toolkens"
# Version 2 added `tool_biases` and the calibration, version 3 `call_states`. A reader of an older version would take
# them for damage.
FORMAT_VERSION = 3
_READABLE_VERSIONS = (1, 2, 3)

Checked = TypeVar("Checked", bound=BaseModel)


class SavedSettings(BaseModel):
    """What toolkens.json says of the set itself; its fields are those of `ToolkenSet`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    bias: float
    specs: list[ToolSpec]
    provenance: Provenance
    calibration: Calibration | None = None


class _Header(BaseModel):
    """What toolkens.json says of the folder's other files. The settings are its extra fields."""

    model_config = ConfigDict(extra="allow")

    payload_sha256: str
    beside_sha256: dict[str, str] = {}


def check_place(folder: str | Path) -> None:
    """Check that toolkens can be saved to `folder`, before the work that makes them. Leaves nothing there.

    Raises:
        ToolkenSetError: A save would raise it, or the folder cannot be written.
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
    folder: str | Path,
    settings: SavedSettings,
    tensors: Mapping[str, Tensor],
    extra_files: Mapping[str, str] | None = None,
) -> None:
    """Write a set to `folder` and replace what an earlier save put there.

    Args:
        folder: Where to.
        settings: What goes into toolkens.json.
        tensors: What goes into toolkens.safetensors, float32.
        extra_files: Further text files of the same save, by name.

    Raises:
        ToolkenSetError: `folder` holds something that saving would delete.
        ValueError: An extra file's name is not a plain file name, or belongs to the set itself.
    """
    files = {name: text.encode() for name, text in (extra_files or {}).items()}
    for name in files:
        if name != Path(name).name or name in ("", "..", TENSORS_FILE, SETTINGS_FILE):
            raise ValueError(f"{name!r} can't be saved with toolkens: give a plain file name that they don't use")
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
    swap_in(target, {**files, TENSORS_FILE: payload, SETTINGS_FILE: text.encode()})


def read_folder(folder: str | Path) -> tuple[SavedSettings, dict[str, Tensor]]:
    """Read the settings and the float32 tensors that one save wrote to `folder`.

    Raises:
        ToolkenSetError: The folder is missing, damaged, mixed from two saves, or of an unknown format. The message
            names the file and the next step.
    """
    shown = Path(folder)
    return read_settled(shown.resolve(), lambda place: _read(place, shown), ToolkenSetError)


def _read(place: Path, shown: Path) -> tuple[SavedSettings, dict[str, Tensor]]:
    header = _read_header(place, shown)
    settings = _validated(SavedSettings, header.model_extra or {}, shown / SETTINGS_FILE)
    file = shown / TENSORS_FILE
    payload = _read_file(place / TENSORS_FILE, file)
    if hashlib.sha256(payload).hexdigest() != header.payload_sha256:
        raise ToolkenSetError(
            f"{file} is not the file that {SETTINGS_FILE} was saved with (it is truncated, changed, or from another "
            "set): copy the whole folder again, or fit anew"
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
            f"{file} has format version {version!r}, but langchain-toolken {__version__} reads versions "
            f"{', '.join(map(str, _READABLE_VERSIONS))}: install the version that wrote it, or fit anew"
        )
    return _validated(_Header, content, file)


def _validated(kind: type[Checked], content: dict[str, Any], file: Path) -> Checked:
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


def _refuse_to_replace(target: Path, shown: Path) -> None:
    """Raise ToolkenSetError if `target` holds something that a save would lose: a foreign file, or a changed one."""
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
