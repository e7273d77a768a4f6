"""Evidence: it is saved, loaded, selected, added to and merged with its set, and what does not fit is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from langchain_toolken.disk.sealed_json import sealed
from langchain_toolken.prompts.requests import Request
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.evidence import Evidence, Gate
from langchain_toolken.toolkens.folder import SETTINGS_FILE, TENSORS_FILE
from langchain_toolken.toolkens.lexical import LexicalMatch, description_document
from langchain_toolken.toolkens.set import EVIDENCE_FILE, ToolkenSet
from tests.support.evidence import make_evidence, same_evidence
from tests.support.toolken_sets import make, same, spec


def informed(names: list[str], seed: int = 0, **settings: Any) -> ToolkenSet:
    toolkens = make(names, seed=seed)
    return replace(toolkens, evidence=make_evidence(toolkens, **settings))


def evidence_of(toolkens: ToolkenSet) -> Evidence:
    assert toolkens.evidence is not None
    return toolkens.evidence


@pytest.mark.parametrize("gate", [True, False])
def test_a_set_is_saved_with_its_evidence_and_without_any_file_where_it_has_none(tmp_path: Path, gate: bool) -> None:
    toolkens = informed(["a", "b"], gate=gate)
    toolkens.save(tmp_path / "set")
    loaded = ToolkenSet.load(tmp_path / "set")
    assert same(loaded, toolkens)
    assert same_evidence(loaded.evidence, toolkens.evidence)
    assert loaded.fingerprint == toolkens.fingerprint
    make(["a"]).save(tmp_path / "set")
    assert not (tmp_path / "set" / EVIDENCE_FILE).exists()
    assert ToolkenSet.load(tmp_path / "set").evidence is None
    with pytest.raises(ValueError, match="evidence.json"):
        toolkens.save(tmp_path / "set", {EVIDENCE_FILE: "{}"})


def test_matches_that_were_saved_before_parts_of_words_counted_still_count_words_alone() -> None:
    match = LexicalMatch("description", 1.0, ("books a table",), parts=True)
    text, tensors = Evidence(lexical=(match,)).saved()
    content = json.loads(text)
    assert content["lexical"][0].pop("parts") is True
    read, old = (Evidence.of_saved(each, tensors).lexical[0] for each in (text, json.dumps(content)))
    assert isinstance(read, LexicalMatch)
    assert isinstance(old, LexicalMatch)
    assert (read.parts, old.parts) == (True, False)


def test_evidence_counts_for_the_fingerprint() -> None:
    toolkens = informed(["a", "b"])
    evidence = evidence_of(toolkens)
    assert evidence.gate is not None
    changed = replace(evidence, gate=replace(evidence.gate, threshold=9.0))
    prints = {each.fingerprint for each in (toolkens, make(["a", "b"]), replace(toolkens, evidence=changed))}
    assert len(prints) == 3


def test_log_odds_are_linear_in_the_state_and_the_request() -> None:
    gate = Gate(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 0.0]), constant=-1.0)
    odds = gate.log_odds(torch.tensor([[3.0, 1.0], [0.0, 0.0]]), torch.tensor([[2.0, 9.0], [0.0, 0.0]]))
    assert odds.tolist() == [5.0, -1.0]


def test_after_an_answer_has_begun_the_gate_has_an_operating_point_of_its_own_or_none() -> None:
    asked = Request("weather in Lima?", (0, 4))
    gate = Gate(torch.zeros(2), torch.zeros(2), 0.0, threshold=1.0, after_result=3.0)
    assert [gate.threshold_for(each) for each in (asked, replace(asked, answered=True))] == [1.0, 3.0]
    assert replace(gate, after_result=None).threshold_for(replace(asked, answered=True)) is None
    text, tensors = Evidence(gate=gate).saved()
    read = Evidence.of_saved(text, tensors).gate
    assert read is not None
    assert (read.threshold, read.after_result) == (1.0, 3.0)


def test_a_gate_keeps_the_thresholds_of_several_shares_of_false_calls() -> None:
    gate = Gate(torch.zeros(2), torch.zeros(2), 0.0, points=((0.05, 2.0), (0.2, 1.0)))
    text, tensors = Evidence(gate=gate).saved()
    read = Evidence.of_saved(text, tensors).gate
    assert read is not None
    assert [read.threshold_at(share) for share in (0.01, 0.05, 0.19, 0.2, 0.9)] == [2.0, 2.0, 2.0, 1.0, 1.0]
    assert replace(gate, points=()).threshold_at(0.1) is None
    for points in (((0.2, 1.0), (0.05, 2.0)), ((0.1, float("nan")),)):
        with pytest.raises(ToolkenSetError, match="points"):
            replace(gate, points=points)


def test_lexical_scores_are_the_weighted_sum() -> None:
    evidence = evidence_of(informed(["alpha", "beta"]))
    expected = sum((match.weight * match.scores("beta it") for match in evidence.lexical), torch.zeros(2))
    assert torch.allclose(evidence.lexical_scores("beta it", 2), expected)
    assert Evidence().lexical_scores("beta", 2).tolist() == [0.0, 0.0]


def test_select_and_remove_keep_what_belongs_to_the_tools() -> None:
    toolkens = informed(["a", "b", "c"])
    whole, part = evidence_of(toolkens), evidence_of(toolkens.select(["c", "a"]))
    assert part.gate is whole.gate
    assert part.scale == whole.scale
    assert part.request_rows is not None
    assert whole.request_rows is not None
    assert torch.equal(part.request_rows, whole.request_rows[[2, 0]])
    assert isinstance(part.lexical[0], LexicalMatch)
    assert part.lexical[0].documents == (description_document(spec("c")), description_document(spec("a")))
    assert part.lexical[2].scores("b").tolist() == whole.lexical[2].scores("b")[[2, 0]].tolist()
    assert same_evidence(toolkens.remove(["b"]).evidence, toolkens.select(["a", "c"]).evidence)
    assert len(toolkens.select([])) == 0


def test_added_tools_have_zero_rows_and_their_descriptions() -> None:
    toolkens = informed(["a"])
    grown = evidence_of(toolkens.add([spec("new")], torch.zeros(1, 4)))
    assert grown.request_rows is not None
    assert grown.request_rows[1].tolist() == [0.0] * 4
    assert grown.gate is evidence_of(toolkens).gate
    for match in grown.lexical[:2]:
        assert isinstance(match, LexicalMatch)
        assert match.documents[1] == description_document(spec("new"))
    assert grown.lexical[2].scores("new")[1] == 0.0
    assert same_evidence(toolkens.add([spec("n")], torch.zeros(1, 4)).remove(["n"]).evidence, toolkens.evidence)


def test_other_descriptions_reach_the_words() -> None:
    toolkens = informed(["a", "b"])
    changed = spec("a").model_copy(update={"description": "Sings."})
    described = toolkens.describe([changed, toolkens.specs[1]])
    assert described.specs[0].description == "Sings."
    match = evidence_of(described).lexical[1]
    assert isinstance(match, LexicalMatch)
    assert match.documents == ("a Sings. x\nplease a it", "b Does b. x\nplease b it")
    with pytest.raises(ToolkenSetError, match="in its order"):
        toolkens.describe(toolkens.specs[::-1])


def test_sets_that_were_one_merge_to_what_they_were() -> None:
    toolkens = informed(["a", "b", "c"])
    again = evidence_of(toolkens.select(["a"]).merge(toolkens.select(["b", "c"])))
    whole = evidence_of(toolkens)
    assert again.gate is whole.gate
    assert again.scale == pytest.approx(whole.scale)
    assert again.request_rows is not None
    assert whole.request_rows is not None
    assert torch.equal(again.request_rows, whole.request_rows)
    for ours, theirs in zip(again.lexical, whole.lexical, strict=True):
        assert ours.weight == pytest.approx(theirs.weight)
        assert torch.allclose(ours.scores("please b"), theirs.scores("please b"))


def test_a_gate_that_one_of_two_sets_lacks_is_dropped_and_the_rest_filled_up() -> None:
    bare, full = make(["a"]), informed(["b", "c", "d"])
    for merged, row in ((bare.merge(full), 0), (full.merge(bare), 3)):
        both = evidence_of(merged)
        assert both.gate is None
        assert both.scale == pytest.approx(0.25 + 0.75 * 0.5)
        assert both.request_rows is not None
        assert both.request_rows[row].tolist() == [0.0] * 4
        assert {match.kind for match in both.lexical} == {"description", "demonstrations", "classifier"}
        for match in both.lexical:
            if isinstance(match, LexicalMatch):
                assert match.documents[row] == description_document(spec("a"))
            else:
                assert match.scores("d")[row] == 0.0
    assert make(["a"]).merge(make(["b"])).evidence is None


def test_evidence_that_does_not_fit_its_set_is_refused() -> None:
    toolkens, other = informed(["a", "b"]), evidence_of(informed(["a", "b", "c"]))
    with pytest.raises(ToolkenSetError, match=r"request_rows has shape \(3, 4\); the set needs \(2, 4\)"):
        replace(toolkens, evidence=other)
    with pytest.raises(ToolkenSetError, match="description match is for 3 tools, the set has 2"):
        replace(toolkens, evidence=replace(other, request_rows=None))
    with pytest.raises(ToolkenSetError, match="the gate has 5 weights, the hidden size is 4"):
        replace(toolkens, evidence=Evidence(gate=Gate(torch.zeros(5), torch.zeros(5), 0.0)))
    with pytest.raises(ToolkenSetError, match="the gate's threshold is inf"):
        Gate(torch.zeros(4), torch.zeros(4), 0.0, float("inf"))
    with pytest.raises(ToolkenSetError, match="the gate's request has a value that is not finite"):
        Gate(torch.zeros(2), torch.tensor([0.0, float("nan")]), 0.0)
    with pytest.raises(ToolkenSetError, match=r"state \(4,\) and request \(3,\)"):
        Gate(torch.zeros(4), torch.zeros(3), 0.0)
    with pytest.raises(ToolkenSetError, match="scale is nan"):
        Evidence(scale=float("nan"))
    with pytest.raises(ToolkenSetError, match="two word matches of one kind"):
        Evidence(lexical=(LexicalMatch("description", 1.0, ()), LexicalMatch("description", 1.0, ())))


def put(folder: Path, name: str, content: bytes) -> None:
    """Puts another content into a saved file, with the right checksums."""
    (folder / name).write_bytes(content)
    settings = json.loads((folder / SETTINGS_FILE).read_text())
    del settings["sha256"]
    settings["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / SETTINGS_FILE).write_bytes(sealed(settings))


def change(folder: Path, **changes: Any) -> None:
    content = json.loads((folder / EVIDENCE_FILE).read_text())
    put(folder, EVIDENCE_FILE, json.dumps({**content, **changes}).encode())


def write(folder: Path, content: bytes) -> None:
    put(folder, EVIDENCE_FILE, content)


def change_tensors(folder: Path, changes: dict[str, torch.Tensor | None]) -> None:
    tensors = tensors_from_bytes((folder / TENSORS_FILE).read_bytes())
    kept = {name: tensor for name, tensor in {**tensors, **changes}.items() if tensor is not None}
    put(folder, TENSORS_FILE, tensors_to_bytes(kept))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / EVIDENCE_FILE).unlink(), "is missing"),
        (lambda f: (f / EVIDENCE_FILE).write_bytes(b"{}"), "is not the file that toolkens.json was saved with"),
        (lambda f: write(f, b"\xff\xfe{"), "Invalid JSON"),
        (lambda f: write(f, b"[1, 2"), "Invalid JSON"),
        (lambda f: write(f, b"[]"), "object"),
        (lambda f: write(f, b"[" * 100_000), "recursion|Invalid JSON"),
        (lambda f: change(f, scale="many"), "scale: "),
        (lambda f: change(f, scale=None), "scale: "),
        (lambda f: change(f, gate={"constant": 1.0}), "gate.threshold: Field required"),
        (lambda f: change(f, gate={"constant": 1e999, "threshold": 0.0}), "gate.constant: "),
        (lambda f: change(f, code="import os"), "code: "),
        (lambda f: change(f, lexical=[{"kind": "pickle", "weight": 1.0}]), "lexical.0"),
        (
            lambda f: change(f, lexical=[{"kind": "description", "weight": 1.0, "documents": ["one"]}]),
            "nothing is known of its tensor",
        ),
        (
            lambda f: change(f, lexical=[{"kind": "classifier", "weight": 1.0, "vocabulary": ["one"]}]),
            "the classifier has 1 words",
        ),
        (lambda f: change_tensors(f, {"evidence.gate.state": None}), "'evidence.gate.state' is missing"),
        (lambda f: change_tensors(f, {"evidence.more": torch.zeros(1)}), "nothing is known of its tensor"),
        (lambda f: change_tensors(f, {"evidence.request_rows": torch.zeros(2, 2, 2)}), "must have 2 dimensions"),
    ],
)
def test_damaged_evidence_is_refused_by_the_name_of_its_file(
    tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    informed(["a", "b"]).save(tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(ToolkenSetError, match=message) as caught:
        ToolkenSet.load(tmp_path / "set")
    assert str(tmp_path / "set" / EVIDENCE_FILE) in str(caught.value)


def test_tensors_of_evidence_without_its_file_are_refused(tmp_path: Path) -> None:
    make(["a"]).save(tmp_path / "set")
    change_tensors(tmp_path / "set", {"evidence.request_rows": torch.zeros(1, 4)})
    with pytest.raises(ToolkenSetError, match=r"holds \['evidence.request_rows', 'matrix', 'prior'\]"):
        ToolkenSet.load(tmp_path / "set")


def test_evidence_of_another_number_of_tools_is_refused_by_the_sets_file(tmp_path: Path) -> None:
    informed(["a", "b"]).save(tmp_path / "set")
    change_tensors(tmp_path / "set", {"evidence.request_rows": torch.zeros(3, 4)})
    with pytest.raises(ToolkenSetError, match=r"request_rows has shape \(3, 4\)"):
        ToolkenSet.load(tmp_path / "set")
