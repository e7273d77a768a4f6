"""A folder of toolkens is whole, whatever happens while it is saved."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from langchain_toolken.disk.writing import WriteError
from langchain_toolken.toolkens import folder as folder_module
from langchain_toolken.toolkens import folder_swap
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.folder_swap import place_of_new, turn
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.toolken_sets import make, same


class Killed(BaseException):
    """The process ends here: nothing after it runs."""


class Steps:
    """Counts the file system calls of a save; ends the save before the n-th, without its clean-up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, before: int | None = None) -> None:
        self.count = 0
        self.before = before
        self.dead = False
        for owner, name in (
            (Path, "mkdir"),
            (Path, "rename"),
            (folder_swap, "_write_synced"),
            (folder_swap, "sync_folder"),
            (shutil, "rmtree"),
        ):
            monkeypatch.setattr(owner, name, self.watch(getattr(owner, name), name))

    def watch(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                return None
            self.count += 1
            if self.count == self.before:
                self.dead = True
                if name == "_write_synced":
                    Path(args[0]).write_bytes(args[1][: len(args[1]) // 2])
                raise Killed
            return function(*args, **kwargs)

        return watched


def steps_of_a_save(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        steps = Steps(patch)
        make(["new"], seed=2).save(folder)
    return steps.count


def test_a_save_killed_at_any_step_leaves_the_old_set_or_the_new_one(tmp_path: Path) -> None:
    old, new, later = make(["old"], seed=1), make(["new"], seed=2), make(["later"], seed=3)
    old.save(tmp_path / "probe")
    found: list[str] = []
    for step in range(1, steps_of_a_save(tmp_path / "probe") + 1):
        folder = tmp_path / str(step) / "set"
        old.save(folder)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            Steps(patch, before=step)
            new.save(folder)
        survivor = ToolkenSet.load(folder)
        assert same(survivor, old) or same(survivor, new)
        found.append(survivor.names[0])
        if step % 2:  # a load clears what is left over, as a save does
            later.save(folder)
            assert same(ToolkenSet.load(folder), later)
        left = [entry.name for entry in folder.parent.iterdir() if entry != folder]
        assert not left or (not folder.exists() and len(left) == 1), left
    assert found == sorted(found, reverse=True)  # old up to some step, new from there on
    assert set(found) == {"old", "new"}


def test_a_first_save_killed_leaves_no_set(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        Steps(patch, before=4)
        make(["a"]).save(tmp_path / "set")
    with pytest.raises(ToolkenSetError, match="does not exist"):
        ToolkenSet.load(tmp_path / "set")


def test_a_failed_save_puts_the_old_set_back_and_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "set"
    make(["old"]).save(folder)

    def full(file: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folder_swap, "_write_synced", full)
    with pytest.raises(WriteError, match=r"set/toolkens.safetensors can't be written: No space left .*free some space"):
        make(["new"]).save(folder)
    assert ToolkenSet.load(folder).names == ("old",)
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_a_reader_whose_folder_is_replaced_between_its_two_files_reads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    make(["old"], seed=1).save(folder)
    read = folder_module._read_header
    times = 0

    def replaced_after(place: Path, shown: Path) -> Any:
        nonlocal times
        times += 1
        content = read(place, shown)
        if times == 1:
            make(["new"], seed=2).save(folder)
        return content

    monkeypatch.setattr(folder_module, "_read_header", replaced_after)
    assert same(ToolkenSet.load(folder), make(["new"], seed=2))
    assert times == 2


def test_what_a_living_process_is_writing_is_left_alone_and_the_rest_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    make(["a"]).save(folder)
    with turn(folder):
        written = place_of_new(folder)
        written.mkdir()
        ToolkenSet.load(folder)
        assert written.exists(), "its process lives"
    ToolkenSet.load(folder)
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_a_save_whose_folder_is_replaced_while_it_is_checked_looks_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    make(["old"]).save(folder, extra_files={"report.html": "old"})
    read = folder_module._read_header
    times = 0

    def replaced_after(place: Path, shown: Path) -> Any:
        nonlocal times
        times += 1
        content = read(place, shown)
        if times == 1:  # as where there are no locks
            files = {entry.name: entry.read_bytes() for entry in place.iterdir()}
            make(["other"]).save(tmp_path / "elsewhere", extra_files={"report.html": "other"})
            files |= {entry.name: entry.read_bytes() for entry in (tmp_path / "elsewhere").iterdir()}
            folder_swap.swap_in(folder, files)
        return content

    monkeypatch.setattr(folder_module, "_read_header", replaced_after)
    make(["new"]).save(folder, extra_files={"report.html": "new"})
    assert times >= 2
    assert ToolkenSet.load(folder).names == ("new",)


def test_saves_of_many_at_once_each_succeed_and_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "set"
    inside: list[int] = []
    most = 0
    write = folder_swap._write_synced

    def counted(file: Path, content: bytes) -> None:
        nonlocal most
        inside.append(1)
        most = max(most, len(inside))
        write(file, content)
        inside.pop()

    monkeypatch.setattr(folder_swap, "_write_synced", counted)
    with ThreadPoolExecutor(6) as threads:
        saves = [
            threads.submit(make([f"tool{n}"]).save, folder, extra_files={"report.html": f"{n}"}) for n in range(24)
        ]
        for save in saves:
            save.result()
    assert most == 1
    assert len(ToolkenSet.load(folder)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_a_save_that_another_process_holds_up_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder_swap, "_PATIENCE", 0.01)
    with turn(tmp_path / "set"), pytest.raises(ToolkenSetError, match="another process has been saving to"):
        make(["a"]).save(tmp_path / "set")
