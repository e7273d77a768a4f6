"""What `why` says is what happens: where a tool fires, how likely, by which score, and what would make another fire."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.chat.why import Looked, NothingToExplainError, explain, look, score_parts, why_not
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.call_cards import CallExample
from langchain_toolken.toolkens.errors import ToolkenSetError
from langchain_toolken.toolkens.examples import Examples
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import tool_spec
from tests.support.evidence import make_evidence
from tests.support.scripted_engine import ScriptedEngine
from tests.support.tiny import make_lm
from tests.support.toolken_sets import provenance_of, scripted_toolkens
from tests.support.tools import divide, door, lamp, multiply

ASKED: list[BaseMessage] = [SystemMessage("Be brief."), HumanMessage("Turn the lamp on, please.")]
SPECS = tuple(map(tool_spec, (multiply, divide, lamp, door)))
CASES = ("rows", "words", "gate")


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return make_lm()


def toolkens_of(lm: LanguageModel, case: str, *, bias: float = 0.0, threshold: float = 0.0) -> ToolkenSet:
    """Toolkens alone; with evidence but no gate; with both."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(len(SPECS), lm.hidden_size, generator=generator) * 0.3
    prior = rows + torch.randn(rows.shape, generator=generator) * 0.1
    toolkens = ToolkenSet(SPECS, rows, prior, bias, provenance_of(lm, "chat"), torch.tensor([0.1, -0.2, 0.3, 0.0]))
    if case == "rows":
        return toolkens
    return replace(toolkens, evidence=make_evidence(toolkens, gate=case == "gate", threshold=threshold))


def chat_of(lm: LanguageModel, toolkens: ToolkenSet) -> ToolkenChat:
    return ToolkenChat.from_engine(TransformersEngine(lm), toolkens, max_tokens=12, max_argument_tokens=4)


def looked_at(lm: LanguageModel, toolkens: ToolkenSet) -> Looked:
    return look(chat_of(lm, toolkens).decoding_setup(), ASKED, max_tokens=12)


def firing(lm: LanguageModel, case: str) -> ToolkenSet:
    """Toolkens of which one fires neither at once nor never: the operating point is between two places' margins."""
    silent = toolkens_of(lm, case, bias=-1000.0) if case != "gate" else toolkens_of(lm, case, threshold=1000.0)
    margins = looked_at(lm, silent).margins
    later = next(at for at in range(1, len(margins)) if margins[at] > margins[:at].max())
    between = float(margins[later] + margins[:later].max()) / 2
    if case == "gate":
        return toolkens_of(lm, case, threshold=1000.0 + between)
    return toolkens_of(lm, case, bias=-1000.0 - between)


@pytest.mark.parametrize("case", CASES)
def test_it_says_where_what_and_how_likely_the_chat_model_calls(lm: LanguageModel, case: str) -> None:
    toolkens = firing(lm, case)
    said = explain(looked_at(lm, toolkens))
    answer = chat_of(lm, toolkens).bind_tools([multiply, divide, lamp, door]).invoke(ASKED)
    report = answer.response_metadata["toolken"]
    assert said.fires_at is not None
    assert said.fires_at > 0
    assert said.fires == report["name"]
    assert said.looked_at == said.fires_at
    place = said.places[said.fires_at]
    assert place.tools[0].tool == report["name"]
    found = [one.probability for one in place.tools]
    told = [report["probability"], *(one["probability"] for one in report["runners_up"])]
    assert [one.tool for one in place.tools] == [report["name"], *(one["name"] for one in report["runners_up"])]
    if case != "rows":
        assert found == pytest.approx(told, rel=1e-3)
    assert place.call == pytest.approx(sum(told), rel=1e-3)
    assert "".join(one.text for one in said.places[: said.fires_at]).strip() == answer.text.strip()


@pytest.mark.parametrize("case", CASES)
def test_the_parts_of_a_score_add_up_to_what_tools_are_chosen_by(lm: LanguageModel, case: str) -> None:
    toolkens = toolkens_of(lm, case)
    states, mean = torch.randn(3, lm.hidden_size), torch.randn(lm.hidden_size)
    parts = score_parts(toolkens, states, mean, "Turn the lamp on")
    logits = states @ toolkens.matrix.T + toolkens.biases
    scores = logits
    if toolkens.evidence is not None:
        scores = toolkens.evidence.scores(logits, mean.expand(3, -1), ["Turn the lamp on"] * 3)
        assert set(parts) == {"prior", "learned", "bias", "request", "description", "demonstrations", "classifier"}
    total = torch.stack(list(parts.values())).sum(dim=0)
    torch.testing.assert_close(total.softmax(dim=1), scores.softmax(dim=1))
    torch.testing.assert_close(total.mean(dim=1), torch.zeros(3), atol=1e-5, rtol=0)


def with_bias(toolkens: ToolkenSet, tool: str, more: float) -> ToolkenSet:
    own = torch.zeros(len(toolkens)) if toolkens.tool_biases is None else toolkens.tool_biases.clone()
    own[toolkens.index(tool)] += more
    return replace(toolkens, tool_biases=own)


@pytest.mark.parametrize("case", CASES)
def test_the_bias_that_a_tool_lacks_makes_it_fire_and_no_less_does(lm: LanguageModel, case: str) -> None:
    # Without a gate no tool fires at the start; with one, another does.
    toolkens = toolkens_of(lm, case, bias=-20.0, threshold=-1000.0)
    looked = looked_at(lm, toolkens)
    last = looked.order(0)[-1]
    tool = toolkens.names[last]
    told = why_not(looked, tool, 0)
    assert told.score.rank == len(SPECS)
    assert told.gap > 0
    assert told.bias is not None
    for more, fires in ((1.01, True), (0.99, False)):
        again = looked_at(lm, with_bias(toolkens, tool, told.bias * more))
        fired = again.margins[0] > 0 and again.order(0)[0] == last
        assert bool(fired) is fires


def test_no_bias_makes_a_tool_fire_where_a_gate_says_no(lm: LanguageModel) -> None:
    looked = looked_at(lm, toolkens_of(lm, "gate", threshold=1000.0))
    told = why_not(looked, "lamp")
    assert told.bias is None
    assert told.margin < 0
    assert (explain(looked).fires, explain(looked).fires_at) == (None, None)


def test_a_tool_that_fires_lacks_nothing(lm: LanguageModel) -> None:
    looked = looked_at(lm, firing(lm, "gate"))
    first = looked.toolkens.names[looked.order(looked.place)[0]]
    told = why_not(looked, first)
    assert (told.bias, told.gap, told.score.rank) == (0.0, 0.0, 1)
    assert told.score == told.first
    assert not told.nearest_of_first


def test_the_nearest_demonstrations_of_both_tools_are_shown(lm: LanguageModel) -> None:
    calls = [
        CallExample(tool=tool, request=request, arguments=arguments)
        for tool, request, arguments in (
            ("lamp", "Make it dark", {"state": "off"}),
            ("lamp", "Turn the lamp off", {"state": "off"}),
            ("door", "Open the door", {"way": "open"}),
        )
    ]
    toolkens = replace(toolkens_of(lm, "gate", threshold=-1000.0), examples=Examples(tuple(calls)))
    looked = looked_at(lm, toolkens)
    told = why_not(looked, "lamp")
    assert [one.request for one in told.nearest] == ["Turn the lamp off", "Make it dark"]
    other = why_not(looked, "door")
    assert [one.request for one in other.nearest] == ["Open the door"]


def test_operating_points_are_margins_from_the_sets_own(lm: LanguageModel) -> None:
    toolkens = toolkens_of(lm, "gate", threshold=2.0)
    assert toolkens.evidence is not None
    assert toolkens.evidence.gate is not None
    gate = replace(toolkens.evidence.gate, points=((0.01, 3.5), (0.2, 1.0)))
    said = explain(looked_at(lm, replace(toolkens, evidence=replace(toolkens.evidence, gate=gate))))
    assert [(point.false_calls, point.margin) for point in said.points] == [(0.01, 1.5), (0.2, -1.0)]
    assert said.decided_by == "gate"


def test_it_says_what_describing_all_tools_would_cost(lm: LanguageModel) -> None:
    said = explain(looked_at(lm, toolkens_of(lm, "rows")))
    assert said.described_tokens is not None
    assert said.described_tokens > said.prompt_tokens + 20


def test_unknown_tools_and_places_are_named(lm: LanguageModel) -> None:
    looked = looked_at(lm, toolkens_of(lm, "rows"))
    with pytest.raises(ToolkenSetError, match="'lmap'.*did you mean lamp"):
        why_not(looked, "lmap")
    with pytest.raises(ValueError, match="not 99"):
        why_not(looked, "lamp", 99)


def test_without_toolkens_in_this_process_there_is_nothing_to_explain() -> None:
    chat = ToolkenChat.from_engine(ScriptedEngine(), scripted_toolkens(*SPECS))
    with pytest.raises(NothingToExplainError):
        look(chat.decoding_setup(), ASKED)
