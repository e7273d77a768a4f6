"""Toolken sets: what they hold, how they change, and which LM they fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from langchain_toolken.lm.identity import LMIdentity
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.set import ToolkenSet
from tests.support.toolken_sets import CALIBRATION, PROVENANCE, make, names_lists, same, sets, spec


def test_a_set_knows_its_tools() -> None:
    toolkens = make(["add", "divide"])
    assert toolkens.names == ("add", "divide")
    assert len(toolkens) == 2
    assert "add" in toolkens
    assert "sqrt" not in toolkens
    assert toolkens.hidden_size == 4
    assert toolkens.index("divide") == 1
    with pytest.raises(ToolkenSetError, match="no toolken named 'divid' .did you mean divide"):
        toolkens.index("divid")


def test_other_dtypes_become_float32() -> None:
    toolkens = make(["a"])
    half = ToolkenSet(toolkens.specs, toolkens.matrix.to(torch.bfloat16), toolkens.prior.double(), 0, PROVENANCE)
    assert half.matrix.dtype == half.prior.dtype == torch.float32


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"matrix": torch.zeros(3, 4)}, r"matrix has shape \(3, 4\); 2 tools"),
        ({"matrix": torch.zeros(2)}, "matrix has shape"),
        ({"prior": torch.zeros(2, 5)}, "differ in shape"),
        ({"matrix": torch.tensor([[0.0] * 4, [float("nan")] * 4])}, "not finite, in the row of 'b'"),
        ({"prior": torch.full((2, 4), float("inf"))}, "prior has a value that is not finite"),
        ({"bias": float("nan")}, "the bias is nan"),
        ({"tool_biases": torch.zeros(3)}, r"tool_biases has shape \(3,\); 2 tools"),
        ({"tool_biases": torch.tensor([0.0, float("nan")])}, "tool_biases has a value that is not finite, for 'b'"),
        ({"specs": (spec("a"), spec("a"))}, "two toolkens are named 'a'"),
    ],
)
def test_what_does_not_agree_is_refused(change: dict[str, Any], message: str) -> None:
    good = make(["a", "b"])
    fields = {k: getattr(good, k) for k in ("specs", "matrix", "prior", "bias", "provenance")}
    with pytest.raises(ToolkenSetError, match=message):
        ToolkenSet(**{**fields, **change})


@given(sets(), st.data())
def test_select_takes_these_rows_in_this_order_and_remove_leaves_the_others(toolkens: ToolkenSet, data: Any) -> None:
    chosen = data.draw(st.permutations(toolkens.names).flatmap(lambda p: st.integers(0, len(p)).map(lambda n: p[:n])))
    selected, rest = toolkens.select(chosen), toolkens.remove(chosen)
    assert selected.names == tuple(chosen)
    assert rest.names == tuple(name for name in toolkens.names if name not in chosen)
    for part in (selected, rest):
        for i, name in enumerate(part.names):
            row = toolkens.index(name)
            assert part.specs[i] == toolkens.specs[row]
            assert torch.equal(part.matrix[i], toolkens.matrix[row])
            assert torch.equal(part.prior[i], toolkens.prior[row])
            if toolkens.tool_biases is not None:
                assert part.tool_biases is not None
                assert part.tool_biases[i] == toolkens.tool_biases[row]
        assert part.calibration == toolkens.calibration


def test_added_tools_get_the_sets_bias_and_merged_ones_keep_their_own() -> None:
    own = replace(make(["a", "b"]), tool_biases=torch.tensor([0.5, -1.0]), calibration=CALIBRATION)
    assert own.biases.tolist() == [0.75, -0.75]
    assert own.add([spec("c")], torch.zeros(1, 4)).biases.tolist() == [0.75, -0.75, 0.25]
    both = own.merge(make(["c"], bias=1.0))
    assert both.biases.tolist() == [0.75, -0.75, 1.0]
    assert both.calibration is None, "two sets of which one is not calibrated"
    assert make(["a"]).merge(make(["b"])).tool_biases is None


def test_merged_and_selected_sets_keep_what_is_known_of_their_calls() -> None:
    states = torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.0, 0.0, 0.0, 0.0]])
    known = replace(make(["a", "b"]), call_states=states)
    assert known.trained == [0]
    both = make(["c"]).merge(known)
    assert both.trained == [1]
    assert both.call_states is not None
    assert torch.equal(both.call_states[1:], states)
    assert both.select(["b", "a"]).trained == [1]
    assert make(["c"]).trained == []
    with pytest.raises(ToolkenSetError, match="call_states .* differ in shape"):
        replace(known, call_states=torch.zeros(2, 5))


@given(names_lists, st.data())
def test_added_tools_start_at_their_prior_and_the_old_stay_bit_for_bit(names: list[str], data: Any) -> None:
    cut = data.draw(st.integers(0, len(names)))
    old, rows = make(names[:cut]), torch.randn(len(names) - cut, 4)
    both = old.add([spec(name) for name in names[cut:]], rows)
    assert both.names == tuple(names)
    assert torch.equal(both.matrix[:cut], old.matrix)
    assert torch.equal(both.prior[:cut], old.prior)
    assert torch.equal(both.matrix[cut:], rows)
    assert torch.equal(both.prior[cut:], rows)
    assert set(both.provenance.added) == set(names[cut:])
    assert same(both.remove(names[cut:]), old)


@given(names_lists, st.data())
def test_merged_sets_select_apart_again(names: list[str], data: Any) -> None:
    cut = data.draw(st.integers(0, len(names)))
    left, right = make(names[:cut]), make(names[cut:], seed=1)
    both = left.merge(right)
    assert both.names == tuple(names)
    assert torch.equal(both.select(names[:cut]).matrix, left.matrix)
    assert torch.equal(both.select(names[cut:]).matrix, right.matrix)
    assert both.provenance.demonstrations == 10


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: t.select("a"), r"give a list of names, \['a'\]"),
        (lambda t: t.select(["a", "a"]), "'a' is named twice"),
        (lambda t: t.remove(["zzz"]), r"no toolken named 'zzz' \(there are a, b\)"),
        (lambda t: t.add([spec("b")], torch.zeros(1, 4)), "'b' has a toolken already"),
        (lambda t: t.add([spec("c")], torch.zeros(1, 5)), r"the rows have shape \(1, 5\)"),
        (lambda t: t.add([spec("c"), spec("c")], torch.zeros(2, 4)), "two toolkens are named 'c'"),
        (lambda t: t.merge(make(["b"])), "both sets have a toolken for 'b'"),
        (lambda t: t.merge(make(["c"], style="chat")), "completion style and the other in chat style"),
        (lambda t: t.merge(make(["c"], head_fingerprint="x")), "fitted for org/tiny.*differ in the output head"),
    ],
)
def test_changes_that_cannot_be_made_say_why(call: Callable[[ToolkenSet], ToolkenSet], message: str) -> None:
    with pytest.raises(ToolkenSetError, match=message):
        call(make(["a", "b"]))


def test_merge_keeps_only_what_both_provenances_say() -> None:
    merged = make(["a"]).merge(make(["b"], lam=1.0, prior="input/name/average")).provenance
    assert merged.lam is None
    assert merged.prior == "head/name/average + input/name/average"


def test_fingerprints_decide_whether_an_lm_fits_and_the_message_names_both() -> None:
    toolkens = make(["a"])
    lm = LMIdentity("/copied/elsewhere", "other", "h" * 64, "t" * 64, hidden_size=4)
    toolkens.check_fits(lm)
    with pytest.raises(ToolkenSetError) as caught:
        toolkens.check_fits(replace(lm, head_fingerprint="h" * 63 + "x", hidden_size=8))
    message = str(caught.value)
    assert "org/tiny (revision main)" in message
    assert "/copied/elsewhere (revision other)" in message
    assert "the hidden size (4 and 8)" in message
    assert "the output head" in message
    assert "tokenizer" not in message
    with pytest.raises(ToolkenSetError, match="the tokenizer"):
        toolkens.check_fits(replace(toolkens.made_for, tokenizer_fingerprint="u"))


def test_merged_sets_end_answers_only_where_both_do() -> None:
    def ending(name: str, *ends: str) -> ToolkenSet:
        made = make([name])
        return replace(made, provenance=made.provenance.model_copy(update={"ends_answer": ends}))

    assert ending("a", " =", "\n").merge(ending("b", "\n")).provenance.ends_answer == ("\n",)
    assert ending("a", " =").merge(make(["b"])).provenance.ends_answer == ()
