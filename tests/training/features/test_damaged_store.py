"""Folders that are damaged, full, or of something else are named and left as they are."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from langchain_toolken.disk.writing import WriteError
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.training.features import store as store_module
from langchain_toolken.training.features.compute import compute_features
from langchain_toolken.training.features.manifest import FeatureStoreError
from tests.support.feature_stores import NAMES, assert_same, compute, demonstrations
from tests.support.tiny import make_model


@pytest.mark.parametrize("name", ["manifest.json", "done-0.jsonl", "targets.safetensors", "hidden.bin"])
@pytest.mark.parametrize("put", ["pipe", "device", "deep"])
def test_a_hostile_file_is_named_and_not_waited_for(
    tiny_llama: LanguageModel, tmp_path: Path, name: str, put: str
) -> None:
    compute(tiny_llama, tmp_path)
    (tmp_path / name).unlink()
    if put == "pipe":
        os.mkfifo(tmp_path / name)
    elif put == "device":
        (tmp_path / name).symlink_to("/dev/zero")
    else:
        (tmp_path / name).write_text("[" * 200_000 + "\n")
    with pytest.raises(FeatureStoreError, match=name):
        compute(tiny_llama, tmp_path)


@pytest.mark.parametrize("name", ["targets.safetensors", "manifest.json", "hidden.bin", "done-0.jsonl"])
def test_a_full_disk_is_told_with_the_file_and_the_fit_goes_on_when_there_is_space(
    tiny_llama: LanguageModel, tmp_path: Path, monkeypatch, name: str
) -> None:
    sync = store_module._sync

    def full(stream, **options) -> None:
        if name in stream.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(stream, **options)

    monkeypatch.setattr(store_module, "_sync", full)
    with pytest.raises(WriteError, match=rf"{name}\S* can't be written: No space left on device. .* free some space"):
        compute(tiny_llama, tmp_path)
    monkeypatch.setattr(store_module, "_sync", sync)
    assert_same(compute(tiny_llama, tmp_path), compute(tiny_llama, None))


@pytest.mark.parametrize("name", ["hidden.bin", "words.bin", "targets.safetensors"])
def test_a_flipped_bit_is_found_and_the_file_named(tiny_llama: LanguageModel, tmp_path: Path, name: str) -> None:
    compute(tiny_llama, tmp_path)
    content = bytearray((tmp_path / name).read_bytes())
    content[-3] ^= 1
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FeatureStoreError, match=name) as refusal:
        compute(tiny_llama, tmp_path)
    assert str(tmp_path) in str(refusal.value)
    assert "Delete the folder" in str(refusal.value)
    assert (tmp_path / name).read_bytes() == content, "nothing is overwritten"


def test_no_change_of_a_note_is_overlooked(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    compute(tiny_llama, tmp_path)
    notes = tmp_path / "done-0.jsonl"
    notes.write_bytes(notes.read_bytes().replace(b'": ', b'":\t', 1))
    with pytest.raises(FeatureStoreError, match=r"done-0.jsonl, line 1, can't be read"):
        compute(tiny_llama, tmp_path)


def test_a_folder_that_cannot_be_listed_is_told(tiny_llama: LanguageModel, tmp_path: Path, monkeypatch) -> None:
    def refused(self: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(WriteError, match=f"{tmp_path} can't be written: Permission denied"):
        compute(tiny_llama, tmp_path)


@pytest.mark.parametrize("name", ["hidden.bin", "words.bin", "targets.safetensors"])
def test_a_missing_or_short_file_is_named(tiny_llama: LanguageModel, tmp_path: Path, name: str) -> None:
    compute(tiny_llama, tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-8])
    with pytest.raises(FeatureStoreError, match=name):
        compute(tiny_llama, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FeatureStoreError, match=f"{name} is missing"):
        compute(tiny_llama, tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{}", "manifest.json"),
        ("not json", "manifest.json"),
        ('{"name": "someone else\'s"}', "manifest.json"),
    ],
)
def test_a_foreign_manifest_is_refused(tiny_llama: LanguageModel, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(FeatureStoreError, match=said):
        compute(tiny_llama, tmp_path)
    assert (tmp_path / "manifest.json").read_text() == content


def test_a_folder_with_other_files_is_left_alone(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(FeatureStoreError, match="empty folder"):
        compute(tiny_llama, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(FeatureStoreError, match="empty folder"):
        compute(tiny_llama, tmp_path / "thesis.tex")


def test_features_of_something_else_are_refused_with_what_differs(tiny_llama: LanguageModel, tmp_path: Path) -> None:
    compute(tiny_llama, tmp_path)
    before = (tmp_path / "manifest.json").read_bytes()
    changes = [
        ({"demos": demonstrations(11)}, "demonstrations"),
        ({"negatives_per_demonstration": 3}, "negatives per demonstration \\(64 there, 3 here\\)"),
    ]
    for options, said in changes:
        with pytest.raises(FeatureStoreError, match=said):
            compute(tiny_llama, tmp_path, **options)  # type: ignore[arg-type]
    with pytest.raises(FeatureStoreError, match="style \\(completion there, chat here\\)"):
        compute_features(tiny_llama, demonstrations(), NAMES, "chat", folder=tmp_path)
    # The same head on another body, as in two fine-tuned versions of one LM.
    other = make_model("llama")
    with torch.no_grad():
        other.get_parameter("model.layers.0.mlp.up_proj.weight").mul_(1.01)
    twin = load_language_model(other, tokenizer=tiny_llama.tokenizer)
    assert twin.head_fingerprint == tiny_llama.head_fingerprint
    with pytest.raises(FeatureStoreError, match="weights fingerprint"):
        compute(twin, tmp_path)
    assert (tmp_path / "manifest.json").read_bytes() == before
