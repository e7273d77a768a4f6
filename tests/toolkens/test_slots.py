"""toolkens.slots: rows that tell where in a request a parameter's value stands."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.lexicon import Lexicon
from langchain_toolken.toolkens.slots import Slot, Slots, SlotScores, SlotText, SlotValue, slot_words

SLOT = Slot(torch.arange(12.0).reshape(3, 4), torch.tensor([1.0, 2.0, 3.0]), optional=True)


def words(text: str) -> list[str]:
    return [text[start:stop] for start, stop in slot_words(text)]


def test_a_number_is_one_word_and_so_is_each_mark() -> None:
    assert words("13,289.50 euros: 9:30!") == ["13,289.50", "euros", ":", "9:30", "!"]


def test_addresses_and_versions_are_one_word_and_a_possessive_s_is_a_word_of_its_own() -> None:
    assert words("v1.4.0-rc2, on a.io?") == ["v1.4.0-rc2", ",", "on", "a.io", "?"]
    assert words("Ask b-c@x.org. Then Mom's, don't") == ["Ask", "b-c@x.org", ".", "Then", "Mom", "'s", ",", "don't"]
    assert words("a 20-minute walk, 5.50") == ["a", "20", "-", "minute", "walk", ",", "5.50"]


def test_a_time_of_day_in_words_is_not_parted(tiny_llama: LanguageModel) -> None:
    text = SlotText.of(tiny_llama.tokenizer, "At half past five or ten to seven, not from two to four or at 8 pm")
    assert [text.words_between(*span) for span in text.times] == ["half past five", "ten to seven"]
    scores = SLOT.scores(torch.zeros(len(text.words), 4), text.times)
    first, last = text.times[0]
    likely = [score > -math.inf for score in scores.spans_from(first)]
    assert likely[: last - first + 1] == [False, False, True]
    assert all(score == -math.inf for score in scores.spans_from(last))


@given(st.text(max_size=60))
def test_every_word_has_states_in_its_text(tiny_llama: LanguageModel, text: str) -> None:
    read = SlotText.of(tiny_llama.tokenizer, text)
    assert all(0 <= before <= at < len(read.ids) for before, at in read.places)
    assert read.words == [word for word in slot_words(text) if word in read.words]
    features = read.features(torch.randn(len(read.ids), 8))
    assert features.shape == (len(read.words), 16)


def test_a_word_has_the_state_before_it_and_that_of_its_last_token(tiny_llama: LanguageModel) -> None:
    read = SlotText.of(tiny_llama.tokenizer, "to Lissabon")
    states = torch.arange(float(len(read.ids)))[:, None]
    before, at = read.features(states)[-1].tolist()
    assert at == len(read.ids) - 1
    tokens = tiny_llama.tokenizer.convert_ids_to_tokens(read.ids[int(before) + 1 :])
    assert "".join(tokens).lstrip("Ġ▁ ") == "Lissabon"


def test_a_span_is_scored_by_where_it_begins_what_is_inside_and_where_it_ends() -> None:
    scores = SlotScores(begins=[1.0, 5.0], inside=[10.0, 20.0], ends=[100.0, 200.0])
    assert scores.spans_from(0) == [111.0, 231.0]
    assert scores.spans_from(1) == [225.0]


def test_an_item_of_a_list_is_all_words_that_look_like_values_up_to_one_that_does_not() -> None:
    inside = [4.0, 4.0, -1.0, 4.0]
    scores = SlotScores(inside, inside, inside)
    assert scores.items_from(0) == [-4.0, 0.0, -5.0, -1.0]
    assert scores.items_from(1) == [-4.0, -9.0, -5.0]
    assert scores.items_from(3) == [0.0]


@pytest.mark.parametrize(
    ("best", "optional", "has"), [(4.0, True, True), (-0.1, True, False), (0.5, True, None), (9.0, False, None)]
)
def test_only_the_slot_of_a_parameter_that_is_left_out_at_times_says_whether_it_is(
    best: float, optional: bool, has: bool | None
) -> None:
    assert SlotScores([], [], [], optional).has_value(best) is has


def test_the_best_span_is_that_of_the_words_that_are_free() -> None:
    scores = SlotScores(begins=[0.0, 3.0, 1.0], inside=[-1.0, 2.0, 1.0], ends=[0.0, 1.0, 3.0])
    assert scores.best() == SlotValue(9.0, range(1, 3))
    assert scores.best({2}) == SlotValue(6.0, range(1, 2))
    assert scores.best({0, 1, 2}).words == range(0)


def test_slots_are_saved_and_read_as_they_were() -> None:
    lexicon = Lexicon(("EUR", "USD"), (("euros", "EUR"),), (-0.5, -1.5))
    day = Slot(-SLOT.rows, SLOT.biases, depth=0.5, lexicon=lexicon)
    slots = Slots({"weather": {"city": SLOT, "day": day}, "timer": {"minutes": replace(SLOT, unit="minutes")}})
    read = Slots.of_saved(slots.saved, {"weather", "timer"})
    assert (read.of_tool["weather"]["day"].depth, read.of_tool["weather"]["day"].lexicon) == (0.5, lexicon)
    assert read.saved == slots.saved
    assert (read.of_tool["timer"]["minutes"].unit, read.of_tool["weather"]["city"].unit) == ("minutes", None)
    unknown = Slots({"timer": {"minutes": replace(SLOT, unit="moons")}}).saved  # type: ignore[arg-type]
    with pytest.raises(ToolkenSetError, match="no unit is called 'moons'"):
        Slots.of_saved(unknown, {"timer"})
    assert read.of_tool["weather"]["city"].optional
    assert not read.of_tool["weather"]["day"].optional
    assert torch.equal(read.of_tool["weather"]["day"].rows, -SLOT.rows)


def test_slots_of_other_tools_or_damaged_ones_are_refused() -> None:
    saved = Slots({"weather": {"city": SLOT}}).saved
    with pytest.raises(ToolkenSetError, match="slots of 'weather', which has no toolken"):
        Slots.of_saved(saved, {"timer"})
    header = json.dumps({"rows": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    for content in (saved[:20], b"", saved[:-4], len(header).to_bytes(8, "little") + header + b"\0" * 4):
        with pytest.raises(ToolkenSetError, match="damaged"):
            Slots.of_saved(content, {"weather"})


def test_a_slot_for_another_lm_is_named() -> None:
    slots = Slots({"weather": {"city": SLOT}})
    slots.check(2)
    with pytest.raises(ToolkenSetError, match=r"weather's 'city' has rows of 4 numbers, not 6"):
        slots.check(3)


@pytest.mark.parametrize(
    ("rows", "biases"),
    [
        (torch.zeros(2, 4), torch.zeros(3)),
        (torch.zeros(3, 4), torch.zeros(2)),
        (torch.full((3, 4), torch.nan), torch.zeros(3)),
    ],
)
def test_rows_of_another_shape_or_not_finite_are_refused(rows: torch.Tensor, biases: torch.Tensor) -> None:
    with pytest.raises(ToolkenSetError, match="a slot has"):
        Slot(rows, biases)


def test_selected_and_merged_slots_are_those_of_the_tools() -> None:
    ours, theirs = Slots({"weather": {"city": SLOT}, "timer": {"minutes": SLOT}}), Slots({"timer": {}, "music": {}})
    assert set(ours.select({"timer"}).of_tool) == {"timer"}
    assert ours.merged(theirs).of_tool == {"weather": {"city": SLOT}, "timer": {"minutes": SLOT}, "music": {}}
