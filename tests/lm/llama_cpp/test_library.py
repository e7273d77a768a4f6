"""lm.llama_cpp.library: which compilers are trusted with AMX."""

from __future__ import annotations

from pathlib import Path

import pytest

from langchain_toolken.lm.llama_cpp.library import amx_is_sound


@pytest.mark.parametrize(
    ("notes", "sound"),
    [
        ("GCC: (Debian 12.2.0-14+deb12u1) 12.2.0", False),
        ("GCC: (GNU) 11.5.0", False),
        ("GCC: (Ubuntu 12.4.0-2ubuntu1) 12.4.0", True),
        ("GCC: (Ubuntu 13.2.0-23ubuntu4) 13.2.0", False),
        ("GCC: (Ubuntu 13.3.0-6ubuntu2) 13.3.0", True),
        ("GCC: (GNU) 15.1.1 20250425", True),
        ("GCC: (GNU) 14.2.0\0GCC: (GNU) 12.2.0", False),
        # Its start-up files come from gcc.
        ("GCC: (Debian 12.2.0-14+deb12u1) 12.2.0\0Debian clang version 19.1.7 (3~deb12u1)", True),
        ("nothing is said", False),
    ],
)
def test_the_compiler_is_told_by_the_librarys_notes(tmp_path: Path, notes: str, sound: bool) -> None:
    (tmp_path / "libggml-cpu.so").write_bytes(b"\x7fELF\0" + notes.encode() + b"\0")
    assert amx_is_sound(tmp_path) is sound


def test_all_libraries_have_to_be_sound_and_one_has_to_be_there(tmp_path: Path) -> None:
    assert not amx_is_sound(tmp_path)
    (tmp_path / "libggml-cpu-x64.so").write_bytes(b"GCC: (GNU) 14.2.0")
    assert amx_is_sound(tmp_path)
    (tmp_path / "libggml-cpu-sapphirerapids.so").write_bytes(b"GCC: (GNU) 12.2.0")
    assert not amx_is_sound(tmp_path)
