"""Only regular files are read, and only as much of them as was asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from langchain_toolken.disk.reading import parse_json, read_file, sha256_of


def test_a_file_and_a_link_to_one_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("file")
    assert read_file(tmp_path / "link", most=3) == read_file(tmp_path / "file") == b"abc"
    assert sha256_of(tmp_path / "link").startswith("ba7816bf")


def test_what_is_no_file_is_named_and_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "loop").symlink_to("loop")
    for name, said in (
        ("pipe", "it is a pipe"),
        ("zero", "it is a device"),
        (".", "it is a folder"),
        ("loop", "links"),
    ):
        for read in (read_file, sha256_of):
            with pytest.raises(OSError, match=said):
                read(tmp_path / name)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.truncate(tmp_path / "file", 1 << 40)
    with pytest.raises(OSError, match="it has 1,099,511,627,776 bytes, more than 1,000"):
        read_file(tmp_path / "file", most=1000)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[" * 200_000, "nested too deeply"),
        (b"1" * 5000, "digits"),
        (b"[NaN]", "it holds NaN"),
        (b"[-Infinity]", "it holds -Infinity"),
        (b'"\xff"', "decode"),
        (b"{", "Expecting"),
    ],
)
def test_what_is_no_json_is_a_value_error_that_says_why(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_json(content)
