"""What a name of an LM means: nano, a folder, a GGUF file, an adapter, or something on the Hub."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from langchain_toolken.lm.not_found import ModelNotFoundError
from langchain_toolken.lm.sources import Source, find_source
from langchain_toolken.nano import NANO_PATH


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text("{}")
    return tmp_path


def test_names_of_the_package_of_folders_and_of_the_hub(folder: Path) -> None:
    assert find_source("nano") == Source("nano", str(NANO_PATH))
    assert find_source(folder) == Source(str(folder), str(folder))
    assert find_source("gpt2", revision="abc") == Source("gpt2", "gpt2", "abc")
    on_the_hub = find_source("owner/name", revision="abc", subfolder="inner")
    assert on_the_hub.arguments == {"revision": "abc", "subfolder": "inner"}


def test_a_subfolder_of_a_folder_is_part_of_the_name(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "config.json").write_text("{}")
    source = find_source(tmp_path, subfolder="inner")
    assert source.name == source.place == str(tmp_path / "inner")
    assert source.arguments == {}


def test_a_gguf_file_on_the_hub_has_one_name_however_it_is_given() -> None:
    named = find_source("owner/name/inner/x.Q4_1.gguf")
    assert (named.place, named.gguf_file) == ("owner/name", "inner/x.Q4_1.gguf")
    assert find_source("owner/name", gguf_file="inner/x.Q4_1.gguf") == named


def test_a_missing_gguf_file_is_not_taken_for_a_name_on_the_hub(folder: Path) -> None:
    for name in ("x.gguf", str(folder / "x.gguf"), "./models/x.gguf"):
        with pytest.raises(ModelNotFoundError, match=r"no GGUF file at .*x\.gguf"):
            find_source(name)
    with pytest.raises(ModelNotFoundError, match=r"no GGUF file at .*x\.gguf"):
        find_source(folder, gguf_file="x.gguf")


def test_files_that_are_no_gguf_files_are_named(tmp_path: Path) -> None:
    for name, content, reason in (
        ("model.safetensors", b"\0" * 80, "not a GGUF file: give .*the folder"),
        ("x.gguf", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("blob", b"GGUF" + b"\0" * 80, "rename"),
        ("empty.gguf", b"", "not a GGUF file"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ModelNotFoundError, match=f"{name}.*{reason}"):
            find_source(tmp_path / name)


def test_a_folder_with_several_gguf_files_asks_for_one(tmp_path: Path) -> None:
    for name in ("b.gguf", "a.gguf"):
        (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(ModelNotFoundError, match=r"2 GGUF files: name one, such as .*a\.gguf"):
        find_source(tmp_path)
    (tmp_path / "b.gguf").unlink()
    assert find_source(tmp_path).gguf_file == "a.gguf"


def test_an_adapter_names_its_base(folder: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = {"base_model_name_or_path": str(folder), "revision": None}
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    assert find_source(adapter) == Source(str(adapter), str(adapter), base=Source(str(folder), str(folder)))
    for bad in ("{", "[]", "{}"):
        (adapter / "adapter_config.json").write_text(bad)
        with pytest.raises(ModelNotFoundError, match=r"adapter_config\.json is no configuration"):
            find_source(adapter)
    for base in ("", None, "/no/such/folder"):
        (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": base}))
        with pytest.raises(ModelNotFoundError, match="base_model_name_or_path"):
            find_source(adapter)


@pytest.mark.parametrize("name", ["a b c", "", "owner/name/more", "../x", "~/nowhere", "a//b", "an LM with an adapter"])
def test_what_can_be_no_name_on_the_hub_is_refused_at_once(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelNotFoundError):
        find_source(name)
