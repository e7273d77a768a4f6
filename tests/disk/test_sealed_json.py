"""Sealed JSON is JSON, and no change of one byte of it goes unnoticed."""

from __future__ import annotations

import json

import pytest

from langchain_toolken.disk.sealed_json import intact, sealed


def test_what_is_sealed_is_json_with_its_checksum_first() -> None:
    content = sealed({"a": "ü", "b": [1, None]})
    assert intact(content) is True
    read = json.loads(content)
    assert list(read) == ["sha256", "a", "b"]
    assert (read["a"], read["b"]) == ("ü", [1, None])


def test_no_change_of_one_byte_leaves_it_intact() -> None:
    content = sealed({"name": "x", "number": 1.5})
    for place in range(len(content)):
        for other in (content[place] ^ 1, content[place] ^ 32, 0, 255):
            changed = content[:place] + bytes([other]) + content[place + 1 :]
            assert not intact(changed) or other == content[place]
        assert not intact(content[:place] + content[place + 1 :]), "a byte less"
        assert not intact(content[:place] + b" " + content[place:]), "a byte more"


def test_other_json_has_no_seal() -> None:
    assert intact(b'{"sha256": "0"}') is None
    assert intact(b"") is None


@pytest.mark.parametrize("fault", [float("nan"), "\ud800", 10**5000], ids=["NaN", "half a pair", "digits"])
def test_what_json_cannot_hold_is_a_value_error(fault: object) -> None:
    with pytest.raises(ValueError):
        sealed({"x": fault})
