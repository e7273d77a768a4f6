"""An LM in llama.cpp is the LM that transformers makes of the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from langchain_toolken.lm.llama_cpp.library import Context
from langchain_toolken.lm.llama_cpp.model import LlamaCppModel
from langchain_toolken.lm.llama_cpp.settings import LlamaCppArgumentError
from langchain_toolken.lm.load import LoadArgumentError, load_language_model
from langchain_toolken.lm.model import UnsupportedModelError
from langchain_toolken.lm.transformers_model import TransformersModel
from tests.support.llama_cpp_lms import in_llama_cpp, in_transformers, needs_llama_cpp, tiny_file
from tests.support.tiny import PROMPTS, make_tokenizer

pytestmark = needs_llama_cpp


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_file(tmp_path_factory.mktemp("gguf"))


@pytest.fixture(scope="module")
def lm(file: Path) -> LlamaCppModel:
    return in_llama_cpp(file)


@pytest.fixture(scope="module")
def twin(file: Path) -> TransformersModel:
    return in_transformers(file)


def padded(prompts: list[list[int]]) -> torch.Tensor:
    width = max(map(len, prompts))
    return torch.tensor([ids + [0] * (width - len(ids)) for ids in prompts])


def test_it_is_the_same_lm(lm: LlamaCppModel, twin: TransformersModel) -> None:
    assert lm.identity == twin.identity
    assert (lm.vocab_size, lm.hidden_size, lm.context_length) == (
        *(twin.vocab_size, twin.hidden_size),
        twin.context_length,
    )
    assert lm.eos_ids >= twin.eos_ids
    assert lm.weights_fingerprint != twin.weights_fingerprint
    torch.testing.assert_close(lm.head.weight, twin.head.weight)
    torch.testing.assert_close(lm.input_embeddings, twin.input_embeddings)


def test_states_are_those_after_the_final_norm(lm: LlamaCppModel, twin: TransformersModel) -> None:
    ids = padded(PROMPTS)
    with torch.inference_mode():
        found, own = lm.hidden_states(ids), twin.hidden_states(ids)
    for row, prompt in enumerate(PROMPTS):
        torch.testing.assert_close(found[row, : len(prompt)], own[row, : len(prompt)], rtol=1e-3, atol=1e-3)


def test_padding_on_the_left_is_left_out(lm: LlamaCppModel) -> None:
    ids, mask = torch.tensor([[0, 0, *PROMPTS[1]]]), torch.tensor([[0, 0, 1, 1, 1, 1]])
    torch.testing.assert_close(lm.hidden_states(ids, mask)[0, 2:], lm.hidden_states(torch.tensor([PROMPTS[1]]))[0])


def test_the_word_logits_of_training_are_those_of_transformers(lm: LlamaCppModel, twin: TransformersModel) -> None:
    ids = padded(PROMPTS)
    at, following = [(0, 3), (0, 11), (2, 0), (4, 1)], torch.tensor([5, 6, 7, 8])
    with torch.inference_mode():
        (states, words), (own_states, own) = lm.read(ids, at, following), twin.read(ids, at, following)
    torch.testing.assert_close(words, own, rtol=1e-3, atol=1e-3)
    assert states.shape == own_states.shape


def test_what_texts_begin_with_like_the_one_before_is_read_once(
    lm: LlamaCppModel, twin: TransformersModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    run = Context._decode

    def counted(self: Context, parts: Any, outputs: Any) -> int:
        read.append(run(self, parts, outputs))
        return read[-1]

    monkeypatch.setattr(Context, "_decode", counted)
    ids = torch.tensor([[*range(20, 40), 7, 8], [*range(20, 40), 7, 9], [*range(20, 30), *range(50, 62)]])
    with torch.inference_mode():
        found, own = lm.hidden_states(ids), twin.hidden_states(ids)
        torch.testing.assert_close(found, own, rtol=1e-3, atol=1e-3)
        assert read == [22, 1, 12]
        at, following = [(0, 20), (1, 5), (2, 11)], torch.tensor([5, 6, 7])
        _, words = lm.read(ids, at, following)
        assert read[3:] == [22, 17, 12]  # of the second text word logits are wanted from its sixth token on
        torch.testing.assert_close(words, twin.read(ids, at, following)[1], rtol=1e-3, atol=1e-3)


def test_a_long_text_is_read_in_parts(lm: LlamaCppModel, twin: TransformersModel) -> None:
    ids = torch.arange(5, 505)[None] % 300
    with torch.inference_mode():
        torch.testing.assert_close(lm.hidden_states(ids), twin.hidden_states(ids), rtol=1e-2, atol=1e-2)


def test_a_tokenizer_of_another_lm_is_refused(file: Path) -> None:
    other = make_tokenizer(sentences=["something else entirely, with other merges"] * 3)
    with pytest.raises(UnsupportedModelError, match=r"tiny\.gguf.*its token \d+ is .* in the tokenizer"):
        load_language_model(file, tokenizer=other, backend="llama_cpp")


def test_spaces_may_be_written_as_sentencepiece_does_or_as_they_are(
    lm: LlamaCppModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = lm.tokenizer.convert_ids_to_tokens
    monkeypatch.setattr(lm.tokenizer, "convert_ids_to_tokens", lambda ids: [f"{read(one)} ▁" for one in ids])

    class Api:
        def llama_vocab_get_text(self, vocab: Any, token: int) -> bytes:
            return f"{read(token)}▁ ".encode()

    monkeypatch.setattr("langchain_toolken.lm.llama_cpp.model.library", Api)
    lm._check_vocabulary()
    monkeypatch.setattr(Api, "llama_vocab_get_text", lambda *_: b"other")
    with pytest.raises(UnsupportedModelError, match="token 0 is 'other'"):
        lm._check_vocabulary()


def test_what_llama_cpp_cannot_do_is_said(file: Path, tmp_path: Path) -> None:
    with pytest.raises(LoadArgumentError, match="llama.cpp has no argument dtype: it takes n_ctx"):
        load_language_model(file, dtype="bfloat16", backend="llama_cpp")
    with pytest.raises(LlamaCppArgumentError, match="type_k='q9'"):
        load_language_model(file, type_k="q9")
    with pytest.raises(LoadArgumentError, match="llama.cpp runs GGUF files, and nano is none"):
        load_language_model("nano", backend="llama_cpp")


def test_damaged_files_and_unknown_architectures_are_named(file: Path, tmp_path: Path) -> None:
    content, damaged = file.read_bytes(), tmp_path / "damaged.gguf"
    tokenizer = make_tokenizer()
    for changed in (content[: len(content) // 2], content[:-50], content[:4] + b"\xff" * 40 + content[44:]):
        damaged.write_bytes(changed)
        with pytest.raises(UnsupportedModelError, match=r"damaged\.gguf.*[Ff]etch it again"):
            load_language_model(damaged, tokenizer=tokenizer, backend="llama_cpp")
    name = b"general.architecture\x08\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00"
    assert name + b"llama" in content
    damaged.write_bytes(content.replace(name + b"llama", name + b"lmama"))
    with pytest.raises(UnsupportedModelError, match=r"damaged\.gguf.*architecture.*lmama.*newer"):
        load_language_model(damaged, tokenizer=tokenizer, backend="llama_cpp")


def test_too_little_memory_for_the_context_is_said(lm: LlamaCppModel) -> None:
    with pytest.raises(UnsupportedModelError, match=r"no memory for a context of .*n_ctx"):
        lm.context(1, cells=2_000_000_000)
