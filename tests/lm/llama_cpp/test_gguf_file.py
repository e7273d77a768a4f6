"""What is read of a GGUF file itself."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
import torch

from langchain_toolken.lm.head import LogitTransform
from langchain_toolken.lm.llama_cpp.gguf_file import GgufFile
from langchain_toolken.lm.model import UnsupportedModelError
from tests.support.gguf_files import write_gguf
from tests.support.tiny import make_model, make_tokenizer


def write(path: Path, architecture: str, head: np.ndarray, **facts: float) -> GgufFile:
    writer = gguf.GGUFWriter(path, architecture)
    for name, value in facts.items():
        writer.add_float32(f"{architecture}.{name}", value)
    writer.add_tensor("token_embd.weight", head, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return GgufFile(path)


def test_packed_rows_are_unpacked_one_by_one(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((40, 64)).astype(np.float32)
    file = write(tmp_path / "a.gguf", "llama", gguf.quants.quantize(rows, gguf.GGMLQuantizationType.Q8_0))
    torch.testing.assert_close(file.head_rows([3, 39]), torch.from_numpy(rows[[3, 39]]), rtol=0, atol=0.02)
    assert torch.equal(file.head_rows()[[3, 39]], file.head_rows([3, 39]))
    assert torch.equal(file.embedding_rows(), file.head_rows())


@pytest.mark.parametrize(
    ("architecture", "facts", "transform"),
    [
        ("llama", {}, LogitTransform()),
        ("command-r", {"logit_scale": 0.5}, LogitTransform(multiply=0.5)),
        ("granite", {"logit_scale": 8.0}, LogitTransform(divide=8.0)),
        ("gemma2", {"final_logit_softcapping": 30.0}, LogitTransform(softcap=30.0)),
    ],
)
def test_what_an_lm_does_to_its_logits_is_read(
    tmp_path: Path, architecture: str, facts: dict[str, float], transform: LogitTransform
) -> None:
    rows = gguf.quants.quantize(np.ones((8, 32), dtype=np.float32), gguf.GGMLQuantizationType.Q8_0)
    assert write(tmp_path / "a.gguf", architecture, rows, **facts).transform == transform


def test_files_of_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    one, same, other = (
        GgufFile(write_gguf(tmp_path / f"{number}.gguf", make_model("llama", seed=seed), make_tokenizer()))
        for number, seed in enumerate([1, 1, 2])
    )
    assert one.fingerprint == same.fingerprint != other.fingerprint


def test_a_file_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "tiny.gguf", make_model("llama"), make_tokenizer())
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UnsupportedModelError, match=r"tiny\.gguf can't be read as a GGUF file.*Fetch it again"):
        GgufFile(path)
