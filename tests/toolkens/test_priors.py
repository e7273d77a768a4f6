"""Prior rows against computation by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.lm.transformers_model import TransformersModel
from langchain_toolken.toolkens.priors import PriorConfig, name_words, prior_rows, says_nothing
from langchain_toolken.tools.spec import ToolSpec

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
        ("getUserByID", "get user by id"),
        ("listUserIDsOfTeam", "list user ids of team"),
        ("openURLs", "open urls"),
        ("URLShortener", "url shortener"),
        ("top10Results", "top10 results"),
        ("größeÜberprüfen", "größe überprüfen"),
        ("__", "__"),
    ],
)
def test_a_name_is_taken_apart_into_lower_case_words(name: str, words: str) -> None:
    assert name_words(name) == words


@given(st.lists(st.from_regex("[a-z]{2,8}", fullmatch=True), min_size=1, max_size=5))
def test_the_same_words_come_out_of_every_way_of_joining_them(words: list[str]) -> None:
    joined = ["_".join(words), "-".join(words), "/".join(words), "".join(word.capitalize() for word in words)]
    assert {name_words(name) for name in joined[:3]} == {" ".join(words)}
    assert name_words(joined[3]) == " ".join(words)


@pytest.mark.parametrize(
    "name",
    ["P1408", "func_42", "func42", "tool_b", "Tool-7", "f", "42", "__", "customFunction", "a3f9c2", "deadbeef01", "①"],
)
def test_codes_and_placeholders_say_nothing(name: str) -> None:
    assert says_nothing(name)


@pytest.mark.parametrize(
    "name",
    ["multiply", "ls", "get_user_2", "p1408_population", "sha256sum", "utf8_encode", "faced", "天气", "run_command"],
)
def test_names_with_a_word_in_them_say_something(name: str) -> None:
    assert not says_nothing(name)


def with_mean_length(lm: LanguageModel, rows: Tensor) -> Tensor:
    """Rows scaled by one number to the mean length of the head's rows."""
    return rows * lm.head.weight[: len(lm.tokenizer)].norm(dim=1).mean() / rows.norm(dim=1).mean()


@pytest.mark.parametrize("pooling", ["average", "max"])
@pytest.mark.parametrize("text", ["name", "description", "both"])
def test_head_prior_pools_the_head_rows_of_the_text_after_a_space(tiny_llama: LanguageModel, pooling, text) -> None:
    rows = prior_rows(tiny_llama, SPECS, PriorConfig(text=text, pooling=pooling))
    texts = {
        "name": [" multiply", " least common multiple"],
        "description": [" The tool gives a product.", " least common multiple"],
        "both": [" multiply: The tool gives a product.", " least common multiple"],
    }[text]
    vectors = [tiny_llama.model.lm_head.weight[ids_of(tiny_llama, words)] for words in texts]
    pooled = torch.stack([v.mean(0) if pooling == "average" else v.max(0).values for v in vectors])
    torch.testing.assert_close(rows, with_mean_length(tiny_llama, pooled))
    assert rows.dtype == torch.float32
    assert rows.device.type == "cpu"


def test_head_prior_takes_the_scale_that_the_model_puts_on_its_logits(tiny_lm: Callable[..., LanguageModel]) -> None:
    lm = tiny_lm("cohere")
    row = prior_rows(lm, SPECS[:1], PriorConfig())
    expected = 0.3 * with_mean_length(lm, lm.head.weight[ids_of(lm, " multiply")].mean(0)[None])
    torch.testing.assert_close(row, expected)


def test_input_prior_has_the_head_rows_mean_length(tiny_llama: LanguageModel) -> None:
    embeddings = tiny_llama.model.get_input_embeddings().weight
    row = prior_rows(tiny_llama, SPECS[:1], PriorConfig(source="input"))
    expected = with_mean_length(tiny_llama, embeddings[ids_of(tiny_llama, " multiply")].mean(0)[None])
    torch.testing.assert_close(row, expected)


def spec(name: str, description: str = "") -> ToolSpec:
    return ToolSpec(name=name, description=description, json_schema=SCHEMA)


@pytest.mark.parametrize("source", ["head", "hidden"])
def test_a_weighted_prior_plays_down_the_tokens_that_the_tools_share(tiny_llama: LanguageModel, source) -> None:
    specs = [spec("tool_gives_a"), spec("tool_gives_pens"), spec("tool_is_near"), spec("pens")]
    rows = prior_rows(tiny_llama, specs, PriorConfig(source=source, pooling="weighted"))
    texts = [set(ids_of(tiny_llama, f" {name_words(s.name)}")) for s in specs]
    pooled = []
    for s in specs:
        ids = ids_of(tiny_llama, f" {name_words(s.name)}")
        if source == "head":
            vectors = tiny_llama.head.weight[ids]
        else:
            whole = torch.tensor([[tiny_llama.tokenizer.bos_token_id, *ids]])
            vectors = tiny_llama.model.model(whole).last_hidden_state[0, 1:]
        weights = torch.tensor([1 / (0.01 + sum(i in text for text in texts) / 4) for i in ids])
        pooled.append((weights[:, None] * vectors).sum(0) / weights.sum())
    expected = torch.stack(pooled)
    if source == "hidden":
        expected = torch.nn.functional.normalize(expected, dim=1)
    torch.testing.assert_close(rows, with_mean_length(tiny_llama, expected), rtol=1e-4, atol=1e-4)
    assert len(ids_of(tiny_llama, " tool")) < len(texts[0])  # else nothing is shared, and nothing is shown
    assert not torch.allclose(rows, prior_rows(tiny_llama, specs, PriorConfig(source=source)), atol=1e-2)


@pytest.mark.parametrize("source", ["head", "input", "hidden"])
@pytest.mark.parametrize("pooling", ["average", "weighted"])
def test_new_tools_get_the_rows_that_they_would_have_among_all(tiny_llama: LanguageModel, source, pooling) -> None:
    specs = [*SPECS, spec("get_pens", "Pens in a box."), spec("get_boxes"), spec("get_result")]
    config = PriorConfig(source=source, text="both", pooling=pooling)
    together = prior_rows(tiny_llama, specs, config)
    torch.testing.assert_close(
        prior_rows(tiny_llama, specs[3:], config, among=specs), together[3:], rtol=1e-4, atol=1e-5
    )
    alone = prior_rows(tiny_llama, specs[3:], config)
    assert torch.allclose(alone, together[3:], atol=1e-4) == ((source, pooling) == ("hidden", "average"))


def test_the_description_stands_in_for_a_name_that_says_nothing(tiny_llama: LanguageModel) -> None:
    coded, plain = [spec("P1408", "The result.")], [spec("result", "The result.")]
    described = prior_rows(tiny_llama, plain, PriorConfig(text="description"))
    for text in ("name", "description", "both"):
        assert torch.equal(prior_rows(tiny_llama, coded, PriorConfig(text=text)), described)  # type: ignore[arg-type]
    assert not torch.allclose(prior_rows(tiny_llama, plain, PriorConfig()), described)
    nameless = prior_rows(tiny_llama, [spec("P1408")], PriorConfig())
    expected = tiny_llama.head.weight[ids_of(tiny_llama, " p1408")].mean(0)[None]
    torch.testing.assert_close(nameless, with_mean_length(tiny_llama, expected))


@pytest.mark.parametrize(
    "parts",
    list(
        itertools.product(("head", "input", "hidden"), ("name", "description", "both"), ("average", "max", "weighted"))
    ),
)
def test_a_prior_is_read_back_from_its_name(parts: tuple[str, str, str]) -> None:
    config = PriorConfig(*parts)  # type: ignore[arg-type]
    assert PriorConfig.parse(str(config)) == config
    assert PriorConfig.parse("/".join(reversed(parts))) == config


def test_a_prior_is_read_from_a_part_of_its_name() -> None:
    assert PriorConfig.parse("description") == PriorConfig(text="description")
    assert PriorConfig.parse("hidden/max") == PriorConfig(source="hidden", pooling="max")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("output", "'output' is no setting.*source: head, input, hidden; text"),
        ("", "'' is no setting"),
        ("head/name/input", "two of its source: head and input"),
    ],
)
def test_what_is_no_prior_is_named(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PriorConfig.parse(text)


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

        def __len__(self) -> int:
            return len(tiny_llama.tokenizer)

    lm = TransformersModel(tiny_llama.model, SentencePieceLike(), "x", None, tiny_llama.head)  # type: ignore[arg-type]
    expected = with_mean_length(lm, lm.head.weight[[len("multiply")]])
    torch.testing.assert_close(prior_rows(lm, SPECS[:1], PriorConfig()), expected)


def test_no_tools_make_no_rows(tiny_llama: LanguageModel) -> None:
    assert prior_rows(tiny_llama, [], PriorConfig()).shape == (0, tiny_llama.hidden_size)


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(ValueError, match="source is 'output'.*head, input, hidden"):
        PriorConfig(source="output")  # type: ignore[arg-type]
