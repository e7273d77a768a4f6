"""Models in a local Ollama store, without Ollama."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.not_found import ModelNotFoundError
from langchain_toolken.lm.ollama import ollama_file
from tests.support.gguf_files import write_gguf
from tests.support.tiny import make_model, make_tokenizer


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store as Ollama makes it, with a tiny LM as tiny:latest, tiny:7b and anna/tiny:latest."""
    folder = tmp_path / "models"
    (folder / "blobs").mkdir(parents=True)
    written = write_gguf(tmp_path / "tiny.gguf", make_model("llama"), make_tokenizer())
    digest = hashlib.sha256(written.read_bytes()).hexdigest()
    written.rename(folder / "blobs" / f"sha256-{digest}")
    layers = [
        {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}", "size": 1},
        {"mediaType": "application/vnd.ollama.image.template", "digest": "sha256:" + "0" * 64, "size": 2},
    ]
    for name in ("library/tiny/latest", "library/tiny/7b", "anna/tiny/latest"):
        manifest = folder / "manifests" / "registry.ollama.ai" / name
        manifest.parent.mkdir(parents=True, exist_ok=True)
        manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
    monkeypatch.setenv("OLLAMA_MODELS", str(folder))
    return folder


@pytest.mark.parametrize("name", ["tiny", "tiny:7b", "anna/tiny", "registry.ollama.ai/library/tiny:latest"])
def test_a_model_is_found_by_the_name_that_ollama_run_takes(store: Path, name: str) -> None:
    (blob,) = (store / "blobs").iterdir()
    assert ollama_file(name).resolve() == blob
    assert ollama_file(name).suffix == ".gguf"


def test_it_loads_with_its_tokenizer_under_its_own_name(store: Path) -> None:
    lm = load_language_model("ollama:tiny", backend="transformers")
    assert lm.model_id == "ollama:tiny"
    assert lm.tokenizer.chat_template == make_tokenizer().chat_template


def test_what_is_not_there_or_damaged_is_named(store: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"ollama:big: no such model .*tiny:7b, tiny:latest.*ollama pull big"):
        ollama_file("big")
    for name in ("", "../../etc/passwd", "a/b/c/d", "tiny:../x"):
        with pytest.raises(ModelNotFoundError, match="no name of an Ollama model"):
            ollama_file(name)
    manifest = store / "manifests" / "registry.ollama.ai" / "library" / "tiny" / "7b"
    content = manifest.read_text()
    for changed, said in (
        (content[:20], "no manifest"),
        ("[]", "no manifest"),
        (content.replace("image.model", "image.other"), "names 0 files"),
        (content.replace("sha256:", "sha256:../", 1), "not one GGUF file"),
    ):
        manifest.write_text(changed)
        with pytest.raises(ModelNotFoundError, match=rf"7b.* {said}"):
            ollama_file("tiny:7b")
    for blob in (store / "blobs").iterdir():
        blob.unlink()
    with pytest.raises(ModelNotFoundError, match=r"its weights are missing .*ollama pull tiny` again"):
        ollama_file("tiny")
