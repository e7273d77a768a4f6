"""Store features in a folder: written while they are computed, resumed after a kill, memory-mapped for reading.

    manifest.json        what the features are of, and their layout
    hidden.bin           (N, d) hidden states in the LM's dtype, row by row
    words.bin            (N, 3) float32: logsumexp of the word logits, the largest, that of the word that follows
    requests.bin         (M, d) mean hidden states over the requests of M demonstrations, in the LM's dtype
    targets.safetensors  target (N,) int64, weight (N,) float32, demonstration (N,) int64
    done-R.jsonl         the batches that process R has finished, one per line, with the sha256 of their rows

A batch's rows are on disk before its line is, so a line means that the batch is complete. The size is known before the
LM runs: N (d b + 32) + M d b bytes for N positions of M demonstrations, with b = 4 bytes for an LM in float32 and 2 for
one in bfloat16 or float16, whose states are stored as they are. For 47,000 tools with ten demonstrations each, d = 4096
in bfloat16, one call and 8 words per demonstration: 470,000 x (9 x 8,224 + 8,192) bytes = 39 GB.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from langchain_toolken.disk.lock import held
from langchain_toolken.disk.reading import parse_json, read_file, sha256_of
from langchain_toolken.disk.writing import sync_folder, writing
from langchain_toolken.progress import Progress
from langchain_toolken.training.features.manifest import (
    DTYPES,
    MANIFEST,
    FeatureSource,
    FeatureStoreError,
    Manifest,
    damaged,
    read_manifest,
)

_HIDDEN, _WORDS, _REQUESTS = "hidden.bin", "words.bin", "requests.bin"
_TARGETS, _DONE = "targets.safetensors", "done-{}.jsonl"
_LOCK, _UNFINISHED = "lock", f"{MANIFEST}.new"


class FeatureStoreWarning(UserWarning):
    """Another process is at work in a features folder."""


def check_folder(folder: Path) -> None:
    """Check that features can be kept in `folder`, before the LM is loaded. Leaves nothing there.

    Raises:
        FeatureStoreError: The folder holds other files and no features, or its manifest is damaged.
        WriteError: It can't be written.
    """
    _refuse_other_files(folder)
    if (folder / MANIFEST).exists():
        read_manifest(folder)
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    with writing(folder):
        tempfile.TemporaryFile(dir=there).close()


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Keep other processes from working in the features folder inside; wait for one that does. Makes the folder.

    Yields:
        Whether they are kept from it. Not if the file system has no locks: then check at the end what was written.

    Raises:
        FeatureStoreError: The folder holds other files and no features.
        WriteError: It can't be made.

    Warns:
        FeatureStoreWarning: Another process is at work in it.
    """
    _refuse_other_files(folder)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)

    def tell() -> None:
        what = "another process is computing the features in it. Waiting until it has finished, to go on with them"
        warnings.warn(f"{folder}: {what}", FeatureStoreWarning, stacklevel=5)

    with held(folder / _LOCK, on_wait=tell) as alone:
        yield alone


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
        return DTYPES[self.manifest.source.dtype]

    @classmethod
    def create(
        cls,
        folder: Path,
        source: FeatureSource,
        *,
        batch_tokens: int,
        hidden_size: int,
        rows: Sequence[int],
        requests: Sequence[int],
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
            requests: Index of each batch's first demonstration, followed by M.
            targets: The columns target, weight and demonstration, (N,) each.
            durable: Sync each batch to disk, so that it survives a crash of the machine. Off for temporary stores.

        Raises:
            FeatureStoreError: The folder holds other files.
            WriteError: The folder can't be written, or the disk is full.
        """
        _refuse_other_files(folder)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        content = save({name: column.contiguous() for name, column in targets.items()})
        _write(folder / _TARGETS, content, durable=durable)
        manifest = Manifest(
            source=source,
            batch_tokens=batch_tokens,
            hidden_size=hidden_size,
            rows=tuple(rows),
            requests=tuple(requests),
            targets_sha256=hashlib.sha256(content).hexdigest(),
        )
        for name, (width, starts) in _rows_of(manifest).items():
            with writing(folder / name), open(folder / name, "wb") as file:
                file.truncate(starts[-1] * width)
                _sync(file, durable=durable)
        _write(folder / _UNFINISHED, manifest.to_bytes(), durable=durable)
        with writing(folder / MANIFEST):
            (folder / _UNFINISHED).replace(folder / MANIFEST)
            if durable:
                sync_folder(folder)
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
        manifest = read_manifest(folder)
        targets = folder / _TARGETS
        sizes = {folder / name: starts[-1] * width for name, (width, starts) in _rows_of(manifest).items()}
        for file in (targets, *sizes):
            if not file.is_file():
                raise damaged(folder, f"{file.name} is missing")
        for file, size in sizes.items():
            if file.stat().st_size != size:
                raise damaged(folder, f"{file.name} has {file.stat().st_size:,} bytes instead of {size:,}")
        if sha256_of(targets) != manifest.targets_sha256:
            raise damaged(folder, f"{_TARGETS} does not match its checksum")
        done = _finished(folder, manifest)
        store = cls(folder, manifest, done, rank, durable=durable)
        if check:
            try:
                store._check(done, progress)
            except OSError as error:
                raise damaged(folder, f"{_HIDDEN} or {_WORDS} can't be read ({error.strerror})") from error
        return store

    def write(self, batch: int, hidden: Tensor, words: Tensor, requests: Tensor) -> None:
        """Write a batch's rows and note that it is done.

        Args:
            batch: Index of the batch.
            hidden: (n, d), from `run_batch`.
            words: (n, 3) float32, from `run_batch`.
            requests: (m, d), from `run_batch`.

        Raises:
            FeatureStoreError: The states are not in the store's dtype.
            WriteError: The disk is full, say.
        """
        if hidden.dtype != self.dtype:
            raise FeatureStoreError(f"{self.folder} holds {self.dtype} states, but the LM gives {hidden.dtype}")
        digest = hashlib.sha256()
        parts = zip(_rows_of(self.manifest).items(), (hidden, words, requests), strict=True)
        for (name, (width, starts)), rows in parts:
            content = rows.contiguous().view(torch.uint8).numpy().tobytes()
            digest.update(content)
            with writing(self.folder / name), open(self.folder / name, "r+b") as file:
                file.seek(starts[batch] * width)
                file.write(content)
                _sync(file, durable=self._durable)
        note = self.folder / _DONE.format(self._rank)
        with writing(note):
            if not self._notes:
                _drop_torn_line(note)
                self._notes = True
            with open(note, "ab") as file:
                file.write(_note(batch, digest.hexdigest()) + b"\n")
                _sync(file, durable=self._durable)

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
            raise damaged(self.folder, f"{_TARGETS} can't be read ({error})") from error
        return {**columns, "words": self._mapped(_WORDS, 3, torch.float32).clone()}

    def hidden(self) -> Tensor:
        """Return the hidden states (N, d), memory-mapped, in the dtype that the LM ran in. Don't write to them."""
        return self._mapped(_HIDDEN, self.manifest.hidden_size, self.dtype)

    def requests(self) -> Tensor:
        """Return the requests' mean states (M, d), memory-mapped, in the dtype that the LM ran in."""
        return self._mapped(_REQUESTS, self.manifest.hidden_size, self.dtype)

    def _mapped(self, name: str, width: int, dtype: torch.dtype) -> Tensor:
        rows = _rows_of(self.manifest)[name][1][-1]
        return torch.from_file(str(self.folder / name), size=rows * width, dtype=dtype).view(rows, width)

    def _check(self, done: dict[int, set[str]], progress: Progress | None) -> None:
        files = _rows_of(self.manifest)
        with ExitStack() as stack:
            opened = {name: stack.enter_context(open(self.folder / name, "rb")) for name in files}
            for number, batch in enumerate(sorted(done), start=1):
                digest = hashlib.sha256()
                for name, (width, starts) in files.items():
                    opened[name].seek(starts[batch] * width)
                    digest.update(opened[name].read((starts[batch + 1] - starts[batch]) * width))
                if digest.hexdigest() not in done[batch]:
                    start, stop = self.manifest.rows[batch : batch + 2]
                    raise damaged(
                        self.folder,
                        f"positions {start} to {stop - 1} in {', '.join(files)} do not match their checksum",
                    )
                if progress is not None:
                    progress(number, len(done), "check features")


def _refuse_other_files(folder: Path) -> None:
    """Raise FeatureStoreError if `folder` can't be a features folder, nor become one."""
    ours = {_HIDDEN, _WORDS, _REQUESTS, _TARGETS, _UNFINISHED, _LOCK}  # left by a kill before the manifest was there
    if os.path.lexists(folder) and not folder.is_dir():
        raise FeatureStoreError(f"{folder} is a file: choose an empty folder, or one that does not exist")
    with writing(folder):
        begun = folder.is_dir() and not (folder / MANIFEST).exists()
        others = begun and any(file.name not in ours for file in folder.iterdir())
    if others:
        raise FeatureStoreError(
            f"{folder} holds other files and no features: choose an empty folder, or one that does not exist"
        )


def _write(file: Path, content: bytes, *, durable: bool) -> None:
    with writing(file), open(file, "wb") as stream:
        stream.write(content)
        _sync(stream, durable=durable)


def _sync(stream: BinaryIO, *, durable: bool) -> None:
    stream.flush()
    if durable:
        os.fsync(stream.fileno())


def _rows_of(manifest: Manifest) -> dict[str, tuple[int, tuple[int, ...]]]:
    """Return each file's bytes per row and where each batch's rows start, in the order of `write`'s arguments."""
    state = manifest.hidden_size * DTYPES[manifest.source.dtype].itemsize
    return {
        _HIDDEN: (state, manifest.rows),
        _WORDS: (3 * 4, manifest.rows),
        _REQUESTS: (state, manifest.requests),
    }


def _finished(folder: Path, manifest: Manifest) -> dict[int, set[str]]:
    """Return the finished batches with their checksums: several if several processes computed the same batch."""
    found: dict[int, set[str]] = {}
    for file in sorted(folder.glob(_DONE.format("*"))):
        # Text after the last line break was being written when the process was killed.
        try:
            lines = read_file(file).split(b"\n")[:-1]
        except OSError as error:
            raise damaged(folder, f"{file.name} can't be read ({error.strerror})") from error
        for number, line in enumerate(lines, start=1):
            try:
                note = parse_json(line)
                batch, checksum = int(note["batch"]), str(note["sha256"])
                if line != _note(batch, checksum):
                    raise ValueError("it was changed")
            except (ValueError, KeyError, TypeError) as error:
                raise damaged(folder, f"{file.name}, line {number}, can't be read") from error
            if not 0 <= batch < len(manifest.rows) - 1:
                raise damaged(folder, f"{file.name}, line {number}, names batch {batch}, which does not exist")
            found.setdefault(batch, set()).add(checksum)
    return found


def _note(batch: int, checksum: str) -> bytes:
    return json.dumps({"batch": batch, "sha256": checksum}).encode()


def _drop_torn_line(file: Path) -> None:
    if file.exists():
        content = file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(file, len(whole))
