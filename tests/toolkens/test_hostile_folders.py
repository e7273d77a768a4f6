"""No change of a saved set loads silently, and no folder hangs a load, fills the memory or gives a raw error."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from langchain_toolken.disk.sealed_json import sealed
from langchain_toolken.toolkens.errors import ToolkenSetError, ToolkenSetWarning
from langchain_toolken.toolkens.folder import SETTINGS_FILE, TENSORS_FILE, SavedSettings, read_folder, write_folder
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec
from tests.support.toolken_sets import PROVENANCE, make, same


def changes(content: bytes, seed: int = 0) -> list[bytes]:
    """One byte more, less or another, at 200 places."""
    rng = random.Random(seed)
    made = []
    for _ in range(200):
        place = rng.randrange(len(content))
        byte = bytes([rng.randrange(256)])
        end = place + rng.randrange(2)
        made.append(content[:place] + (b"" if end > place and rng.random() < 0.3 else byte) + content[end:])
    return [one for one in made if one != content]


@pytest.mark.parametrize("name", [SETTINGS_FILE, TENSORS_FILE])
def test_no_change_of_one_byte_loads(tmp_path: Path, name: str) -> None:
    make(["a", "b"]).save(tmp_path / "set")
    for content in changes((tmp_path / "set" / name).read_bytes()):
        (tmp_path / "set" / name).write_bytes(content)
        with pytest.raises(ToolkenSetError, match=name):
            ToolkenSet.load(tmp_path / "set")


def test_a_digit_of_a_bias_or_of_the_version_does_not_change_unnoticed(tmp_path: Path) -> None:
    make(["a"], bias=0.25).save(tmp_path / "set")
    file = tmp_path / "set" / SETTINGS_FILE
    whole = file.read_text()
    for old, new in (('"bias": 0.25', '"bias": 0.35'), ('"format_version": 4', '"format_version": 3')):
        assert old in whole
        file.write_text(whole.replace(old, new))
        with pytest.raises(ToolkenSetError, match=f"{SETTINGS_FILE} was changed after it was saved"):
            ToolkenSet.load(tmp_path / "set")


def test_further_files_of_a_set_are_read_back_and_checked(tmp_path: Path) -> None:
    toolkens = make(["a"])
    settings = SavedSettings(bias=0.0, specs=list(toolkens.specs), provenance=PROVENANCE)
    tensors = {"matrix": toolkens.matrix, "prior": toolkens.prior}
    write_folder(tmp_path / "set", settings, tensors, own_files={"more.jsonl": b"{}\n"})
    assert read_folder(tmp_path / "set").files == {"more.jsonl": b"{}\n"}
    write_folder(tmp_path / "set", settings, tensors, own_files={"more.jsonl": b"[]\n"})
    (tmp_path / "set" / "more.jsonl").write_bytes(b"[1]\n")
    with pytest.raises(ToolkenSetError, match="more.jsonl is not the file that toolkens.json was saved with"):
        read_folder(tmp_path / "set")
    (tmp_path / "set" / "more.jsonl").unlink()
    with pytest.raises(ToolkenSetError, match="more.jsonl is missing"):
        read_folder(tmp_path / "set")
    toolkens.save(tmp_path / "set")
    assert read_folder(tmp_path / "set").files == {}


def test_a_changed_report_is_told_and_a_missing_one_is_not(tmp_path: Path) -> None:
    toolkens, folder = make(["a"]), tmp_path / "set"
    toolkens.save(folder, extra_files={"report.html": "<p>", "README.md": "# A"})
    (folder / "README.md").write_text("# B")
    with pytest.warns(ToolkenSetWarning, match=r"README.md was changed after it was saved"):
        assert same(ToolkenSet.load(folder), toolkens)
    (folder / "README.md").unlink()
    assert same(ToolkenSet.load(folder), toolkens)


VERSION_3 = '{"format": "langchain-toolken toolkens", "format_version": 3, "payload_sha256": "0"'


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/dev/zero")


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("name", [SETTINGS_FILE, TENSORS_FILE])
@pytest.mark.parametrize(
    ("put", "said"),
    [
        (pipe, "it is a pipe, not a file|is not the file"),
        (link, "it is a device, not a file|is not the file"),
        (folder, "it is a folder, not a file|is not the file"),
        (lambda file: os.truncate(file, 1 << 42), "bytes, more than|is not the file"),
    ],
)
def test_what_is_no_file_or_too_large_is_refused_at_once(
    tmp_path: Path, name: str, put: Callable[[Path], Any], said: str
) -> None:
    make(["a"]).save(tmp_path / "set")
    put(tmp_path / "set" / name)
    with pytest.raises(ToolkenSetError, match=said) as caught:
        ToolkenSet.load(tmp_path / "set")
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 200_000, "nested too deeply"),
        (f'{VERSION_3}, "bias": {"1" * 5000}}}', "digits"),
        (f'{VERSION_3}, "bias": NaN}}', "NaN"),
        (f'{VERSION_3}, "beside_sha256": [1]}}', "beside: Input should be"),
        (f'{VERSION_3}, "beside_sha256": {{"../x": "0"}}}}', "'../x', which is no file's name"),
        ('{"format": "langchain-toolken toolkens", "format_version": [3]}', "format version"),
        ('{"format": "langchain-toolken toolkens", "format_version": {"a": 1}}', "format version"),
    ],
)
def test_a_forged_file_of_an_older_format_is_refused(tmp_path: Path, content: str, said: str) -> None:
    make(["a"]).save(tmp_path / "set")
    (tmp_path / "set" / SETTINGS_FILE).write_text(content)
    with pytest.raises(ToolkenSetError, match=said) as caught:
        ToolkenSet.load(tmp_path / "set")
    assert SETTINGS_FILE in str(caught.value)


@pytest.mark.parametrize(
    "field",
    [{"bias": 10**400}, {"bias": 1e300}, {"files": {}}, {"files": {"../toolkens.safetensors": {"sha256": "0"}}}],
    ids=["an integer beyond floats", "a number beyond float32", "no files", "a file elsewhere"],
)
def test_a_forged_file_with_its_right_checksum_is_refused(tmp_path: Path, field: dict[str, Any]) -> None:
    make(["a"]).save(tmp_path / "set")
    file = tmp_path / "set" / SETTINGS_FILE
    content = json.loads(file.read_text())
    del content["sha256"]
    file.write_bytes(sealed({**content, **field}))
    with pytest.raises(ToolkenSetError, match="toolkens"):
        ToolkenSet.load(tmp_path / "set")


def test_a_name_that_no_system_takes_and_a_loop_of_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name in ("x" * 5000, "loop"):
        with pytest.raises(ToolkenSetError, match="can't be read|does not exist"):
            ToolkenSet.load(tmp_path / name)


@pytest.mark.parametrize("fault", [float("nan"), "\ud800"], ids=["NaN", "half a pair"])
def test_a_tool_that_json_cannot_hold_is_named_when_saved(tmp_path: Path, fault: object) -> None:
    odd = ToolSpec(name="odd", description="Odd.", json_schema={"default": fault})
    rows = torch.zeros(2, 4)
    toolkens = ToolkenSet(
        specs=(*make(["a"]).specs, odd), matrix=rows, prior=rows.clone(), bias=0.0, provenance=PROVENANCE
    )
    with pytest.raises(ToolkenSetError, match="tool 'odd' holds what JSON can't"):
        toolkens.save(tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_set_with_other_files_is_not_replaced_and_the_reason_is_said(tmp_path: Path) -> None:
    make(["a"]).save(tmp_path / "set", extra_files={"report.html": "<p>"})
    (tmp_path / "set" / SETTINGS_FILE).write_text("{}")
    with pytest.raises(ToolkenSetError, match=r"nothing says whether saving may delete that .*give a new folder"):
        make(["b"]).save(tmp_path / "set")
    shutil.rmtree(tmp_path / "set")
    make(["b"]).save(tmp_path / "set")
