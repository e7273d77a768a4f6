"""An exported checkpoint: stock transformers gives the same logits, typed names stay text, and ids are those told."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from langchain_toolken.decoding.export import ExportError, export, read_tokens
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.evidence import make_evidence, same_evidence
from tests.support.tiny import PADDED_ROWS, PROMPTS, make_model, make_tokenizer
from tests.support.toolken_sets import make_toolkens

NAMES = ["multiply", "get_weather", "<img src=x>", "<img src=y>", "läuft", "a b", "a_b"]


def saved_lm(
    folder: Path, architecture: str = "llama", *, tied: bool = True, dtype: torch.dtype = torch.float32
) -> Path:
    make_model(architecture, tied=tied).to(dtype).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def stock(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()  # type: ignore[no-any-return]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("architecture", "tied"),
    [("llama", True), ("llama", False), ("gpt2", True), ("qwen3", True), ("granite", True), ("cohere", True)],
)
@torch.no_grad()
def test_stock_transformers_gives_the_words_logits_and_ours_for_the_toolkens(
    tmp_path: Path, architecture: str, tied: bool, dtype: torch.dtype
) -> None:
    saved_lm(tmp_path / "lm", architecture, tied=tied, dtype=dtype)
    lm = load_language_model(tmp_path / "lm", dtype="auto")
    toolkens = make_toolkens(lm, NAMES, scale=0.3)
    tokens = export(toolkens, tmp_path / "merged")
    before, after = stock(tmp_path / "lm"), stock(tmp_path / "merged")
    assert after.dtype == dtype
    assert not after.config.tie_word_embeddings
    ids = torch.tensor([PROMPTS[0]])
    words = len(lm.tokenizer)
    old, new = before(ids).logits, after(ids).logits
    torch.testing.assert_close(new[..., :words], old[..., :words], rtol=1e-6, atol=1e-6)
    ours = lm.hidden_states(ids).float() @ toolkens.matrix.T
    theirs = new[..., [token.id for token in tokens]].float()
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(theirs, ours, rtol=8 * eps, atol=8 * eps * float(ours.abs().max()))
    assert after.get_output_embeddings().weight.shape[0] == max(words + PADDED_ROWS, words + len(NAMES))


def test_ids_follow_the_words_and_take_padding_rows_first(tmp_path: Path) -> None:
    saved_lm(tmp_path / "lm")
    lm = load_language_model(tmp_path / "lm")
    tokens = export(make_toolkens(lm, NAMES[:2]), tmp_path / "merged")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    words = len(lm.tokenizer)
    assert [token.id for token in tokens] == [words, words + 1]
    assert [tokenizer.convert_tokens_to_ids(token.token) for token in tokens] == [words, words + 1]
    assert stock(tmp_path / "merged").config.vocab_size == lm.vocab_size  # the padding had room
    assert read_tokens(tmp_path / "merged") == tokens


def test_typed_names_stay_text(tmp_path: Path) -> None:
    saved_lm(tmp_path / "lm")
    lm = load_language_model(tmp_path / "lm")
    tokens = export(make_toolkens(lm, NAMES), tmp_path / "merged")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    ids = {token.id for token in tokens}
    for name in NAMES:
        typed = f"{name} <{name}> <|{name}|> <|toolken {name}|> <|toolken 0 {name}|>"
        assert not ids & set(tokenizer(typed)["input_ids"])
        assert tokenizer(typed)["input_ids"] == lm.tokenizer(typed)["input_ids"]
    # Where it does not hold, as docs/serving.md says: who knows the token itself can type it.
    assert set(tokenizer(tokens[0].token, add_special_tokens=False)["input_ids"]) == {tokens[0].id}
    assert tokenizer.decode([40, tokens[0].id, 41], skip_special_tokens=True) == tokenizer.decode([40, 41])


def test_the_set_and_what_it_belongs_to_come_along(tmp_path: Path) -> None:
    saved_lm(tmp_path / "lm")
    lm = load_language_model(tmp_path / "lm")
    toolkens = make_toolkens(lm, NAMES[:2])
    toolkens = replace(toolkens, evidence=make_evidence(toolkens))
    export(toolkens, tmp_path / "merged")
    again = ToolkenSet.load(tmp_path / "merged" / "toolkens")
    assert again.fingerprint == toolkens.fingerprint
    assert same_evidence(again.evidence, toolkens.evidence)
    mark = json.loads((tmp_path / "merged" / "config.json").read_text())["toolken_export"]
    assert (mark["toolkens"], mark["head"]) == (toolkens.fingerprint, lm.head_fingerprint)
    assert (mark["words"], mark["tools"]) == (len(lm.tokenizer), 2)


def test_generate_adds_the_biases(tmp_path: Path) -> None:
    saved_lm(tmp_path / "lm")
    lm = load_language_model(tmp_path / "lm")
    quiet, loud = make_toolkens(lm, NAMES[:2], scale=0.01), make_toolkens(lm, NAMES[:2], scale=0.01, bias=1000.0)
    for toolkens, fires in ((quiet, False), (loud, True)):
        tokens = export(toolkens, tmp_path / f"merged-{fires}")
        ids = [token.id for token in tokens]
        said = stock(tmp_path / f"merged-{fires}").generate(
            torch.tensor([PROMPTS[1]]), max_new_tokens=3, do_sample=False, eos_token_id=[1, *ids]
        )
        assert (said[0, len(PROMPTS[1])].item() in ids) is fires


def test_weights_come_in_shards(tmp_path: Path) -> None:
    saved_lm(tmp_path / "lm")
    export(make_toolkens(load_language_model(tmp_path / "lm"), NAMES), tmp_path / "merged", max_shard_size="30KB")
    assert len(list((tmp_path / "merged").glob("model-*.safetensors"))) > 1
    assert stock(tmp_path / "merged").config.vocab_size > 340


@torch.no_grad()
def test_an_input_row_is_the_mean_of_the_names_words(tmp_path: Path) -> None:
    saved_lm(tmp_path / "lm")
    lm = load_language_model(tmp_path / "lm")
    (token,) = export(make_toolkens(lm, ["pens_left"]), tmp_path / "merged")
    table = lm.input_embeddings
    ids = lm.tokenizer(" pens left", add_special_tokens=False)["input_ids"]
    row: Any = stock(tmp_path / "merged").get_input_embeddings().weight[token.id]
    torch.testing.assert_close(row, table[ids].mean(dim=0))


def test_what_cannot_be_exported_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    saved_lm(tmp_path / "capped", "gemma2")
    capped = make_toolkens(load_language_model(tmp_path / "capped"), NAMES)
    with pytest.raises(ExportError, match="caps its logits"):
        export(capped, tmp_path / "merged")
    saved_lm(tmp_path / "lm")
    fitting = make_toolkens(load_language_model(tmp_path / "lm"), NAMES)
    with pytest.raises(ToolkenSetError, match="were fitted for"):
        export(capped, tmp_path / "merged", model=tmp_path / "lm")
    with pytest.raises(ExportError, match="holds something"):
        export(fitting, tmp_path / "lm")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["capped", "lm"]


def test_a_failed_write_names_the_folder_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved_lm(tmp_path / "lm")
    toolkens = make_toolkens(load_language_model(tmp_path / "lm"), NAMES)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ToolkenSet, "save", full)
    with pytest.raises(OSError, match="merged can't be written: No space"):
        export(toolkens, tmp_path / "merged")
    assert [path.name for path in tmp_path.iterdir()] == ["lm"]


def test_the_original_lm_is_left_as_it_was(tmp_path: Path) -> None:
    saved_lm(tmp_path / "lm")
    before = load_language_model(tmp_path / "lm").identity
    export(make_toolkens(load_language_model(tmp_path / "lm"), NAMES), tmp_path / "merged")
    assert load_language_model(tmp_path / "lm").identity == before
