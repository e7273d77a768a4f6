"""Prior rows against computation by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from langchain_toolken.decoding.lm import LanguageModel
from langchain_toolken.decoding.priors import PriorConfig, name_words, prior_rows
from langchain_toolken.tools import ToolSpec

SCHEMA = {"type": "object", "properties": {}}
SPECS = [
    ToolSpec(name="multiply", description="The tool gives\n  a product.", json_schema=SCHEMA),
    ToolSpec(name="leastCommon_multiple", description="", json_schema=SCHEMA),
]


def ids_of(lm: LanguageModel, text: str) -> list[int]:
    return lm.tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("multiply", "multiply"),
        ("least_common_multiple", "least common multiple"),
        ("getHTTPStatus", "get http status"),
        ("ReadFile", "read file"),
        ("read-file", "read file"),
        ("people/person/place_of_birth", "people person place of birth"),
        ("P127", "p127"),
        ("__", "__"),
    ],
)
def test_a_name_is_taken_apart_into_lower_case_words(name: str, words: str) -> None:
    assert name_words(name) == words


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("text", ["name", "description", "both"])
def test_head_prior_pools_the_head_rows_of_the_text_after_a_space(tiny_llama: LanguageModel, pooling, text) -> None:
    rows = prior_rows(tiny_llama, SPECS, PriorConfig(text=text, pooling=pooling))
    texts = {
        "name": [" multiply", " least common multiple"],
        "description": [" The tool gives a product.", " least common multiple"],
        "both": [" multiply: The tool gives a product.", " least common multiple"],
    }[text]
    for row, words in zip(rows, texts, strict=True):
        vectors = tiny_llama.model.lm_head.weight[ids_of(tiny_llama, words)]
        expected = vectors.mean(0) if pooling == "average" else vectors.max(0).values
        torch.testing.assert_close(row, expected)
    assert rows.dtype == torch.float32
    assert rows.device.type == "cpu"


def test_head_prior_takes_the_scale_that_the_model_puts_on_its_logits(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("cohere")
    row = prior_rows(lm, SPECS[:1], PriorConfig())[0]
    expected = 0.3 * lm.head.weight[ids_of(lm, " multiply")].mean(0)
    torch.testing.assert_close(row, expected)


def test_input_prior_has_the_head_rows_mean_length(tiny_llama: LanguageModel) -> None:
    embeddings, head = tiny_llama.model.get_input_embeddings().weight, tiny_llama.head.weight
    size = len(tiny_llama.tokenizer)
    scale = head[:size].norm(dim=1).mean() / embeddings[:size].norm(dim=1).mean()
    row = prior_rows(tiny_llama, SPECS[:1], PriorConfig(source="input"))[0]
    torch.testing.assert_close(row, scale * embeddings[ids_of(tiny_llama, " multiply")].mean(0))


def test_input_and_head_prior_are_the_same_where_the_weights_are_tied(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("llama", tied=True)
    torch.testing.assert_close(
        prior_rows(lm, SPECS, PriorConfig(source="input")), prior_rows(lm, SPECS, PriorConfig(source="head"))
    )


def test_hidden_prior_averages_the_last_hidden_states_whatever_else_is_in_the_batch(tiny_llama: LanguageModel) -> None:
    rows = prior_rows(tiny_llama, SPECS, PriorConfig(source="hidden", text="both"))
    ids = [tiny_llama.tokenizer.bos_token_id, *ids_of(tiny_llama, " least common multiple")]
    states = tiny_llama.model.model(torch.tensor([ids])).last_hidden_state[0, 1:].mean(0)
    length = tiny_llama.head.weight[: len(tiny_llama.tokenizer)].norm(dim=1).mean()
    torch.testing.assert_close(rows[1], length * states / states.norm(), rtol=1e-4, atol=1e-4)


def test_a_tokenizer_that_adds_the_space_itself_gets_no_second_one(tiny_llama: LanguageModel) -> None:
    class SentencePieceLike:
        def tokenize(self, text: str) -> list[str]:
            return ["▁" + text]

        def __call__(self, text: str, add_special_tokens: bool) -> dict[str, list[int]]:
            assert not add_special_tokens
            return {"input_ids": [len(text)]}

    lm = LanguageModel(tiny_llama.model, SentencePieceLike(), "x", None, tiny_llama.head)  # type: ignore[arg-type]
    torch.testing.assert_close(prior_rows(lm, SPECS[:1], PriorConfig())[0], lm.head.weight[len("multiply")])


def test_no_tools_make_no_rows(tiny_llama: LanguageModel) -> None:
    assert prior_rows(tiny_llama, [], PriorConfig()).shape == (0, tiny_llama.hidden_size)


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(ValueError, match="source is 'output'.*head, input, hidden"):
        PriorConfig(source="output")  # type: ignore[arg-type]
