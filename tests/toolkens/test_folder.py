"""A folder of toolkens is read back as it was saved, or refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from safetensors.torch import save as tensors_to_bytes

from langchain_toolken.disk.sealed_json import sealed
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.folder import SETTINGS_FILE, TENSORS_FILE, check_place
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.toolken_sets import PROVENANCE, make, same, sets, spec


def as_version(folder: Path, version: int) -> None:
    """Makes toolkens.json what an older version of this package wrote: without its checksum and the list of files."""
    content = json.loads((folder / SETTINGS_FILE).read_text())
    del content["sha256"]
    content["payload_sha256"] = content.pop("files")[TENSORS_FILE]["sha256"]
    content["beside_sha256"] = {name: saved["sha256"] for name, saved in content.pop("beside").items()}
    if version == 1:
        del content["calibration"], content["provenance"]["added"], content["beside_sha256"]
    (folder / SETTINGS_FILE).write_text(json.dumps({**content, "format_version": version}, indent=1))


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_folder_of_an_older_format_loads_and_is_replaced(tmp_path: Path, version: int) -> None:
    toolkens, folder = make(["a", "b"]), tmp_path / "set"
    toolkens.save(folder, extra_files={} if version == 1 else {"report.html": "<p>"})
    as_version(folder, version)
    assert same(ToolkenSet.load(folder), toolkens)
    toolkens.save(folder)
    assert sorted(entry.name for entry in folder.iterdir()) == [SETTINGS_FILE, TENSORS_FILE]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sets())
def test_a_saved_set_loads_as_it_was_and_over_another(tmp_path: Path, toolkens: ToolkenSet) -> None:
    folder = tmp_path / "deep" / "set"
    toolkens.save(folder)
    assert same(ToolkenSet.load(folder), toolkens)
    assert sorted(entry.name for entry in folder.iterdir()) == [SETTINGS_FILE, TENSORS_FILE]
    assert [entry.name for entry in folder.parent.iterdir()] == ["set"]


def test_toolkens_that_are_still_their_prior_can_be_saved(tmp_path: Path) -> None:
    rows = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    unfitted = ToolkenSet(specs=(spec("a"), spec("b")), matrix=rows, prior=rows, bias=0.0, provenance=PROVENANCE)
    unfitted.save(tmp_path / "set")
    assert same(ToolkenSet.load(tmp_path / "set"), unfitted)


def test_a_set_is_saved_through_a_link_and_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(["a"]).save("real")
    Path("link").symlink_to("real")
    make(["b"]).save("link")
    assert Path("link").is_symlink()
    assert ToolkenSet.load("real").names == ("b",)


def test_a_folder_with_other_things_in_it_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ToolkenSetError, match=r"holds something else \(thesis.tex\) that saving would delete"):
        make(["a"]).save(tmp_path)
    with pytest.raises(ToolkenSetError, match="is a file"):
        make(["a"]).save(tmp_path / "thesis.tex")
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_place_is_checked_as_a_save_would_and_left_as_it_was(tmp_path: Path) -> None:
    check_place(tmp_path / "deep" / "set")
    assert list(tmp_path.iterdir()) == []
    make(["a"]).save(tmp_path / "set")
    check_place(tmp_path / "set")
    assert [each.name for each in tmp_path.iterdir()] == ["set"]
    (tmp_path / "set" / "mine.txt").write_text("x")
    with pytest.raises(ToolkenSetError, match=r"something else \(mine.txt\)"):
        check_place(tmp_path / "set")
    with pytest.raises(ToolkenSetError, match=r"can't be written .*toolkens.json: Not a directory"):
        check_place(tmp_path / "set" / SETTINGS_FILE / "set")


def rewrite(folder: Path, tensors: dict[str, torch.Tensor] | bytes) -> None:
    """Puts other tensors into a saved folder, with their right checksum."""
    payload = tensors if isinstance(tensors, bytes) else tensors_to_bytes(tensors)
    (folder / TENSORS_FILE).write_bytes(payload)
    listed = {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}
    change_settings(folder, files={TENSORS_FILE: listed})


def reformat(folder: Path) -> None:
    content = json.loads((folder / SETTINGS_FILE).read_text())
    (folder / SETTINGS_FILE).write_text(json.dumps(content))


def change_settings(folder: Path, **changes: Any) -> None:
    """Changes fields of a saved toolkens.json, with its right checksum."""
    content = json.loads((folder / SETTINGS_FILE).read_text())
    del content["sha256"]
    (folder / SETTINGS_FILE).write_bytes(sealed({**content, **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: os.truncate(f / TENSORS_FILE, 60), f"{TENSORS_FILE} is not the file.*truncated.*fit anew"),
        (lambda f: os.truncate(f / TENSORS_FILE, 0), f"{TENSORS_FILE} is not the file"),
        (lambda f: (f / TENSORS_FILE).unlink(), f"{TENSORS_FILE} is missing"),
        (lambda f: (f / SETTINGS_FILE).unlink(), f"{SETTINGS_FILE} is missing"),
        (lambda f: os.truncate(f / SETTINGS_FILE, 60), f"{SETTINGS_FILE} is not JSON"),
        (lambda f: os.truncate(f / SETTINGS_FILE, 200), f"{SETTINGS_FILE} was changed after it was saved"),
        (lambda f: reformat(f), f"{SETTINGS_FILE} was changed after it was saved"),
        (lambda f: (f / SETTINGS_FILE).write_bytes(b"\xff\xfe"), f"{SETTINGS_FILE} is not JSON"),
        (lambda f: (f / SETTINGS_FILE).write_text("[]"), "was not written by langchain-toolken"),
        (lambda f: (f / SETTINGS_FILE).write_text('{"model_type": "llama"}'), "was not written by langchain-toolken"),
        (lambda f: change_settings(f, format_version=99), "format version 99.*install the version that wrote it"),
        (lambda f: change_settings(f, provenance={}), "provenance.model_id: Field required"),
        (lambda f: change_settings(f, bias="many"), "bias: "),
        (lambda f: change_settings(f, extra=1), "extra: "),
        (lambda f: change_settings(f, specs=[]), f"{TENSORS_FILE}: matrix has shape .2, 4.; 0 tools"),
        (lambda f: rewrite(f, b"not tensors"), f"{TENSORS_FILE} is not a safetensors file"),
        (lambda f: rewrite(f, struct.pack("<Q", 2**40) + b"{}"), f"{TENSORS_FILE} is not a safetensors file"),
        (lambda f: rewrite(f, {"weight": torch.zeros(2, 4)}), r"holds \['weight'\], not 'matrix' and 'prior'"),
        (lambda f: rewrite(f, {"matrix": torch.zeros(2, 4), "prior": torch.zeros(2, 5)}), "differ in shape"),
        (lambda f: rewrite(f, {"matrix": torch.zeros(2, 4).half(), "prior": torch.zeros(2, 4)}), "not float32"),
        (
            lambda f: rewrite(f, {"matrix": torch.full((2, 4), float("nan")), "prior": torch.zeros(2, 4)}),
            f"{TENSORS_FILE}: matrix has a value that is not finite, in the row of 'a'",
        ),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path: Path, damage: Callable[[Path], Any], message: str) -> None:
    folder = tmp_path / "set"
    make(["a", "b"]).save(folder)
    damage(folder)
    with pytest.raises(ToolkenSetError, match=message) as caught:
        ToolkenSet.load(folder)
    assert str(folder) in str(caught.value)


def test_files_of_two_saves_are_not_taken_for_one_set(tmp_path: Path) -> None:
    make(["a"], seed=1).save(tmp_path / "one")
    make(["a"], seed=2).save(tmp_path / "two")
    shutil.copy(tmp_path / "one" / TENSORS_FILE, tmp_path / "two" / TENSORS_FILE)
    with pytest.raises(ToolkenSetError, match="from another set"):
        ToolkenSet.load(tmp_path / "two")


def test_a_folder_that_is_not_there_or_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolkenSetError, match=r"gone does not exist: give the folder that `toolken fit --out`"):
        ToolkenSet.load(tmp_path / "gone")
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolkenSetError, match="is a file, not a folder"):
        ToolkenSet.load(tmp_path / "file")
