"""`Manifest`: what the features in a folder are of, and their layout; and the error of features folders."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from langchain_toolken.disk.reading import parse_json, read_file
from langchain_toolken.disk.sealed_json import intact, sealed
from langchain_toolken.errors import ToolkenError

MANIFEST = "manifest.json"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# A hundred million batches take 1 GB.
_MOST_BYTES = 1 << 30


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
        requests: Index of each batch's first demonstration in requests.bin, followed by M.
        targets_sha256: Checksum of targets.safetensors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["langchain-toolken features"] = "langchain-toolken features"
    version: Literal[3] = 3
    byteorder: str = sys.byteorder
    source: FeatureSource
    batch_tokens: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    rows: tuple[int, ...]
    requests: tuple[int, ...]
    targets_sha256: str

    def to_bytes(self) -> bytes:
        """Return the content of manifest.json."""
        return sealed(self.model_dump(mode="json"))


def read_manifest(folder: Path) -> Manifest:
    """Read manifest.json.

    Raises:
        FeatureStoreError: It is damaged, was changed, or is of another version or machine.
    """
    try:
        raw = read_file(folder / MANIFEST, most=_MOST_BYTES)
        whole = intact(raw)
        if whole is False:
            raise damaged(folder, f"{MANIFEST} was changed after it was written (its checksum differs)")
        content = parse_json(raw)
        if whole is not None:
            del content["sha256"]
        manifest = Manifest.model_validate(content)
    except OSError as error:
        raise damaged(folder, f"{MANIFEST} can't be read ({error.strerror})") from error
    except FeatureStoreError:
        raise
    except (ValidationError, ValueError, RecursionError) as error:
        raise damaged(
            folder, f"{MANIFEST} is not a features manifest of this version ({_first_line(error)})"
        ) from error
    if whole is None:
        raise damaged(folder, f"{MANIFEST} was changed after it was written (it has no checksum)")
    rows = manifest.rows
    bad = any(len(r) != len(rows) or r[0] != 0 or list(r) != sorted(set(r)) for r in (rows, manifest.requests))
    if manifest.source.dtype not in DTYPES or len(rows) < 2 or bad:
        raise damaged(folder, f"{MANIFEST} holds an unknown dtype or rows out of order")
    if manifest.byteorder != sys.byteorder:
        raise FeatureStoreError(
            f"{folder} was written on a {manifest.byteorder}-endian machine, this one is {sys.byteorder}-endian: "
            "choose another folder"
        )
    return manifest


def damaged(folder: Path, what: str) -> FeatureStoreError:
    """Return the error of a damaged folder."""
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
