"""Copying: tokens that continue a span of the request are preferred, and nothing else changes."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
import torch

from langchain_toolken.decoding.copy_source import CopySource
from langchain_toolken.decoding.local.copying import Copier, SlotReading, is_copied, numbers_in, value_spans
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.slots import Slot, SlotScores
from tests.support.decoding import PROMPTS
from tests.support.tools import spec

# More than any difference of logits of a tiny random LM: what is preferred is written.
STRONG = 1e4


def copied(
    engine: TransformersEngine, tool_arguments: dict[str, dict[str, Any]], text: str, **nats: float
) -> dict[str, object]:
    tool = spec(**tool_arguments)
    (completion,) = engine.complete([PROMPTS[0]], [tool], copying=[CopySource(text, nats)])
    assert completion.arguments is not None
    return completion.arguments


def texts(lm: LanguageModel, tokens: Iterable[int]) -> set[str]:
    return {str(lm.tokenizer.decode([token])).strip() for token in tokens}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("What is 13,289 plus 7?", ["13289", "7"]),
        ("1,2,3", ["1", "2", "3"]),
        ("5-3 is 2", ["5", "3", "2"]),
        ("from -7 to 0.50", ["-7", "0.50"]),
        ("$1,200.50 (15%)", ["1200.50", "15"]),
        ("room 007", ["7"]),
        ("12,345,678.9", ["12345678.9"]),
        ("none", []),
    ],
)
def test_the_numbers_of_a_text_are_those_that_a_person_reads(text: str, numbers: list[str]) -> None:
    assert [span.text for span in numbers_in(text)] == numbers


def test_lengths_of_time_are_numbers_in_the_unit_of_their_parameter() -> None:
    text = "2 eggs for an hour and a half, then 25 minutes"
    assert [span.text for span in numbers_in(text)] == ["2", "25"]
    assert {span.text for span in numbers_in(text, "minutes")} == {"2", "25", "90"}
    assert {span.text for span in numbers_in(text, "hours")} == {"2", "1.5", "0.416667"}
    assert value_spans(90, text, "minutes") == [(text.index("an hour"), text.index(", then"))]
    assert value_spans(90, text) == []


@pytest.mark.parametrize(
    ("value", "text", "expected"),
    [
        ("new york", "To New York, please", True),
        ("York", "a New Yorker", False),
        (13289, "13,289 euros", True),
        (0.5, "0.50", True),
        (True, "1", False),
        ("", "anything", False),
        (["milk", 6], "6 eggs, and milk", True),
        (["milk", "tea"], "6 eggs, and milk", False),
        ([], "a", False),
        ({"a": 1}, "a 1", False),
    ],
)
def test_a_value_is_copied_if_it_stands_in_the_text_word_for_word(value: object, text: str, expected: bool) -> None:
    assert is_copied(value, text) is expected


def test_the_spans_of_a_value_are_where_it_stands_word_for_word() -> None:
    assert value_spans("York", "New York or york") == [(4, 8)]
    assert value_spans([6, "tea"], "tea for 6") == [(8, 9), (0, 3)]
    assert value_spans(True, "1 True") == value_spans("", "a") == value_spans(None, "None") == []


def test_a_preferred_copy_is_a_span_of_the_request_and_ends_where_a_word_ends(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    text = 'say "it is 4" to anna'
    said = copied(engine, {"to": {"type": "string"}}, text, to=STRONG)["to"]
    assert isinstance(said, str)
    assert said
    assert is_copied(said, text), said


def test_a_number_with_thousands_separators_is_copied_as_one(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    numbers = {"a": {"type": "integer"}, "b": {"type": "integer"}}
    assert copied(engine, numbers, "13,289 and 4,096", a=STRONG, b=STRONG) in (
        {"a": 13289, "b": 4096},
        {"a": 4096, "b": 13289},
    )


def test_a_span_that_an_earlier_argument_used_up_is_not_copied_again(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    copier = Copier(CopySource("5 times 57", {"a": 1.0, "b": 1.0}), engine.grammars.tokens_by_text)
    first = copier.favoured('{"a":')
    assert texts(tiny_llama, first) >= {"5"}
    second = copier.favoured('{"a":5,"b":5')
    pieces = texts(tiny_llama, second)
    assert "7" in pieces
    assert not any(piece.startswith(("}", ",")) for piece in pieces)


def test_parameters_without_nats_and_requests_without_a_source_are_decoded_as_before(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    tool = spec(city={"type": "string", "maxLength": 6}, days={"type": "integer", "minimum": 0, "maximum": 99})
    before = [completion.text for completion in engine.complete(PROMPTS, [tool] * len(PROMPTS))]
    nothing = CopySource("paris 12", {"country": STRONG})
    after = engine.complete(PROMPTS, [tool] * len(PROMPTS), copying=[nothing] * (len(PROMPTS) - 1) + [None])
    assert [completion.text for completion in after] == before


WORDS = [(0, 4), (5, 8), (9, 13)]  # of "from new york"


def reading(best: int, last: int) -> SlotReading:
    """The words from `best` to `last` are the value, by far."""
    return SlotReading(
        WORDS,
        {
            "city": SlotScores(
                begins=[20.0 if word == best else -20.0 for word in range(3)],
                inside=[20.0 if best <= word <= last else -20.0 for word in range(3)],
                ends=[20.0 if word == last else -20.0 for word in range(3)],
            )
        },
    )


@pytest.mark.parametrize(("best", "last"), [(0, 0), (1, 1), (1, 2), (2, 2), (0, 2)])
def test_a_slot_decides_which_span_is_preferred_and_where_it_ends(
    tiny_llama: LanguageModel, best: int, last: int
) -> None:
    text, tokens = "from new york", TransformersEngine(tiny_llama).grammars.tokens_by_text
    copier = Copier(CopySource(text, {"city": 1.0}), tokens, reading(best, last))
    span, written = text[WORDS[best][0] : WORDS[last][1]], ""
    while written != span:
        favoured = copier.favoured('{"city":"' + written)
        assert favoured
        begun = [tiny_llama.tokenizer.decode([token]).replace("▁", " ") for token in favoured]
        assert all(span[len(written) :].casefold().startswith(piece.casefold()) for piece in begun), (written, begun)
        written = span[: len(written) + max(map(len, begun))]
    closing = [tiny_llama.tokenizer.decode([token]) for token in copier.favoured('{"city":"' + written)]
    assert all(piece.startswith('"') for piece in closing)
    assert closing


def test_spans_that_a_slot_finds_alike_are_all_preferred(tiny_llama: LanguageModel) -> None:
    flat = SlotReading(WORDS, {"city": SlotScores([0.0] * 3, [0.0] * 3, [0.0] * 3)})
    tokens = TransformersEngine(tiny_llama).grammars.tokens_by_text
    favoured = Copier(CopySource("from new york", {"city": 1.0}), tokens, flat).favoured('{"city":"')
    firsts = {tiny_llama.tokenizer.decode([token])[:1].casefold() for token in favoured}
    assert firsts == {"f", "n", "y"}


def test_a_list_goes_on_while_words_that_look_like_its_values_are_left(tiny_llama: LanguageModel) -> None:
    text = "milk and tea"
    scores = SlotScores([5.0, -5.0, 5.0], [5.0, -5.0, 5.0], [5.0, -5.0, 5.0])
    read = SlotReading([(0, 4), (5, 8), (9, 12)], {"items": scores})
    tokens = TransformersEngine(tiny_llama).grammars.tokens_by_text
    copier = Copier(CopySource(text, {"items": 1.0}), tokens, read)

    def favoured(written: str) -> set[str]:
        return {tokens.text(token) for token in copier.favoured(written)}

    assert not any(piece.startswith('"]') for piece in favoured('{"items":["milk'))
    assert {piece[0] for piece in favoured('{"items":["milk"')} == {","}
    assert not any(piece.startswith('",') for piece in favoured('{"items":["milk","tea'))
    assert {piece[0] for piece in favoured('{"items":["milk","tea"')} == {"]"}


def test_a_list_of_numbers_takes_all_that_look_like_its_values_in_the_texts_order(tiny_llama: LanguageModel) -> None:
    likely = [5.0, -5.0, 4.0, -5.0, 6.0, -5.0, -5.0]
    read = SlotReading(
        [(0, 1), (1, 2), (3, 4), (5, 8), (9, 10), (11, 15), (16, 17)], {"items": SlotScores(likely, likely, likely)}
    )
    tokens = TransformersEngine(tiny_llama).grammars.tokens_by_text

    def favoured(written: str) -> set[str]:
        copier = Copier(CopySource("2, 3 and 4 days 7", {"items": 1.0}), tokens, read)
        return {tokens.text(token)[:1] for token in copier.favoured(written)}

    assert favoured('{"items":[') >= {"2"}
    assert not favoured('{"items":[') & {"3", "4", "7"}
    assert favoured('{"items":[2') == {","}
    assert favoured('{"items":[2,') >= {"3"}
    assert favoured('{"items":[2,3') == {","}
    assert favoured('{"items":[2,3,4') == {"]"}, "7 does not look like one"


def test_a_number_of_a_parameter_that_nothing_is_copied_for_is_used_up_too(tiny_llama: LanguageModel) -> None:
    copier = Copier(CopySource("7 by 2", {"b": 1.0}), TransformersEngine(tiny_llama).grammars.tokens_by_text)
    copier.favoured('{"a":7')
    pieces = texts(tiny_llama, copier.favoured('{"a":7,"b":'))
    assert "2" in pieces
    assert "7" not in pieces


def test_an_item_of_a_list_ends_where_the_words_between_two_begin(tiny_llama: LanguageModel) -> None:
    likely = [5.0, 5.0, -1.0, 5.0]  # "and" between two values has less against it than the values have for them
    scores = SlotScores(likely, likely, likely)
    read = SlotReading([(0, 4), (5, 8), (9, 12), (13, 17)], {"items": scores})
    tokens = TransformersEngine(tiny_llama).grammars.tokens_by_text

    def favoured(written: str) -> set[str]:
        copier = Copier(CopySource("iced tea and milk", {"items": 1.0}), tokens, read)
        return {tokens.text(token)[:1].casefold() for token in copier.favoured(written)}

    assert favoured('{"items":["') == {"i"}  # in the request's order
    assert favoured('{"items":["iced tea","') == {"m"}
    assert favoured('{"items":["iced') == {" "}
    assert favoured('{"items":["iced tea') == {'"'}


def test_an_optional_parameter_is_left_out_where_its_slot_says_so(tiny_llama: LanguageModel) -> None:
    engine, d = TransformersEngine(tiny_llama), tiny_llama.hidden_size
    tool = spec(city={"type": "string", "maxLength": 4}, day={"type": "string", "maxLength": 4, "optional": True})
    arguments = []
    for bias in (50.0, -50.0):
        slot = Slot(torch.zeros(3, 2 * d), torch.full((3,), bias), optional=True)
        source = CopySource("rome", {"day": 1.0}, {"day": slot})
        (completion,) = engine.complete([PROMPTS[0]], [tool], copying=[source])
        arguments.append(completion.arguments)
    assert [set(one or ()) for one in arguments] == [{"city", "day"}, {"city"}]


def test_a_slot_reads_the_states_that_it_was_fitted_to(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, d = TransformersEngine(tiny_llama), tiny_llama.hidden_size
    inner = Slot(torch.zeros(3, 2 * d), torch.full((3,), -50.0), optional=True, depth=0.5)
    source = CopySource("rome", {"day": 9.0}, {"day": inner})
    tool = spec(day={"type": "string", "maxLength": 4, "optional": True})
    depths: list[float] = []
    read = type(tiny_llama).inner_states
    monkeypatch.setattr(
        type(tiny_llama), "inner_states", lambda lm, ids, depth: depths.append(depth) or read(lm, ids, depth)
    )
    assert engine.complete([PROMPTS[0]], [tool], copying=[source])[0].arguments == {}
    assert depths == [0.5]


def test_without_the_states_that_a_slot_needs_copying_is_preferred_as_without_slots(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(tiny_llama), "has_inner_states", False)
    engine, d = TransformersEngine(tiny_llama), tiny_llama.hidden_size
    slot = Slot(torch.zeros(3, 2 * d), torch.zeros(3), depth=0.5)
    source = CopySource("rome", {"city": STRONG}, {"city": slot})
    engine.complete([PROMPTS[0]], [spec(city={"type": "string", "maxLength": 4})], copying=[source])
    favoured = Copier(source, engine.grammars.tokens_by_text).favoured('{"city":"')
    assert set(favoured.values()) == {3.0}


def test_of_fixed_choices_the_one_that_the_words_mean_is_preferred(tiny_llama: LanguageModel) -> None:
    engine, flat = TransformersEngine(tiny_llama), SlotScores([0.0] * 3, [0.0] * 3, [0.0] * 3)
    for best, other in (("metre", "mile"), ("mile", "metre")):
        read = SlotReading(WORDS, {"unit": flat}, {"unit": {best: -0.1, other: -3.0}})
        copier = Copier(CopySource("from new york", {"unit": 5.0}), engine.grammars.tokens_by_text, read)
        bonus = texts(tiny_llama, copier.favoured('{"unit":"'))
        assert bonus
        assert all(best.startswith(piece) for piece in bonus)


def test_what_choices_get_decides_among_them_and_what_words_mean_comes_first(tiny_llama: LanguageModel) -> None:
    tool = spec(unit={"enum": ["mm", "km"]}, done={"type": "boolean"})
    engine = TransformersEngine(tiny_llama)

    def written(unit: str, done: str) -> dict[str, object] | None:
        source = CopySource("any", {}, {}, {"unit": {f'"{unit}"': STRONG}, "done": {done: STRONG}})
        (completion,) = engine.complete([PROMPTS[0]], [tool], copying=[source])
        return completion.arguments

    assert written("km", "false") == {"unit": "km", "done": False}
    assert written("mm", "true") == {"unit": "mm", "done": True}
    tokens = engine.grammars.tokens_by_text
    meant = SlotReading(WORDS, {}, {"unit": {"mm": 0.0, "km": -9.0}})
    source = CopySource("from new york", {"unit": 5.0}, {}, {"unit": {'"km"': 5.0}})
    assert {tokens.text(each) for each in Copier(source, tokens, meant).favoured('{"unit":"')} <= {"mm", "m"}


def test_of_two_choices_that_a_text_names_a_slot_says_which_is_meant(tiny_llama: LanguageModel) -> None:
    tokens = TransformersEngine(tiny_llama).grammars.tokens_by_text
    named = {"unit": {'"new"': 8.0, '"york"': 8.0}}
    for best, wanted in ((1, "new"), (2, "york")):
        inside = [3.0 if word == best else 0.0 for word in range(3)]
        read = SlotReading(WORDS, {"unit": SlotScores([0.0] * 3, inside, [0.0] * 3)})
        favoured = Copier(CopySource("from new york", {"unit": 5.0}, {}, named), tokens, read).favoured('{"unit":"')
        most = max(favoured.values())
        assert all(wanted.startswith(tokens.text(token)) for token, nats in favoured.items() if nats == most)
        assert min(favoured.values()) < most


def test_a_choice_of_more_words_than_any_value_is_no_likely_span() -> None:
    flat = [0.0] * 60
    words = [(2 * place, 2 * place + 1) for place in range(60)]
    read = SlotReading(words, {"unit": SlotScores(flat, flat, flat)})
    assert read.span_score("unit", 0, 9) == 0.0
    assert read.span_score("unit", 0, 119) < -1e6


def test_a_span_that_is_surer_of_another_parameter_is_not_preferred(tiny_llama: LanguageModel) -> None:
    sure = SlotScores([-9.0, 9.0, -9.0], [-9.0, 9.0, 9.0], [-9.0, -9.0, 9.0])
    unsure = SlotScores([1.0, 2.0, -9.0], [1.0, 2.0, 2.0], [1.0, 0.0, 2.0], optional=True)
    read = SlotReading(WORDS, {"day": unsure, "city": sure})
    assert read.owners == {0: "day", 1: "city", 2: "city"}
    assert read.decided == {"day": True}
    copier = Copier(
        CopySource("from new york", {"day": 1.0}), TransformersEngine(tiny_llama).grammars.tokens_by_text, read
    )
    firsts = {piece[:1] for piece in texts(tiny_llama, copier.favoured('{"day":"'))}
    assert firsts == {"f", "F"}


def test_the_grammar_still_holds(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    unit = {"enum": ["metre", "mile"]}
    assert copied(engine, {"unit": unit}, "a kilometre", unit=STRONG)["unit"] in ("metre", "mile")
    assert copied(engine, {"n": {"type": "integer", "minimum": 0, "maximum": 9}}, "42", n=STRONG)["n"] in range(10)


def test_text_with_quotes_and_backslashes_is_copied_as_json_writes_it(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    copier = Copier(CopySource('a\\b "c" d', {"x": 1.0}), engine.grammars.tokens_by_text)
    tokens = copier.favoured('{"x":' + json.dumps('a\\b "c')[:-1])
    pieces = texts(tiny_llama, tokens)
    assert any(piece.startswith(("\\", '"')) for piece in pieces)


def test_the_sources_have_to_be_as_many_as_the_prompts(tiny_llama: LanguageModel) -> None:
    engine = TransformersEngine(tiny_llama)
    with pytest.raises(ValueError, match="2 prompts, but 1 sources"):
        engine.complete(PROMPTS[:2], [spec(a={"type": "integer"})] * 2, copying=[None])


def test_the_bonus_is_added_once_to_the_logits_of_the_preferred_tokens(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a bonus below the LM's own margin its choice stays; above it, the copy wins."""
    engine = TransformersEngine(tiny_llama)
    tool = spec(n={"enum": [1, 2]})
    margins: list[float] = []

    def logits_of(self: object, hidden: torch.Tensor) -> torch.Tensor:
        logits = torch.zeros(len(hidden), tiny_llama.vocab_size)
        for token in tiny_llama.tokenizer.encode("1", add_special_tokens=False):
            logits[:, token] = 2.0
        margins.append(2.0)
        return logits

    monkeypatch.setattr(type(tiny_llama.head), "word_logits", logits_of)
    answers = [
        engine.complete([PROMPTS[0]], [tool], copying=[CopySource("2", {"n": nats})])[0].arguments
        for nats in (1.0, 3.0)
    ]
    assert margins
    assert answers == [{"n": 1}, {"n": 2}]
