"""toolkens.examples: which demonstrated calls a set keeps, finds, saves and refuses to read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from langchain_toolken.disk.sealed_json import sealed
from langchain_toolken.prompts.call_cards import PLAIN, Asked, CallExample, CardForm
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.examples import (
    MOST_OF_A_TOOL,
    ArgumentSettings,
    Examples,
    FormTried,
    ToolAccuracy,
    card_of,
    chosen_examples,
    nearest_examples,
)
from langchain_toolken.toolkens.folder import EXAMPLES_FILE, SETTINGS_FILE
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.toolkens.slots import Slot, Slots
from tests.support.tiny import make_tokenizer
from tests.support.toolken_sets import make, same, spec

FORM = CardForm(examples=4, request=True)
SETTINGS = ArgumentSettings(
    form=FORM,
    tried=(FormTried(form=FORM, right=3, asked=4, tokens=20.5),),
    tools={"a": ToolAccuracy(right=1, asked=2), "b": ToolAccuracy(right=2, asked=2)},
)


def example(tool: str, request: str, so_far: str = "") -> CallExample:
    return CallExample(tool=tool, request=request, so_far=so_far, arguments={"x": 1})


def with_examples() -> ToolkenSet:
    examples = (example("a", "One?"), example("b", "Two?\n\u2028é"), example("a", "Three?", "It is"))
    return replace(make(["a", "b"]), examples=Examples(examples, SETTINGS))


def requests(toolkens: ToolkenSet) -> list[str]:
    return [one.request for one in toolkens.examples.calls]


def test_a_set_keeps_its_examples_and_settings_over_save_and_load(tmp_path: Path) -> None:
    toolkens = with_examples()
    toolkens.save(tmp_path / "set", {"README.md": "x"})
    loaded = ToolkenSet.load(tmp_path / "set")
    assert loaded.examples == toolkens.examples
    assert loaded.examples.settings == SETTINGS
    assert same(loaded, toolkens)
    assert len((tmp_path / "set" / EXAMPLES_FILE).read_text().removesuffix("\n").split("\n")) == 3
    replace(loaded, examples=Examples()).save(tmp_path / "set")
    assert not (tmp_path / "set" / EXAMPLES_FILE).exists()


def test_slots_are_kept_over_save_and_load_and_follow_their_tools(tmp_path: Path) -> None:
    toolkens = with_examples()
    d = toolkens.hidden_size
    slots = Slots({name: {"x": Slot(torch.ones(3, 2 * d), torch.zeros(3))} for name in ("a", "b")})
    toolkens = replace(toolkens, examples=replace(toolkens.examples, slots=slots))
    toolkens.save(tmp_path / "set")
    assert toolkens.fingerprint == ToolkenSet.load(tmp_path / "set").fingerprint != with_examples().fingerprint
    (only_b,) = (toolkens.select(["b"]).examples.slots,)
    assert only_b is not None
    assert set(only_b.of_tool) == {"b"}
    merged = toolkens.select(["a"]).merge(toolkens.select(["b"])).examples.slots
    assert merged is not None
    assert set(merged.of_tool) == {"a", "b"}
    with pytest.raises(ToolkenSetError, match="two hidden states of this LM"):
        replace(make(["a"]), examples=Examples(slots=Slots({"a": {"x": Slot(torch.ones(3, 2), torch.zeros(3))}})))


def test_what_is_learnt_later_is_added_and_the_way_of_the_set_stays() -> None:
    first = Examples((example("a", "One?"),), SETTINGS)
    later = ArgumentSettings(form=FORM, copied={"c": ("x",)}, copy_nats=3, tools={"c": ToolAccuracy(right=1, asked=1)})
    both = first.extended(Examples((example("c", "New?"),), later))
    assert [call.tool for call in both.calls] == ["a", "c"]
    assert both.settings is not None
    assert both.settings.tried == SETTINGS.tried
    assert set(both.settings.tools) == {"a", "b", "c"}


def test_examples_follow_their_tools_through_select_remove_add_and_merge() -> None:
    toolkens = with_examples()
    assert requests(toolkens.select(["b"])) == ["Two?\n\u2028é"]
    only_a = toolkens.remove(["b"])
    assert requests(only_a) == ["One?", "Three?"]
    assert only_a.examples.settings is not None
    assert only_a.examples.settings.accuracy == 0.5
    assert toolkens.examples.settings is not None
    assert toolkens.examples.settings.accuracy == 0.75
    assert requests(toolkens.add([spec("c")], toolkens.matrix[:1])) == requests(toolkens)
    merged = only_a.merge(toolkens.select(["b"]))
    assert requests(merged) == ["One?", "Three?", "Two?\n\u2028é"]
    assert merged.examples.settings == SETTINGS
    assert replace(only_a, examples=Examples()).merge(toolkens.select(["b"])).examples.settings == SETTINGS.of(["b"])


def test_the_form_of_the_set_that_more_calls_were_tried_for_wins_a_merge() -> None:
    other = ArgumentSettings(form=PLAIN, tools={"c": ToolAccuracy(right=9, asked=9)})
    assert SETTINGS.merged(other) == other == other.merged(SETTINGS)


def test_an_example_of_another_tool_is_refused() -> None:
    with pytest.raises(ToolkenSetError, match="example 1 calls 'c', which has no toolken"):
        replace(make(["a"]), examples=Examples((example("c", "One?"),)))


def test_sets_that_differ_in_examples_or_form_have_other_fingerprints() -> None:
    toolkens = with_examples()
    others = [
        replace(toolkens, examples=Examples(toolkens.examples.calls[:1], SETTINGS)),
        replace(toolkens, examples=Examples(toolkens.examples.calls)),
        toolkens,
    ]
    assert len({other.fingerprint for other in others}) == 3


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (b"{", "line 1: the line"),
        (b'{"tool":"a","request":"x","arguments":{}}\n[]\n', "line 2: the line"),
        (b'{"tool":"a","request":"x","arguments":[]}', "line 1: arguments"),
        (b'{"tool":"a","request":"x","arguments":{},"run":"rm"}', "line 1: run"),
        (b'{"tool":"a","request":"x","arguments":{"x":' + b"[" * 200_000, "line 1: the line"),
        (b'{"tool":"a","request":"x","arguments":{"x":NaN}}', "line 1: "),
        (b'{"tool":"zz","request":"x","arguments":{}}', "line 1: it calls 'zz'"),
        (b"\xff\xfe", "line 1: the line"),
    ],
)
def test_a_file_of_examples_that_no_save_wrote_is_refused_by_name_and_line(
    tmp_path: Path, content: bytes, error: str
) -> None:
    with_examples().save(tmp_path / "set")
    (tmp_path / "set" / EXAMPLES_FILE).write_bytes(content)
    with pytest.raises(ToolkenSetError, match=r"examples\.jsonl is not the file that .* was saved with"):
        ToolkenSet.load(tmp_path / "set")
    settings = tmp_path / "set" / SETTINGS_FILE
    header = json.loads(settings.read_text())
    del header["sha256"]
    header["files"][EXAMPLES_FILE] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    settings.write_bytes(sealed(header))
    with pytest.raises(ToolkenSetError, match=f"set/{EXAMPLES_FILE}, {error}"):
        ToolkenSet.load(tmp_path / "set")


def test_a_set_whose_examples_were_deleted_loads_without_them(tmp_path: Path) -> None:
    with_examples().save(tmp_path / "set")
    (tmp_path / "set" / EXAMPLES_FILE).unlink()
    assert ToolkenSet.load(tmp_path / "set").examples == Examples((), SETTINGS)


def test_the_examples_that_share_the_rarest_words_are_nearest_and_equals_keep_their_order() -> None:
    kept = [
        example("a", "Play some jazz"),
        example("a", "Play some rock"),
        example("a", "Play the piano sonata"),
        example("a", "", "a sonata is"),
    ]
    assert nearest_examples(kept, Asked("PLAY a sonata"), 2) == [kept[2], kept[0]]
    assert nearest_examples(kept, Asked("nothing alike"), 4) == kept
    assert nearest_examples(kept, Asked("", "hear: a sonata is"), 1) == [kept[3]]
    assert nearest_examples([], Asked("x"), 3) == nearest_examples(kept, Asked("x"), 0) == []


def test_a_bounded_number_of_unlike_examples_is_kept_of_each_tool() -> None:
    alike = [example("a", f"what is the weather like in city number {n}") for n in range(2 * MOST_OF_A_TOOL)]
    odd = example("a", "rain?")
    kept = chosen_examples([*alike, odd, odd, example("b", "x")])
    assert [one.tool for one in kept].count("a") == MOST_OF_A_TOOL
    assert kept[:2] == (alike[0], odd)
    assert kept[-1] == example("b", "x")
    assert kept == chosen_examples([*alike, odd, example("b", "x")])


def test_calls_too_long_for_a_card_are_not_kept() -> None:
    assert chosen_examples([example("a", "x" * 5000), example("a", "y")]) == (example("a", "y"),)


def test_an_example_with_half_a_character_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        CallExample(tool="a", request="x", arguments={"x": "\ud800"})


def test_a_tool_without_examples_gets_the_plain_card_and_outdated_examples_are_left_out() -> None:
    tokenizer = make_tokenizer()

    def card(*examples: CallExample) -> str:
        return str(
            tokenizer.decode(card_of(tokenizer, spec("a"), Examples(examples, SETTINGS), Asked("Four?"), room=500))
        )

    assert "Request" not in card()
    assert "Request" not in card(example("b", "One?"))
    assert "Request" not in card(CallExample(tool="a", request="One?", arguments={"gone": 1}))
    assert "Request: One?" in card(example("a", "One?"))
