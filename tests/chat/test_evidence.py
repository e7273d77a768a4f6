"""Toolkens with evidence, from the chat model to the engine: what the user asked reaches every decision."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.engine import Candidate
from langchain_toolken.decoding.local.call_evidence import CallEvidence
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import PromptFormat, Style
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.requests import request_of
from langchain_toolken.prompts.turns import turns_of
from langchain_toolken.toolkens.described import task_of
from langchain_toolken.toolkens.evidence import Evidence
from langchain_toolken.toolkens.lexical import LexicalMatch, description_document
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import tool_spec
from tests.support.evidence import make_evidence
from tests.support.evidence_oracle import expected
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.tiny import make_lm, make_tokenizer
from tests.support.toolken_sets import provenance_of, scripted_toolkens
from tests.support.tools import divide, door, lamp, multiply

ASKED = "Turn the lamp on, please."
HISTORY: list[BaseMessage] = [
    SystemMessage("Be brief."),
    HumanMessage("Open the door."),
    AIMessage("It is open."),
    HumanMessage(ASKED),
]
SPECS = tuple(map(tool_spec, (multiply, divide, lamp, door)))


@pytest.fixture(scope="module")
def chatting() -> LanguageModel:
    return make_lm()


def informed(lm: LanguageModel, style: Style, *, threshold: float = 0.0, gate: bool = True) -> ToolkenSet:
    rows = torch.randn(len(SPECS), lm.hidden_size, generator=torch.Generator().manual_seed(1)) * 0.3
    toolkens = ToolkenSet(SPECS, rows, rows, 0.0, provenance_of(lm, style))
    return replace(toolkens, evidence=make_evidence(toolkens, threshold=threshold, gate=gate))


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_a_turn_decides_by_its_last_request_invoked_streamed_and_ranked(chatting: LanguageModel, style: Style) -> None:
    toolkens = informed(chatting, style, threshold=-1000.0)
    chat = ToolkenChat.from_engine(TransformersEngine(chatting), toolkens, max_tokens=8, max_argument_tokens=4)
    bound = chat.bind_tools([lamp, door, multiply])
    layout = PromptFormat(style)
    request = request_of(chatting.tokenizer, turns_of(HISTORY, "inline"), layout)
    assert request.text == ASKED
    ids = render(chatting.tokenizer, HISTORY, layout)
    said = expected(chatting, ids, toolkens, request, {"lamp", "door", "multiply"})
    order = [SPECS[k].name for k in np.argsort(-said.shares)][:3]
    ranked = chat.rank_tools(HISTORY, tools=[lamp, door, multiply])
    assert [each.tool for each in ranked] == order
    wanted = [pytest.approx(said.call * share, rel=2e-3) for share in sorted(said.shares)[:0:-1]]
    assert [each.probability for each in ranked] == wanted
    answer = bound.invoke(HISTORY)
    streamed = sum(bound.stream(HISTORY), AIMessageChunk(""))
    for message in (answer, streamed):
        report = message.response_metadata["toolken"]
        assert [report["name"], *(each["name"] for each in report["runners_up"])] == order
        assert [report["probability"], *(each["probability"] for each in report["runners_up"])] == wanted


@pytest.fixture
def means(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The mean states that evidence was given from here on."""
    found: list[torch.Tensor] = []
    read = CallEvidence.read

    def noted(evidence: CallEvidence, row: int, mean: torch.Tensor) -> None:
        found.append(mean.clone())
        read(evidence, row, mean)

    monkeypatch.setattr(CallEvidence, "read", noted)
    return found


@pytest.mark.parametrize("style", ["chat", "completion"])
def test_an_agents_steps_keep_the_request_and_the_prefix(
    chatting: LanguageModel, means: list[torch.Tensor], style: Style
) -> None:
    engine = TransformersEngine(chatting)
    chat = ToolkenChat.from_engine(engine, informed(chatting, style, threshold=-1000.0), max_tokens=24)
    bound, history = chat.bind_tools([lamp, door]), [*HISTORY]
    prompts = [len(render(chatting.tokenizer, history, chat.prompt_format))]
    for _ in range(2):
        message = bound.invoke(history)
        assert isinstance(message, AIMessage)
        (call,) = message.tool_calls
        history += [message, ToolMessage("done", tool_call_id=str(call["id"]))]
        prompts.append(len(render(chatting.tokenizer, history, chat.prompt_format)))
    last = bound.invoke(history)
    assert isinstance(last, AIMessage)
    assert len(means) >= 3  # more where a call is refused that was made already
    assert all(torch.equal(mean, means[0]) for mean in means)
    # Each prompt is reused but for its last token, which has to run, and what joins with the result.
    assert last.usage_metadata is not None
    assert prompts[1] - 2 <= last.usage_metadata["input_token_details"]["cache_read"] < prompts[2]


def test_a_bound_tool_without_a_toolken_is_compared_by_its_description(chatting: LanguageModel) -> None:
    toolkens = informed(chatting, "chat").select(["multiply", "divide"])
    documents = tuple(map(description_document, toolkens.specs))
    evidence = Evidence(scale=0.0, lexical=(LexicalMatch("description", 5.0, documents),))
    chat = ToolkenChat.from_engine(TransformersEngine(chatting), replace(toolkens, evidence=evidence))
    with pytest.warns(UserWarning, match="No fitted toolken for 'lamp', 'door'"):
        ranked = chat.rank_tools(ASKED, k=4, tools=[multiply, divide, lamp, door])
    assert ranked[0].tool == "lamp"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert chat.rank_tools("Shut the door!", tools=[multiply, lamp, door])[0].tool == "door"


def test_tools_that_nobody_trained_are_told_apart_by_their_descriptions(chatting: LanguageModel) -> None:
    chat = ToolkenChat.from_engine(TransformersEngine(chatting), style="chat")
    # A random LM knows no paraphrases.
    asked = {tool.name: f"Please {task_of(tool_spec(tool))}" for tool in (divide, lamp)}
    with pytest.warns(UserWarning, match="made from the tools' names and descriptions"):
        assert chat.rank_tools(asked["lamp"], tools=[multiply, door, lamp])[0].tool == "lamp"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert chat.rank_tools(asked["divide"], tools=[multiply, divide, lamp])[0].tool == "divide"
        bound = chat.bind_tools([multiply, door, lamp], tool_choice="any", max_argument_tokens=16)
        forced = bound.invoke(asked["lamp"])
    assert forced.response_metadata["toolken"]["name"] == "lamp"


def test_reranking_and_backtracing_keep_the_request(chatting: LanguageModel, means: list[torch.Tensor]) -> None:
    toolkens = informed(chatting, "completion", threshold=-1000.0)
    chat = ToolkenChat.from_engine(
        TransformersEngine(chatting), toolkens, max_tokens=8, rerank="docs", rerank_margin=1.0, backtrace=2
    )
    message = chat.bind_tools([lamp, door, multiply]).invoke(HISTORY)
    assert message.response_metadata["rerank"]
    assert all(torch.equal(mean, means[0]) for mean in means)


def of_engine(*specs: Any, evidence: bool = True, tool_mode: str = "toolken") -> tuple[ScriptedEngine, ToolkenChat]:
    engine = ScriptedEngine([reasoning("Well.")], tokenizer=make_tokenizer())
    toolkens = scripted_toolkens(*map(tool_spec, specs), style="chat")
    if evidence:
        toolkens = replace(toolkens, evidence=make_evidence(toolkens))
    return engine, ToolkenChat.from_engine(engine, toolkens, tool_mode=tool_mode, style="chat")


@pytest.mark.parametrize("tool_mode", ["toolken", "hybrid"])
def test_the_engine_gets_the_requests_text_and_place(tool_mode: str) -> None:
    engine, chat = of_engine(lamp, tool_mode=tool_mode)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tools = [lamp, door] if tool_mode == "hybrid" else [lamp]
        chat.bind_tools(tools).invoke(HISTORY)
    (request,) = engine.requests[0].requests
    assert request.text == ASKED
    start, stop = request.span
    assert engine.tokenizer.decode(engine.prompts[0][start:stop]) == ASKED
    chat.rank_tools(HISTORY)
    assert engine.ranked[0]["requests"][0].text == ASKED


def test_without_evidence_or_without_toolkens_no_request_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[Sequence[Any]] = []
    monkeypatch.setattr("langchain_toolken.chat.turn.request_of", lambda *given: looked.append(given))
    for evidence, tool_mode in ((False, "toolken"), (True, "prompt")):
        engine, chat = of_engine(lamp, evidence=evidence, tool_mode=tool_mode)
        chat.bind_tools([lamp]).invoke(HISTORY)
        assert engine.requests[0].requests == ()
    assert looked == []


@pytest.mark.parametrize(("second", "ambiguous"), [(0.4, True), (0.3, True), (0.29, False)])
def test_a_call_whose_runner_up_is_close_is_told_to_be_ambiguous(second: float, ambiguous: bool) -> None:
    engine, chat = of_engine(lamp, door)
    engine.reasonings = [
        replace(reasoning("", "lamp"), trigger=Candidate("lamp", 0.6), runners_up=(Candidate("door", second),))
    ]
    engine.completions = [completion('{"state":"on"}', {"state": "on"})]
    message = chat.bind_tools([lamp, door]).invoke(HISTORY)
    assert message.response_metadata["toolken"]["ambiguous"] is ambiguous
