"""Store features in a folder: written while they are computed, resumed after a kill, memory-mapped for reading.

    manifest.json        what the features are of, and their layout
    hidden.bin           (N, d) hidden states in the LM's dtype, row by row
    words.bin            (N, 3) float32: logsumexp of the word logits, the largest, that of the word that follows
    targets.safetensors  target (N,) int64, weight (N,) float32, demonstration (N,) int64
    done-R.jsonl         the batches that process R has finished, one per line, with the sha256 of their rows

A batch's rows are on disk before its line is, so a line means that the batch is complete. The size is known before the
LM runs: N (d b + 12 + 20) bytes for N positions, with b = 4 bytes for an LM in float32 and 2 for one in bfloat16 or
float16, whose states are stored as they are. For 47,000 tools with ten demonstrations each, d = 4096 in bfloat16, one
call and 8 words per demonstration: 470,000 x 9 x 8,224 bytes = 35 GB.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from langchain_toolken.errors import ToolkenError
from langchain_toolken.progress import Progress

MANIFEST = "manifest.json"
_HIDDEN, _WORDS, _TARGETS, _DONE = "hidden.bin", "words.bin", "targets.safetensors", "done-{}.jsonl"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class FeatureStoreError(ToolkenError, ValueError):
    """A features folder can't be used; the message names it and says what to do."""


class FeatureSource(BaseModel):
    """What features were computed from: the LM, and the demonstrations as laid out for it.

    The head's and weights' fingerprints, `dtype` and `demonstrations` decide whether features can be used. The other
    fields are for error messages: what they change in the features also changes `demonstrations`.

    Attributes:
        model: The LM's name.
        head_fingerprint: Hash of the LM's head.
        weights_fingerprint: Hash of the LM's weights.
        tokenizer_fingerprint: Hash of the tokenizer.
        dtype: Of the hidden states, such as "bfloat16".
        tools: Number of tools.
        style: How the demonstrations were laid out.
        reinjection: Where tool results are in chat histories.
        negatives_per_demonstration: Most word positions kept per demonstration.
        seed: What drew them.
        demonstrations: Hash of the token ids, the positions and what should follow at each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    head_fingerprint: str
    weights_fingerprint: str
    tokenizer_fingerprint: str
    dtype: str
    tools: int
    style: str
    reinjection: str | None
    negatives_per_demonstration: int | None
    seed: int
    demonstrations: str

    def differences(self, here: FeatureSource) -> list[str]:
        """Return in words how this source differs from `here`; empty if the features are the same."""
        changed = [name for name in FeatureSource.model_fields if getattr(self, name) != getattr(here, name)]
        if not _DECISIVE.intersection(changed):
            return []
        return [_shown(name, getattr(self, name), getattr(here, name)) for name in changed]


_DECISIVE = {"head_fingerprint", "weights_fingerprint", "dtype", "demonstrations"}


class Manifest(BaseModel):
    """The content of manifest.json.

    Attributes:
        format: Marks the file as ours.
        version: Of the format.
        byteorder: Of the machine that wrote the folder, "little" or "big".
        source: What the features were computed from.
        batch_tokens: Most tokens per batch.
        hidden_size: d.
        rows: Index of each batch's first position, followed by N.
        targets_sha256: Checksum of targets.safetensors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["langchain-toolken features"] = "langchain-toolken features"
    version: Literal[1] = 1
    byteorder: str = sys.byteorder
    source: FeatureSource
    batch_tokens: int
    hidden_size: int
    rows: tuple[int, ...]
    targets_sha256: str


class FeatureStore:
    """A features folder, complete or still being filled. Open one with `create` or `resume`.

    Attributes:
        folder: The folder.
        manifest: What it holds.
        done: Indices of the batches that were finished when it was opened.
    """

    def __init__(self, folder: Path, manifest: Manifest, done: Iterable[int], rank: int, *, durable: bool) -> None:
        self.folder = folder
        self.manifest = manifest
        self.done = frozenset(done)
        self._rank = rank
        self._durable = durable
        self._notes = False  # whether this process has written to its done-R.jsonl

    @property
    def dtype(self) -> torch.dtype:
        """Of the hidden states."""
        return _DTYPES[self.manifest.source.dtype]

    @classmethod
    def create(
        cls,
        folder: Path,
        source: FeatureSource,
        *,
        batch_tokens: int,
        hidden_size: int,
        rows: Sequence[int],
        targets: dict[str, Tensor],
        durable: bool = True,
    ) -> FeatureStore:
        """Create an empty store.

        Args:
            folder: Must be empty or not exist.
            source: What the features are computed from.
            batch_tokens: Most tokens per batch.
            hidden_size: d.
            rows: Index of each batch's first position, followed by N.
            targets: The columns target, weight and demonstration, (N,) each.
            durable: Sync each batch to disk, so that it survives a crash of the machine. Off for temporary stores.

        Raises:
            FeatureStoreError: The folder holds other files.
            OSError: The folder can't be written, or the disk is full.
        """
        ours = {_HIDDEN, _WORDS, _TARGETS}  # may be left by a kill before the manifest was written
        if folder.exists() and (not folder.is_dir() or any(file.name not in ours for file in folder.iterdir())):
            raise FeatureStoreError(
                f"{folder} holds other files and no features: choose an empty folder, or one that does not exist"
            )
        folder.mkdir(parents=True, exist_ok=True)
        content = save({name: column.contiguous() for name, column in targets.items()})
        (folder / _TARGETS).write_bytes(content)
        manifest = Manifest(
            source=source,
            batch_tokens=batch_tokens,
            hidden_size=hidden_size,
            rows=tuple(rows),
            targets_sha256=hashlib.sha256(content).hexdigest(),
        )
        for name, width in _row_bytes(manifest).items():
            with open(folder / name, "wb") as file:
                file.truncate(manifest.rows[-1] * width)
        unfinished = folder / f"{MANIFEST}.new"
        unfinished.write_text(manifest.model_dump_json(indent=1), encoding="utf-8")
        unfinished.replace(folder / MANIFEST)
        return cls(folder, manifest, (), 0, durable=durable)

    @classmethod
    def resume(
        cls,
        folder: Path,
        *,
        rank: int = 0,
        check: bool = True,
        durable: bool = True,
        progress: Progress | None = None,
    ) -> FeatureStore:
        """Open an existing store.

        Args:
            folder: The folder.
            rank: This process's number; each process notes its batches in a file of its own.
            check: Compare each finished batch with its checksum.
            durable: As for `create`.
            progress: Called with (done, total, what) while checking.

        Raises:
            FeatureStoreError: The store is damaged or of another version; the message names the file.
        """
        manifest = _read_manifest(folder)
        targets = folder / _TARGETS
        sizes = {folder / name: manifest.rows[-1] * width for name, width in _row_bytes(manifest).items()}
        for file in (targets, *sizes):
            if not file.is_file():
                raise _damaged(folder, f"{file.name} is missing")
        for file, size in sizes.items():
            if file.stat().st_size != size:
                raise _damaged(folder, f"{file.name} has {file.stat().st_size:,} bytes instead of {size:,}")
        if hashlib.sha256(targets.read_bytes()).hexdigest() != manifest.targets_sha256:
            raise _damaged(folder, f"{_TARGETS} does not match its checksum")
        done = _finished(folder, manifest)
        store = cls(folder, manifest, done, rank, durable=durable)
        if check:
            store._check(done, progress)
        return store

    def write(self, batch: int, hidden: Tensor, words: Tensor) -> None:
        """Write a batch's rows and note that it is done.

        Args:
            batch: Index of the batch.
            hidden: (n, d), from `run_batch`.
            words: (n, 3) float32, from `run_batch`.

        Raises:
            FeatureStoreError: The states are not in the store's dtype.
            OSError: The disk is full.
        """
        if hidden.dtype != self.dtype:
            raise FeatureStoreError(f"{self.folder} holds {self.dtype} states, but the LM gives {hidden.dtype}")
        digest = hashlib.sha256()
        for (name, width), rows in zip(_row_bytes(self.manifest).items(), (hidden, words), strict=True):
            content = rows.contiguous().view(torch.uint8).numpy().tobytes()
            digest.update(content)
            with open(self.folder / name, "r+b") as file:
                file.seek(self.manifest.rows[batch] * width)
                self._put(file, content)
        note = self.folder / _DONE.format(self._rank)
        if not self._notes:
            _drop_torn_line(note)
            self._notes = True
        with open(note, "ab") as file:
            self._put(file, (json.dumps({"batch": batch, "sha256": digest.hexdigest()}) + "\n").encode())

    def _put(self, file: BinaryIO, content: bytes) -> None:
        file.write(content)
        file.flush()
        if self._durable:
            os.fsync(file.fileno())

    def columns(self) -> dict[str, Tensor]:
        """Read the small columns into memory: target, weight and demonstration, (N,) each, and words, (N, 3).

        Raises:
            FeatureStoreError: Batches are missing, or a file is damaged.
        """
        done = _finished(self.folder, self.manifest)
        missing = len(self.manifest.rows) - 1 - len(done)
        if missing:
            raise FeatureStoreError(
                f"{self.folder}: {missing} batches have not been computed, or another process's rows can't be seen "
                "here. Several processes need a features folder on a file system that all of them see"
            )
        try:
            columns: dict[str, Tensor] = load_file(self.folder / _TARGETS)
        except SafetensorError as error:
            raise _damaged(self.folder, f"{_TARGETS} can't be read ({error})") from error
        return {**columns, "words": self._mapped(_WORDS, 3, torch.float32).clone()}

    def hidden(self) -> Tensor:
        """Return the hidden states (N, d), memory-mapped, in the dtype that the LM ran in. Don't write to them."""
        return self._mapped(_HIDDEN, self.manifest.hidden_size, self.dtype)

    def _mapped(self, name: str, width: int, dtype: torch.dtype) -> Tensor:
        rows = self.manifest.rows[-1]
        return torch.from_file(str(self.folder / name), size=rows * width, dtype=dtype).view(rows, width)

    def _check(self, done: dict[int, set[str]], progress: Progress | None) -> None:
        widths = _row_bytes(self.manifest)
        with open(self.folder / _HIDDEN, "rb") as hidden, open(self.folder / _WORDS, "rb") as words:
            for number, batch in enumerate(sorted(done), start=1):
                digest = hashlib.sha256()
                start, stop = self.manifest.rows[batch : batch + 2]
                for file, width in zip((hidden, words), widths.values(), strict=True):
                    file.seek(start * width)
                    digest.update(file.read((stop - start) * width))
                if digest.hexdigest() not in done[batch]:
                    raise _damaged(
                        self.folder,
                        f"positions {start} to {stop - 1} in {_HIDDEN} or {_WORDS} do not match their checksum",
                    )
                if progress is not None:
                    progress(number, len(done), "check features")


def _row_bytes(manifest: Manifest) -> dict[str, int]:
    """Return the bytes per row of hidden.bin and words.bin, in the order of `write`'s arguments."""
    return {_HIDDEN: manifest.hidden_size * _DTYPES[manifest.source.dtype].itemsize, _WORDS: 3 * 4}


def _read_manifest(folder: Path) -> Manifest:
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST).read_text(encoding="utf-8"))
    except (ValidationError, UnicodeDecodeError) as error:
        raise _damaged(
            folder, f"{MANIFEST} is not a features manifest of this version ({_first_line(error)})"
        ) from error
    rows = manifest.rows
    if manifest.source.dtype not in _DTYPES or len(rows) < 2 or rows[0] != 0 or list(rows) != sorted(set(rows)):
        raise _damaged(folder, f"{MANIFEST} holds an unknown dtype or rows out of order")
    if manifest.byteorder != sys.byteorder:
        raise FeatureStoreError(
            f"{folder} was written on a {manifest.byteorder}-endian machine, this one is {sys.byteorder}-endian: "
            "choose another folder"
        )
    return manifest


def _finished(folder: Path, manifest: Manifest) -> dict[int, set[str]]:
    """Return the finished batches with their checksums: several if several processes computed the same batch."""
    found: dict[int, set[str]] = {}
    for file in sorted(folder.glob(_DONE.format("*"))):
        # Text after the last line break was being written when the process was killed.
        for number, line in enumerate(file.read_bytes().split(b"\n")[:-1], start=1):
            try:
                note = json.loads(line)
                batch, checksum = int(note["batch"]), str(note["sha256"])
            except (ValueError, KeyError, TypeError) as error:
                raise _damaged(folder, f"{file.name}, line {number}, can't be read") from error
            if not 0 <= batch < len(manifest.rows) - 1:
                raise _damaged(folder, f"{file.name}, line {number}, names batch {batch}, which does not exist")
            found.setdefault(batch, set()).add(checksum)
    return found


def _drop_torn_line(file: Path) -> None:
    if file.exists():
        content = file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(file, len(whole))


def _damaged(folder: Path, what: str) -> FeatureStoreError:
    return FeatureStoreError(
        f"{folder} is damaged: {what}. Delete the folder to compute the features again, or choose another"
    )


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split("\n")[:2])


def _shown(name: str, there: object, here: object) -> str:
    plain = name.replace("_", " ")
    if isinstance(there, str) and len(there) == 64:
        return f"{plain} ({there[:8]}… there, {str(here)[:8]}… here)"
    return f"{plain} ({there} there, {here} here)"
