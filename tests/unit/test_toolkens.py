"""Toolken sets: what they hold, how they change, and that a folder of them is whole or refused."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as tensors_to_bytes

from langchain_toolken import toolken_folder as module
from langchain_toolken.lm_identity import LMIdentity
from langchain_toolken.toolken_folder import SETTINGS_FILE, TENSORS_FILE
from langchain_toolken.toolkens import Calibration, Provenance, ToolkenSet, ToolkenSetError
from langchain_toolken.tools import ToolSpec

PROVENANCE = Provenance(
    model_id="org/tiny",
    revision="main",
    head_fingerprint="h" * 64,
    tokenizer_fingerprint="t" * 64,
    style="completion",
    prior="head/name/average",
    lam=0.001,
    demonstrations=5,
    tool_positions=6,
    word_positions=70,
    package_version="0.1.0",
)


def spec(name: str) -> ToolSpec:
    schema = {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}
    return ToolSpec(name=name, description=f"Does {name}.", json_schema=schema)


CALIBRATION = Calibration(
    temperature=1.5,
    fitted_bias=0.0,
    ece_before=0.1,
    ece_after=0.05,
    f1=0.9,
    recall=0.8,
    false_call_rate=0.01,
    max_false_call_rate=None,
)


def make(names: list[str], seed: int = 0, hidden: int = 4, bias: float = 0.25, **provenance: Any) -> ToolkenSet:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(names), hidden)
    return ToolkenSet(
        specs=tuple(spec(name) for name in names),
        matrix=torch.randn(shape, generator=generator),
        prior=torch.randn(shape, generator=generator),
        bias=bias,
        provenance=PROVENANCE.model_copy(update=provenance),
    )


def same(a: ToolkenSet, b: ToolkenSet) -> bool:
    return (
        a.specs == b.specs
        and torch.equal(a.matrix, b.matrix)
        and torch.equal(a.prior, b.prior)
        and a.bias == b.bias
        and (a.tool_biases is None) == (b.tool_biases is None)
        and (a.tool_biases is None or torch.equal(a.tool_biases, b.tool_biases))  # type: ignore[arg-type]
        and (a.call_states is None) == (b.call_states is None)
        and (a.call_states is None or torch.equal(a.call_states, b.call_states))  # type: ignore[arg-type]
        and a.calibration == b.calibration
        and a.provenance == b.provenance
    )


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
names_lists = st.lists(texts, unique=True, max_size=5)
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)


@st.composite
def sets(draw: st.DrawFn) -> ToolkenSet:
    names = draw(names_lists)
    hidden = draw(st.integers(1, 4))
    rows = st.lists(st.lists(finite, min_size=hidden, max_size=hidden), min_size=len(names), max_size=len(names))
    bias = draw(st.floats(allow_nan=False, allow_infinity=False))
    lam = draw(st.none() | st.floats(0, 10))
    return ToolkenSet(
        specs=tuple(ToolSpec(name=n, description=draw(texts), json_schema={"default": draw(texts)}) for n in names),
        matrix=torch.tensor(draw(rows)).reshape(len(names), hidden),
        prior=torch.tensor(draw(rows)).reshape(len(names), hidden),
        bias=bias,
        provenance=PROVENANCE.model_copy(update={"model_id": draw(texts), "lam": lam}),
        tool_biases=draw(st.none() | st.lists(finite, min_size=len(names), max_size=len(names)).map(torch.tensor)),
        calibration=draw(st.sampled_from([None, CALIBRATION])),
        call_states=draw(st.none() | rows.map(lambda found: torch.tensor(found).reshape(len(names), hidden))),
    )


# --- in memory -------------------------------------------------------------------------------------------------------


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


def test_a_folder_of_the_first_format_loads(tmp_path: Path) -> None:
    toolkens = make(["a", "b"])
    toolkens.save(tmp_path / "set")
    content = json.loads((tmp_path / "set" / SETTINGS_FILE).read_text())
    del content["calibration"]
    del content["provenance"]["added"]
    (tmp_path / "set" / SETTINGS_FILE).write_text(json.dumps({**content, "format_version": 1}))
    assert same(ToolkenSet.load(tmp_path / "set"), toolkens)


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


# --- the folder ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sets())
def test_a_saved_set_loads_as_it_was_and_over_another(tmp_path: Path, toolkens: ToolkenSet) -> None:
    folder = tmp_path / "deep" / "set"
    toolkens.save(folder)
    assert same(ToolkenSet.load(folder), toolkens)
    assert sorted(entry.name for entry in folder.iterdir()) == [SETTINGS_FILE, TENSORS_FILE]
    assert [entry.name for entry in folder.parent.iterdir()] == ["set"]


def test_toolkens_that_are_still_their_prior_can_be_saved(tmp_path: Path) -> None:
    rows = torch.randn(2, 4, generator=torch.Generator().manual_seed(1))
    unfitted = ToolkenSet(specs=(spec("a"), spec("b")), matrix=rows, prior=rows, bias=0.0, provenance=PROVENANCE)
    unfitted.save(tmp_path / "set")
    assert same(ToolkenSet.load(tmp_path / "set"), unfitted)


def test_a_set_is_saved_through_a_link_and_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    make(["a"]).save("real")
    Path("link").symlink_to("real")
    make(["b"]).save("link")
    assert Path("link").is_symlink()
    assert ToolkenSet.load("real").names == ("b",)


def test_a_folder_with_other_things_in_it_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ToolkenSetError, match=r"holds something else \(thesis.tex\) that saving would delete"):
        make(["a"]).save(tmp_path)
    with pytest.raises(ToolkenSetError, match="is a file"):
        make(["a"]).save(tmp_path / "thesis.tex")
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]


class Killed(BaseException):
    """Stands for the process ending here: nothing after it runs."""


class Steps:
    """Counts the file system calls of a save; ends the save before the n-th, without its clean-up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, before: int | None = None) -> None:
        self.count = 0
        self.before = before
        self.dead = False
        for owner, name in (
            (Path, "mkdir"),
            (Path, "rename"),
            (module, "_write_synced"),
            (module, "_sync_folder"),
            (shutil, "rmtree"),
        ):
            monkeypatch.setattr(owner, name, self.watch(getattr(owner, name), name))

    def watch(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            if self.dead:
                return None
            self.count += 1
            if self.count == self.before:
                self.dead = True
                if name == "_write_synced":
                    Path(args[0]).write_bytes(args[1][: len(args[1]) // 2])
                raise Killed
            return function(*args, **kwargs)

        return watched


def steps_of_a_save(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        steps = Steps(patch)
        make(["new"], seed=2).save(folder)
    return steps.count


def test_a_save_killed_at_any_step_leaves_the_old_set_or_the_new_one(tmp_path: Path) -> None:
    old, new, later = make(["old"], seed=1), make(["new"], seed=2), make(["later"], seed=3)
    old.save(tmp_path / "probe")
    found: list[str] = []
    for step in range(1, steps_of_a_save(tmp_path / "probe") + 1):
        folder = tmp_path / str(step) / "set"
        old.save(folder)
        with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
            Steps(patch, before=step)
            new.save(folder)
        survivor = ToolkenSet.load(folder)
        assert same(survivor, old) or same(survivor, new)
        found.append(survivor.names[0])
        later.save(folder)
        assert same(ToolkenSet.load(folder), later)
        assert not [entry for entry in folder.parent.iterdir() if ".old-" in entry.name]
    assert found == sorted(found, reverse=True)  # old up to some step, new from there on
    assert set(found) == {"old", "new"}


def test_a_first_save_killed_leaves_no_set(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        Steps(patch, before=4)
        make(["a"]).save(tmp_path / "set")
    with pytest.raises(ToolkenSetError, match="does not exist"):
        ToolkenSet.load(tmp_path / "set")


def test_a_failed_save_puts_the_old_set_back_and_cleans_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "set"
    make(["old"]).save(folder)

    def full(file: Path, content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "_write_synced", full)
    with pytest.raises(OSError, match="No space left"):
        make(["new"]).save(folder)
    assert ToolkenSet.load(folder).names == ("old",)
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_a_reader_whose_folder_is_replaced_between_its_two_files_reads_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "set"
    make(["old"], seed=1).save(folder)
    read = module._read_header
    times = 0

    def replaced_after(place: Path, shown: Path) -> Any:
        nonlocal times
        times += 1
        content = read(place, shown)
        if times == 1:
            make(["new"], seed=2).save(folder)
        return content

    monkeypatch.setattr(module, "_read_header", replaced_after)
    assert same(ToolkenSet.load(folder), make(["new"], seed=2))
    assert times == 2


def rewrite(folder: Path, tensors: dict[str, torch.Tensor] | bytes) -> None:
    """Puts other tensors into a saved folder, with their right checksum."""
    payload = tensors if isinstance(tensors, bytes) else tensors_to_bytes(tensors)
    (folder / TENSORS_FILE).write_bytes(payload)
    change_settings(folder, payload_sha256=hashlib.sha256(payload).hexdigest())


def change_settings(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / SETTINGS_FILE).read_text())
    (folder / SETTINGS_FILE).write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: os.truncate(f / TENSORS_FILE, 60), f"{TENSORS_FILE} is not the file.*truncated.*fit anew"),
        (lambda f: os.truncate(f / TENSORS_FILE, 0), f"{TENSORS_FILE} is not the file"),
        (lambda f: (f / TENSORS_FILE).unlink(), f"{TENSORS_FILE} is missing"),
        (lambda f: (f / SETTINGS_FILE).unlink(), f"{SETTINGS_FILE} is missing"),
        (lambda f: os.truncate(f / SETTINGS_FILE, 100), f"{SETTINGS_FILE} is not JSON"),
        (lambda f: (f / SETTINGS_FILE).write_bytes(b"\xff\xfe"), f"{SETTINGS_FILE} is not JSON"),
        (lambda f: (f / SETTINGS_FILE).write_text("[]"), "was not written by langchain-toolken"),
        (lambda f: (f / SETTINGS_FILE).write_text('{"model_type": "llama"}'), "was not written by langchain-toolken"),
        (lambda f: change_settings(f, format_version=99), "format version 99.*install the version that wrote it"),
        (lambda f: change_settings(f, provenance={}), "provenance.model_id: Field required"),
        (lambda f: change_settings(f, bias=float("nan")), "bias: "),
        (lambda f: change_settings(f, extra=1), "extra: "),
        (lambda f: change_settings(f, specs=[]), f"{TENSORS_FILE}: matrix has shape .2, 4.; 0 tools"),
        (lambda f: rewrite(f, b"not tensors"), f"{TENSORS_FILE} is not a safetensors file"),
        (lambda f: rewrite(f, struct.pack("<Q", 2**40) + b"{}"), f"{TENSORS_FILE} is not a safetensors file"),
        (lambda f: rewrite(f, {"weight": torch.zeros(2, 4)}), r"holds \['weight'\], not 'matrix' and 'prior'"),
        (lambda f: rewrite(f, {"matrix": torch.zeros(2, 4), "prior": torch.zeros(2, 5)}), "differ in shape"),
        (lambda f: rewrite(f, {"matrix": torch.zeros(2, 4).half(), "prior": torch.zeros(2, 4)}), "not float32"),
        (
            lambda f: rewrite(f, {"matrix": torch.full((2, 4), float("nan")), "prior": torch.zeros(2, 4)}),
            f"{TENSORS_FILE}: matrix has a value that is not finite, in the row of 'a'",
        ),
    ],
)
def test_a_damaged_folder_is_refused(tmp_path: Path, damage: Callable[[Path], Any], message: str) -> None:
    folder = tmp_path / "set"
    make(["a", "b"]).save(folder)
    damage(folder)
    with pytest.raises(ToolkenSetError, match=message) as caught:
        ToolkenSet.load(folder)
    assert str(folder) in str(caught.value)


def test_files_of_two_saves_are_not_taken_for_one_set(tmp_path: Path) -> None:
    make(["a"], seed=1).save(tmp_path / "one")
    make(["a"], seed=2).save(tmp_path / "two")
    shutil.copy(tmp_path / "one" / TENSORS_FILE, tmp_path / "two" / TENSORS_FILE)
    with pytest.raises(ToolkenSetError, match="from another set"):
        ToolkenSet.load(tmp_path / "two")


def test_a_folder_that_is_not_there_or_a_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ToolkenSetError, match=r"gone does not exist: give the folder that `toolken fit --out`"):
        ToolkenSet.load(tmp_path / "gone")
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolkenSetError, match="is a file, not a folder"):
        ToolkenSet.load(tmp_path / "file")
