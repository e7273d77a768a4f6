"""Toolkens for tools that nobody trained: mapped, or priors, and never at the cost of the others."""

from __future__ import annotations

import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from langchain_toolken.chat.growing_toolkens import GrowingToolkens, with_priors
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.head import toolken_logits
from langchain_toolken.lm.load import load_language_model
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.evidence import Evidence, Gate
from langchain_toolken.toolkens.lexical import LexicalMatch, description_document
from langchain_toolken.toolkens.mapping import LEAST_TRAINED, description_states, learn_map, request_of
from langchain_toolken.toolkens.new_tools import add_tools
from langchain_toolken.toolkens.priors import PriorConfig, prior_rows
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import ToolSpec
from tests.support.passes import Passes
from tests.support.tiny import SENTENCES, make_model, make_tokenizer
from tests.support.toolken_sets import provenance_of

SCHEMA = {"type": "object", "properties": {}}
WORDS = ["box", "pens", "euros", "cafe", "sum", "product", "tool", "left", "answer", "near", "result", "sentence"]
WORDS += ["total", "number", "goes"]


def specs(names: list[str]) -> list[ToolSpec]:
    return [ToolSpec(name=name, description=f"Gives the {name} of a thing.", json_schema=SCHEMA) for name in names]


def set_of(lm: LanguageModel, known: list[ToolSpec], matrix: torch.Tensor, calls: torch.Tensor) -> ToolkenSet:
    prior = prior_rows(lm, known, PriorConfig())
    return ToolkenSet(tuple(known), matrix, prior, 0.25, provenance_of(lm), call_states=calls)


def directions(lm: LanguageModel, tools: list[ToolSpec], known: int, centre: torch.Tensor) -> torch.Tensor:
    """The map's input, computed by hand."""
    last, mean = [], []
    for tool in tools:
        ids = lm.tokenizer(" " + request_of(tool), add_special_tokens=False)["input_ids"]
        states = lm.model.model(torch.tensor([[lm.tokenizer.bos_token_id, *ids]])).last_hidden_state[0, 1:]
        last.append(states[-1])
        mean.append(states.mean(0))
    total = torch.zeros(len(tools), lm.hidden_size)
    for states in (torch.stack(last), torch.stack(mean)):
        away = states - states[:known].mean(0)
        total += away / away.norm(dim=1, keepdim=True)
    along = centre / centre.norm()
    return total - torch.outer(total @ along, along)


def planted(lm: LanguageModel, seed: int = 0) -> tuple[ToolkenSet, list[ToolSpec], torch.Tensor, torch.Tensor]:
    """12 trained tools whose toolkens are their directions after a linear map, and 3 unseen ones with their true rows:
    (set, unseen, their true rows, their call states)."""
    tools = specs(WORDS)
    generator = torch.Generator().manual_seed(seed)
    centre = 3 * torch.randn(lm.hidden_size, generator=generator)
    inputs = directions(lm, tools, 12, centre)
    turn = 0.05 * torch.randn(lm.hidden_size, lm.hidden_size, generator=generator)
    rows = 2 * inputs + inputs @ turn + torch.randn(lm.hidden_size, generator=generator)
    offsets = 0.1 * torch.randn(12, lm.hidden_size, generator=generator)
    calls = inputs[:12] + offsets - offsets.mean(0) - inputs[:12].mean(0) + centre
    return set_of(lm, tools[:12], rows[:12], calls), tools[12:], rows[12:], inputs[12:] + centre


def test_a_planted_map_is_found_and_wins_over_the_priors() -> None:
    # How far it wins depends on how the tokenizer splits 15 words: the bound below is for this one.
    tokenizer = make_tokenizer(extra=(), sentences=SENTENCES[:4])
    lm = load_language_model(make_model("llama"), tokenizer=tokenizer)
    toolkens, unseen, rows, calls = planted(lm)
    learned = learn_map(lm, toolkens, PriorConfig())
    assert learned is not None
    assert learned.choice.trained == 12
    assert learned.choice.loss < learned.choice.prior_loss
    mapped = learned.rows(description_states(lm, unseen))
    assert mapped is not None
    prior = prior_rows(lm, unseen, PriorConfig())
    assert (mapped - rows).norm() < 0.4 * (prior - rows).norm()
    everything = torch.cat([toolkens.matrix, mapped])
    assert (calls @ everything.T).argmax(dim=1).tolist() == [12, 13, 14]


@pytest.mark.slow
def test_the_choice_is_judged_by_refitting_without_each_tool(tiny_llama: LanguageModel) -> None:
    toolkens, _, _, _ = planted(tiny_llama)
    learned = learn_map(tiny_llama, toolkens, PriorConfig())
    assert learned is not None
    choice = learned.choice
    assert choice.scale is not None
    assert choice.ridge is not None
    assert choice.ridge < float("inf")
    assert toolkens.call_states is not None
    calls, rows = toolkens.call_states, toolkens.matrix.double()
    inputs = directions(tiny_llama, list(toolkens.specs), 12, calls.mean(0)).double()
    spread = (rows - rows.mean(0)).norm(dim=1).mean() / inputs.norm(dim=1).mean()
    identity = torch.eye(tiny_llama.hidden_size, dtype=torch.float64)
    predicted = []
    for k in range(12):
        others = [i for i in range(12) if i != k]
        x, y = inputs[others] - inputs.mean(0), rows[others] - choice.scale * spread * inputs[others]
        # Ridge with an intercept that is not shrunk, by least squares on stacked equations.
        stacked = torch.cat(
            [
                torch.cat([x, torch.ones(11, 1, dtype=torch.float64)], 1),
                torch.cat([choice.ridge**0.5 * identity, torch.zeros(len(identity), 1, dtype=torch.float64)], 1),
            ]
        )
        solved = torch.linalg.lstsq(stacked, torch.cat([y, torch.zeros_like(identity)])).solution
        at = torch.cat([inputs[k] - inputs.mean(0), torch.ones(1, dtype=torch.float64)])
        predicted.append(at @ solved + choice.scale * spread * inputs[k])
    assert choice.loss == pytest.approx(left_out_loss(calls, rows, torch.stack(predicted)), rel=1e-3)


def left_out_loss(calls: torch.Tensor, rows: torch.Tensor, predicted: torch.Tensor) -> float:
    """How surely each of 12 tools wins its calls, a fifth at a time having the predicted rows; by hand."""
    fold = torch.randperm(12, generator=torch.Generator().manual_seed(0)) % 5
    loss = 0.0
    for number in range(5):
        new = fold == number
        mixed = torch.where(new[:, None], predicted.double(), rows.double())
        lost = torch.nn.functional.cross_entropy(calls.double() @ mixed.T, torch.arange(12), reduction="none")
        loss += float(lost[new].sum() + lost[~new].sum() / 4) / 24
    return loss


def test_the_priors_that_the_map_must_beat_are_made_among_all_tools_of_the_set_as_in_a_fit(
    tiny_llama: LanguageModel,
) -> None:
    toolkens, _, _, _ = planted(tiny_llama)
    weighted = PriorConfig(text="description", pooling="weighted")
    # Tools that nobody trained: their words count for the weights and lengths, though nothing is learned from them.
    others = [
        ToolSpec(name=f"other_{word}", description=f"A pen: {word} left.", json_schema=SCHEMA) for word in WORDS[:6]
    ]
    whole = toolkens.add(others, torch.zeros(6, tiny_llama.hidden_size))
    assert toolkens.call_states is not None
    losses = []
    for some in (toolkens, whole):
        learned = learn_map(tiny_llama, some, weighted)
        assert learned is not None
        priors = prior_rows(tiny_llama, toolkens.specs, weighted, among=some.specs)
        assert learned.choice.trained == 12
        assert learned.choice.prior_loss == pytest.approx(
            left_out_loss(toolkens.call_states, toolkens.matrix, priors), rel=1e-3
        )
        losses.append(learned.choice.prior_loss)
    assert losses[0] != pytest.approx(losses[1], rel=1e-2)


def test_tools_bound_one_after_the_other_cost_the_trained_tools_descriptions_once(
    tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolkens, unseen, _, _ = planted(tiny_llama)
    engine = TransformersEngine(tiny_llama)
    growing, passes, read = GrowingToolkens(toolkens), Passes(monkeypatch), []
    for bound in ([toolkens.specs[0]], unseen[:1], [*toolkens.specs, *unseen[:1]], unseen[:2], unseen):
        before = sum(rows for rows, _ in passes.shapes)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            grown = growing.for_tools(engine, bound, "completion")
        read.append(sum(rows for rows, _ in passes.shapes) - before)
    # The 12 trained tools' descriptions with the first new one's, then only those that are new.
    assert read == [0, 13, 0, 1, 1]
    assert grown.names == (*toolkens.names, *(spec.name for spec in unseen))
    torch.testing.assert_close(grown.matrix, add_tools(tiny_llama, toolkens, unseen).matrix, rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_tool_with_another_description_gets_another_toolken_unless_it_was_fitted(tiny_llama: LanguageModel) -> None:
    toolkens, unseen, _, _ = planted(tiny_llama)
    engine, growing = TransformersEngine(tiny_llama), GrowingToolkens(toolkens)
    first, second = unseen[0], unseen[0].model_copy(update={"description": "Answers near boxes."})
    fitted = toolkens.specs[3].model_copy(update={"description": "Other."})
    for bound in (first, second, first):
        grown = growing.for_tools(engine, [bound, fitted], "completion")
        expected = add_tools(tiny_llama, toolkens, [bound])
        torch.testing.assert_close(grown.matrix, expected.matrix, rtol=1e-4, atol=1e-4)
        assert grown.specs == expected.specs
    alone = GrowingToolkens(None)
    for bound in (first, second):
        assert alone.for_tools(engine, [bound], "completion").specs == (bound,)


def test_priors_stand_where_the_map_serves_left_out_tools_no_better(tiny_llama: LanguageModel) -> None:
    tools = specs(WORDS)
    prior = prior_rows(tiny_llama, tools, PriorConfig())
    # The trained toolkens are their priors, and fire where the priors point: nothing beats the priors.
    calls = 4 * torch.nn.functional.normalize(prior, dim=1)
    toolkens = set_of(tiny_llama, tools[:12], prior[:12], calls[:12])
    added = add_tools(tiny_llama, toolkens, tools[12:])
    assert torch.equal(added.matrix[12:], prior[12:])
    assert added.provenance.added == dict.fromkeys(WORDS[12:], "prior head/name/average")


def test_with_too_few_trained_tools_the_priors_stand(tiny_llama: LanguageModel) -> None:
    toolkens, unseen, _, _ = planted(tiny_llama)
    few = toolkens.select(toolkens.names[: LEAST_TRAINED - 1])
    assert learn_map(tiny_llama, few, PriorConfig()) is None
    # Tools that no demonstration called don't count as trained.
    calls = toolkens.call_states
    assert calls is not None
    untrained = replace(toolkens, call_states=calls.index_fill(0, torch.arange(LEAST_TRAINED - 1, 12), 0.0))
    for some in (few, untrained, replace(toolkens, call_states=None)):
        added = add_tools(tiny_llama, some, unseen)
        # Their norms are those of the whole set's, so the trained tools count where the new ones' priors are made.
        prior = prior_rows(tiny_llama, unseen, PriorConfig(), among=[*some.specs, *unseen])
        torch.testing.assert_close(added.matrix[len(some) :], prior)


def test_added_tools_leave_the_others_bit_for_bit_and_say_how_they_were_made(
    tiny_llama: LanguageModel, tmp_path: Path
) -> None:
    toolkens, unseen, _, _ = planted(tiny_llama)
    added = add_tools(tiny_llama, toolkens, unseen)
    assert torch.equal(added.matrix[:12], toolkens.matrix)
    assert torch.equal(added.biases[:12], toolkens.biases)
    assert added.names == (*toolkens.names, *(spec.name for spec in unseen))
    assert added.trained == toolkens.trained
    assert all(how.startswith("mapped from 12 tools") for how in added.provenance.added.values())
    assert set(added.provenance.added) == {spec.name for spec in unseen}
    added.save(tmp_path / "set")
    loaded = ToolkenSet.load(tmp_path / "set")
    assert loaded.provenance == added.provenance
    assert loaded.trained == added.trained
    # Tools that were added are not learned from, so it does not matter whether they come at once or one by one.
    first = add_tools(tiny_llama, add_tools(tiny_llama, toolkens, unseen[:1]), unseen[1:])
    torch.testing.assert_close(first.matrix, added.matrix, rtol=1e-4, atol=1e-4)
    gone = added.remove([unseen[0].name])
    assert set(gone.provenance.added) == {spec.name for spec in unseen[1:]}


def test_an_unknown_tool_that_is_bound_is_mapped_and_the_warning_says_so(tiny_llama: LanguageModel) -> None:
    toolkens, unseen, _, _ = planted(tiny_llama)
    engine = TransformersEngine(tiny_llama)
    with pytest.warns(UserWarning, match="'number'.*mapped from the other tools"):
        bound = with_priors(engine, toolkens, [toolkens.specs[0], *unseen])
    torch.testing.assert_close(bound.matrix, add_tools(tiny_llama, toolkens, unseen).matrix)


def test_a_set_of_another_lm_gets_no_tools(tiny_lm, tiny_llama: LanguageModel) -> None:  # type: ignore[no-untyped-def]
    toolkens, unseen, _, _ = planted(tiny_llama)
    with pytest.raises(ToolkenSetError, match="differ in"):
        add_tools(tiny_lm("cohere"), toolkens, unseen)


@pytest.mark.parametrize("trained", [True, False])
def test_new_tools_get_rows_for_the_request_from_those_of_the_other_tools(
    tiny_llama: LanguageModel, trained: bool
) -> None:
    known, new = specs(WORDS[:12]), specs(WORDS[12:])
    states = description_states(tiny_llama, [*known, *new])[1]
    planted_rows = states @ torch.randn(tiny_llama.hidden_size, tiny_llama.hidden_size) + 1.0
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(12, tiny_llama.hidden_size, generator=generator)
    calls = torch.randn(12, tiny_llama.hidden_size, generator=generator) if trained else None
    zero = torch.zeros(tiny_llama.hidden_size)
    evidence = Evidence(
        gate=Gate(zero, zero, 0.0),
        request_rows=planted_rows[:12],
        lexical=(LexicalMatch("description", 1.0, tuple(map(description_document, known))),),
    )
    toolkens = ToolkenSet(
        tuple(known), matrix, matrix, 0.0, provenance_of(tiny_llama), call_states=calls, evidence=evidence
    )
    grown = add_tools(tiny_llama, toolkens, new)
    assert grown.evidence is not None
    rows = grown.evidence.request_rows
    assert rows is not None
    assert torch.equal(rows[:12], planted_rows[:12])
    middle = planted_rows[:12].mean(dim=0)
    cosine = torch.nn.functional.cosine_similarity(rows[12:] - middle, planted_rows[12:] - middle)
    assert float(cosine.mean()) > 0.3
    assert len(grown.evidence.lexical[0]) == len(grown)
    if not trained:
        assert grown.provenance.added[new[0].name] == "mapped from 12 untrained tools"


def test_beside_a_gate_the_priors_of_new_tools_are_centred_so_that_they_do_not_win_everywhere(
    tiny_llama: LanguageModel,
) -> None:
    known, new = specs(WORDS[:3]), specs(WORDS[3:5])
    zero = torch.zeros(tiny_llama.hidden_size)
    matrix = torch.randn(3, tiny_llama.hidden_size, generator=torch.Generator().manual_seed(0))
    calls = matrix + 10.0
    evidence = Evidence(gate=Gate(zero, zero, 0.0))
    toolkens = ToolkenSet(
        tuple(known), matrix, matrix, 0.0, provenance_of(tiny_llama), call_states=calls, evidence=evidence
    )
    grown = add_tools(tiny_llama, toolkens, new)
    assert grown.provenance.added[new[0].name] == "prior head/name/average, centred"
    middle = matrix.mean(dim=0)
    along = (grown.matrix - middle) @ calls.mean(dim=0)
    assert along[3:].abs().max() < 1e-2


@pytest.mark.parametrize("gated", [True, False])
def test_at_the_calls_of_trained_tools_new_ones_are_no_higher_than_these_where_a_gate_says_when(
    tiny_llama: LanguageModel, gated: bool
) -> None:
    known, new = specs(WORDS[:4]), specs(WORDS[4:7])
    zero = torch.zeros(tiny_llama.hidden_size)
    matrix = torch.randn(4, tiny_llama.hidden_size, generator=torch.Generator().manual_seed(0))
    toolkens = ToolkenSet(
        tuple(known),
        matrix,
        matrix,
        1.5,
        provenance_of(tiny_llama),
        call_states=matrix - 3.0,
        evidence=Evidence(gate=Gate(zero, zero, 0.0) if gated else None),
    )
    grown = add_tools(tiny_llama, toolkens, new)
    assert torch.equal(grown.biases[:4], toolkens.biases)
    if not gated:
        assert torch.equal(grown.biases, torch.full((7,), 1.5))
        return
    logits = toolken_logits(matrix - 3.0, grown.matrix, grown.biases)
    others = logits[:, :4].masked_fill(torch.eye(4, dtype=torch.bool), float("nan")).nanmean(dim=1)
    torch.testing.assert_close(logits[:, 4:].mean(dim=0), others.mean().expand(3), atol=1e-3, rtol=1e-3)
