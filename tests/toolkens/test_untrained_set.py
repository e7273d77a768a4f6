"""Sets for tools that came without a fit: what is read, which tool the words say, and when none is called."""

from __future__ import annotations

import pytest
import torch

from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import Style
from langchain_toolken.toolkens.plain_requests import package_requests
from langchain_toolken.toolkens.untrained_set import RequestStates, untrained_set
from langchain_toolken.tools.spec import ToolSpec
from langchain_toolken.training.evidence.described import described_states
from tests.support.passes import Passes

WORDS = ("weather", "table", "song", "mail", "flight", "recipe", "taxi", "loan", "film", "map")
SPECS = [
    ToolSpec(name=word, description=f"Finds a {word}.", json_schema={"type": "object", "properties": {}})
    for word in WORDS
]


def test_in_chat_a_gate_says_when_and_descriptions_say_which(tiny_llama: LanguageModel) -> None:
    read = RequestStates(tiny_llama, "chat")
    made = untrained_set(read, SPECS)
    evidence = made.evidence
    assert evidence is not None
    assert evidence.gate is not None
    assert evidence.scale > 0
    assert evidence.request_rows is not None
    assert made.provenance.prior == "head/both/weighted, levelled"
    asked = [f"Can you find a {word}?" for word in WORDS]
    states, requests = read.of(asked)
    found = evidence.scores(states @ made.matrix.T, requests, asked).argmax(dim=1)
    assert int((found == torch.arange(len(WORDS))).sum()) >= 5, "a random LM's states say little"
    states, requests = read.of(package_requests()[1::4][:40])
    called = evidence.gate.log_odds(states, requests) > evidence.gate.threshold
    assert float(called.float().mean()) < 0.5


def test_the_states_are_those_that_a_fit_reads(tiny_llama: LanguageModel) -> None:
    fitted = described_states(tiny_llama, SPECS, "chat").means(len(SPECS))
    wordings = ("Can you find a {}?", "find a {}", "please find a {}", "find a {} for me", "I want to find a {}")
    read = RequestStates(tiny_llama, "chat")
    texts = [wording.format(word) for word in WORDS for wording in wordings]
    states, requests = (rows.reshape(len(WORDS), 5, -1).mean(dim=1) for rows in read.of(texts))
    torch.testing.assert_close(states, fitted.states, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(requests, fitted.requests, rtol=1e-3, atol=1e-3)


def test_each_request_is_read_once(tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    passes, read, rows = Passes(monkeypatch), RequestStates(tiny_llama, "chat"), []
    for tools in (SPECS, SPECS[::-1], SPECS[1:]):
        before = sum(count for count, _ in passes.shapes)
        untrained_set(read, tools)
        rows.append(sum(count for count, _ in passes.shapes) - before)
    assert rows[0] >= 5 * len(SPECS) + len(package_requests()) // 4
    assert rows[1:] == [0, 0]


def test_of_very_many_tools_only_some_are_read(tiny_llama: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = untrained_set(RequestStates(tiny_llama, "chat"), SPECS)
    monkeypatch.setattr("langchain_toolken.toolkens.untrained_set._MOST_READ", 5)
    passes = Passes(monkeypatch)
    made = untrained_set(RequestStates(tiny_llama, "chat"), SPECS)
    assert sum(count for count, _ in passes.shapes) < 5 * len(SPECS) + len(package_requests()) // 4
    assert made.names == everything.names
    assert made.evidence is not None
    assert made.evidence.request_rows is not None
    assert bool(torch.isfinite(made.matrix).all())
    apart = made.evidence.request_rows
    assert (apart[1::2].norm(dim=1) > 0.3 * apart[::2].norm(dim=1).mean()).all(), "the others have rows of their own"


@pytest.mark.parametrize("style", ["chat", "completion"])
@pytest.mark.parametrize("tools", [1, 2])
def test_one_tool_or_two_are_enough(tiny_llama: LanguageModel, style: Style, tools: int) -> None:
    made = untrained_set(RequestStates(tiny_llama, style), SPECS[:tools])
    assert made.evidence is not None
    assert (made.evidence.gate is not None) == (style == "chat")
    assert bool(torch.isfinite(made.matrix).all())
