"""Made-up messages of two requests decide whether one answer may make several calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage

from langchain_toolken.decoding.engine import Candidate
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.evidence import Evidence, Gate
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import tool_spec
from langchain_toolken.training.demonstrations.demonstration import DemonstratedCall, Demonstration
from langchain_toolken.training.parallel_calls import (
    Message,
    ParallelTrial,
    made_pairs,
    parallel_trial,
    single_requests,
    with_parallel_calls,
)
from tests.support.scripted_engine import ScriptedEngine
from tests.support.tiny import make_tokenizer
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import door, lamp


def asked(text: str, *tools: str, before: Sequence[Any] = (), said: str = "") -> Demonstration:
    calls = tuple(DemonstratedCall(start=len(said), tool=tool, arguments={}) for tool in tools)
    return Demonstration(text=said, calls=calls, before=(*before, HumanMessage(text)))


SINGLES = [asked(f"Turn the lamp {how}.", "lamp") for how in ("on", "off", "red", "blue")]
SINGLES += [asked(f"Please {how} the door", "door") for how in ("shut", "open", "lock", "paint")]


@dataclass
class Ranking(ScriptedEngine):
    """Calls the tools that a request names, surely the one that it names first; and `also` where a word is in it."""

    tokenizer: Any = field(default_factory=make_tokenizer)
    also: str = ""

    def rank(self, prompts: Sequence[Sequence[int]], **settings: Any) -> list[tuple[Candidate, ...]]:
        found = []
        for prompt in prompts:
            request = self.tokenizer.decode(prompt).rpartition("user")[2]
            if self.also and self.also in request and "lamp" not in request:
                request += " door"
            places = sorted((request.find(name) if name in request else 999, name) for name in ("lamp", "door"))
            share = 0.95 if places[0][0] < 999 else 0.01
            found.append(tuple(Candidate(name, share * (0.98, 0.02)[n]) for n, (_, name) in enumerate(places)))
        return found


def gated(gate: bool = True) -> ToolkenSet:
    toolkens = scripted_toolkens(tool_spec(lamp), tool_spec(door), style="chat")
    evidence = Evidence(gate=Gate(torch.zeros(4), torch.zeros(4), 0.0)) if gate else None
    return replace(toolkens, evidence=evidence)


def test_pairs_are_of_different_tools_and_joined_in_three_ways() -> None:
    pairs = made_pairs([Message("I need light", ("lamp",)), Message("Shut it!", ("door",))] * 3)
    assert all(set(one.tools) == {"lamp", "door"} for one in pairs)
    assert {one.text for one in pairs} <= {
        *("I need light and shut it!", "I need light. Also, shut it!", "I need light. Shut it!"),
        *("Shut it and I need light", "Shut it! Also, I need light", "Shut it! I need light"),
    }
    assert len({one.text for one in pairs}) > 2
    assert made_pairs([Message("Shut it!", ("door",))] * 9) == []


def test_single_requests_are_messages_that_are_answered_at_once() -> None:
    later = asked("And off.", "lamp", before=(HumanMessage("Lamp on."), AIMessage("Done.")))
    found = single_requests([*SINGLES, SINGLES[0], later, asked("Hi", "lamp", said="Well, "), asked("Bye"), asked(" ")])
    assert found[-1] == Message("Bye", ())
    assert found[:-1] == [Message(str(one.before[0].text), (one.calls[0].tool,)) for one in SINGLES]


@pytest.mark.parametrize(
    ("trial", "pays"),
    [
        (ParallelTrial(right=12, pairs=24, hurt=0, singles=10), True),
        (ParallelTrial(right=11, pairs=24, hurt=0, singles=10), False),
        (ParallelTrial(right=24, pairs=24, hurt=1, singles=49), False),
        (ParallelTrial(right=24, pairs=24, hurt=1, singles=50), True),
        (ParallelTrial(right=5, pairs=5, hurt=0, singles=50), False),
    ],
)
def test_half_of_the_pairs_have_to_be_right_and_hardly_a_single_request_hurt(trial: ParallelTrial, pays: bool) -> None:
    assert trial.pays is pays


def test_requests_that_only_look_like_several_speak_against_it() -> None:
    found = parallel_trial(Ranking(), gated(), SINGLES)
    assert found is not None
    assert (found.right, found.pairs, found.hurt) == (8, 8, 0)
    tricky = [asked(f"Turn the lamp {how}, it is gloomy and I am ill", "lamp") for how in ("on", "up", "high", "right")]
    hurt = parallel_trial(Ranking(also=" ill"), gated(), [*SINGLES, *tricky])
    assert hurt is not None
    assert hurt.hurt >= 4
    assert not hurt.pays


def test_nothing_is_tried_without_a_gate_or_with_results_in_the_sentence() -> None:
    assert parallel_trial(Ranking(), gated(gate=False), SINGLES) is None
    assert parallel_trial(Ranking(), gated(), SINGLES[:4]) is None  # one tool
    inline = gated().provenance.model_copy(update={"reinjection": "inline"})
    assert parallel_trial(Ranking(), replace(gated(), provenance=inline), SINGLES) is None


def test_demonstrated_parallel_calls_decide_without_a_trial(tiny_llama: LanguageModel) -> None:
    shown = [SINGLES[0].model_copy(update={"parallel": True})]
    assert with_parallel_calls(tiny_llama, gated(gate=False), shown).provenance.parallel_calls
    assert not with_parallel_calls(tiny_llama, gated(gate=False), SINGLES).provenance.parallel_calls
