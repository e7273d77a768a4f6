"""Second looks at calls: when they happen, what is scored, what is reported, and that a rejected call goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage

from langchain_toolken.agents.agent import create_toolken_agent
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.engine import Candidate, Judgement, PromptTooLongError, Reasoning
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.format import PromptFormat
from langchain_toolken.prompts.messages import render
from langchain_toolken.toolkens.provenance import Calibration
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import tool_spec
from tests.support.firing import toolken_firing_after
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import door, lamp

QUESTION = [HumanMessage("How many pens do 27 boxes hold?")]


LAMP, DOOR = tool_spec(lamp), tool_spec(door)
ON = completion('{"state":"on"}', {"state": "on"})
OPEN = completion('{"way":"open"}', {"way": "open"})


def fired(first: float, second: float, text: str = " Well", **fields: Any) -> Reasoning:
    return replace(
        reasoning(text, "lamp"), trigger=Candidate("lamp", first), runners_up=(Candidate("door", second),), **fields
    )


def scripted(engine: ScriptedEngine, **fields: Any) -> Any:
    return ToolkenChat.from_engine(engine, scripted_toolkens(LAMP, DOOR), **fields).bind_tools([lamp, door])


def whole(chunks: Any) -> AIMessage:
    message: Any = None
    for chunk in chunks:
        assert isinstance(chunk, AIMessageChunk)
        message = chunk if message is None else message + chunk
    assert isinstance(message, AIMessage)
    return message


@pytest.mark.parametrize(("first", "second", "margin"), [(0.75, 0.2, 0.5), (0.31, 0.3, 0.005)])
def test_a_sure_call_gets_no_second_look(first: float, second: float, margin: float) -> None:
    engine = ScriptedEngine([fired(first, second)], [ON])
    message = scripted(engine, rerank="docs", rerank_margin=margin).invoke(QUESTION)
    assert engine.scored == []
    assert message.tool_calls[0]["name"] == "lamp"
    assert "rerank" not in message.response_metadata


def test_it_is_off_unless_asked_for() -> None:
    engine = ScriptedEngine([fired(0.31, 0.3)], [ON])
    assert scripted(engine).invoke(QUESTION).tool_calls[0]["name"] == "lamp"
    assert engine.scored == []


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("method", ["docs", "frozen"])
def test_an_unsure_call_goes_to_the_tool_that_the_frozen_lm_finds_likelier(method: str, streaming: bool) -> None:
    scores = [-2.0, -1.0, -3.0] if method == "docs" else [-2.0, -1.0]
    engine = ScriptedEngine([fired(0.4, 0.3)], [OPEN], scores=[scores])
    chat = scripted(engine, rerank=method)
    message = whole(chat.stream(QUESTION)) if streaming else chat.invoke(QUESTION)
    assert message.content == "Well"
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [("door", {"way": "open"})]
    toolken = message.response_metadata["toolken"]
    assert (toolken["name"], toolken["probability"]) == ("door", 0.3)
    assert toolken["runners_up"] == [{"name": "lamp", "probability": 0.4}]
    ((prompt, answers),) = engine.scored
    decode = engine.tokenizer.decode
    asked = decode(prompt[len(engine.prompts[0]) + 2 :])
    if method == "docs":
        assert asked == (
            "\nTools:\n- lamp(state: 'on' | 'off'): Turn the lamp on or off.\n"
            "- door(way: 'open' | 'shut'): Open or shut the door.\n- no tool: go on with words.\nBest:"
        )
        assert [decode(answer) for answer in answers] == [" lamp\n", " door\n", " no tool\n"]
    else:
        assert asked == "\nTool:"
        assert [decode(answer) for answer in answers] == [" lamp(", " door("]
    # What was read for it is reported, and part of the input.
    extra = len(prompt) - len(engine.prompts[0]) - 2 + sum(map(len, answers))
    (report,) = message.response_metadata["rerank"]
    assert report["extra_tokens"] == extra
    assert (report["method"], report["chosen"]) == (method, "door")
    names = ["door", "lamp", None] if method == "docs" else ["door", "lamp"]
    assert [candidate["name"] for candidate in report["candidates"]] == names
    card = len(engine.prompts[1]) - len(engine.prompts[0]) - 2
    assert message.usage_metadata is not None
    assert message.usage_metadata["input_tokens"] == 10 + card + extra


@pytest.mark.parametrize("streaming", [False, True])
def test_a_rejected_call_is_none_and_the_words_go_on_from_there(streaming: bool) -> None:
    before = fired(0.4, 0.3, text=" It is")
    after = replace(reasoning(" It is on.", tokens=(7, 8, 9)), reused_tokens=0)
    engine = ScriptedEngine([before, after], scores=[[-2.0, -3.0, -1.0]])
    chat = scripted(engine, rerank="docs")
    message = whole(chat.stream(QUESTION)) if streaming else chat.invoke(QUESTION)
    assert (message.content, message.tool_calls) == ("It is on.", [])
    assert message.response_metadata["toolken"] is None
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.response_metadata["rerank"][0]["chosen"] is None
    assert engine.prompts[1] == [*engine.prompts[0], 7, 8]
    assert [request.begun for request in engine.requests] == [None, 2]


def test_a_forced_call_can_not_be_rejected() -> None:
    engine = ScriptedEngine([fired(0.4, 0.3, text="")], [OPEN], scores=[[-2.0, -1.0]])
    chat = ToolkenChat.from_engine(engine, scripted_toolkens(LAMP, DOOR), rerank="docs")
    message = chat.bind_tools([lamp, door], tool_choice="any").invoke(QUESTION)
    assert message.tool_calls[0]["name"] == "door"
    assert len(engine.scored[0][1]) == 2


def test_the_first_choice_stands_where_the_candidates_do_not_fit_into_the_context() -> None:
    class Full(ScriptedEngine):
        def score(self, *_: Any) -> list[float]:
            raise PromptTooLongError("full")

    message = scripted(Full([fired(0.4, 0.3)], [ON]), rerank="docs").invoke(QUESTION)
    assert message.tool_calls[0]["name"] == "lamp"


def test_settings_can_change_per_call_and_are_checked() -> None:
    engine = ScriptedEngine([fired(0.4, 0.3)], [OPEN], scores=[[-2.0, -1.0]])
    chat = scripted(engine)
    assert chat.invoke(QUESTION, rerank="frozen").tool_calls[0]["name"] == "door"
    with pytest.raises(ValueError, match="rerank='bm25'"):
        chat.invoke(QUESTION, rerank="bm25")
    with pytest.raises(ValueError, match="rerank_k"):
        chat.invoke(QUESTION, rerank="docs", rerank_k=1)


def test_the_agent_carries_a_judgement_over_from_reason_to_complete() -> None:
    engine = ScriptedEngine([fired(0.4, 0.3), reasoning(" Done.")], [OPEN], scores=[[-2.0, -1.0]])
    chat = ToolkenChat.from_engine(engine, scripted_toolkens(LAMP, DOOR), rerank="frozen")
    end = create_toolken_agent(chat, [lamp, door]).invoke({"messages": QUESTION})
    assert end["steps"][0]["tool"] == "door"
    assert end["messages"][1].response_metadata["rerank"][0]["chosen"] == "door"


# --- on a real LM ----------------------------------------------------------------------------------------------------


def firing_after(lm: LanguageModel, words: int) -> ToolkenSet:
    """Toolkens of lamp and door whose logits lie 0.1 apart and above all words' after the LM's first `words`."""
    plain = ToolkenChat.from_engine(TransformersEngine(lm), max_tokens=words or 1, style="completion")
    begun = plain.reason(QUESTION).token_ids if words else ()
    prompt = render(lm.tokenizer, QUESTION, PromptFormat("completion"))
    steps = [[*prompt, *begun[:count]] for count in range(words + 1)]
    one = toolken_firing_after(lm, LAMP, steps[-1:], steps[:-1], "completion")
    return ToolkenSet(
        specs=(LAMP, DOOR),
        matrix=torch.cat([one.matrix, one.matrix * 0.999]),
        prior=torch.cat([one.matrix, one.matrix]),
        bias=0.0,
        provenance=one.provenance,
    )


@pytest.mark.parametrize("words", [0, 3])
@pytest.mark.parametrize("streaming", [False, True])
def test_behind_a_rejected_call_the_lm_writes_the_word_it_would_have_written_without_toolkens(
    lm: LanguageModel, words: int, streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolkens = firing_after(lm, words)
    engine = TransformersEngine(lm)
    chat = ToolkenChat.from_engine(engine, toolkens, max_tokens=words + 1, rerank="docs", rerank_margin=1.0)
    bound = chat.bind_tools([lamp, door])
    unjudged = ToolkenChat.from_engine(engine, toolkens, max_tokens=words + 32).bind_tools([lamp])
    assert unjudged.invoke(QUESTION).tool_calls
    monkeypatch.setattr(engine, "score", lambda prompt, answers: [-2.0] * (len(answers) - 1) + [-1.0])
    message = whole(bound.stream(QUESTION)) if streaming else bound.invoke(QUESTION)
    plain = ToolkenChat.from_engine(TransformersEngine(lm), max_tokens=words + 1, style="completion")
    assert message.tool_calls == []
    assert message.content == plain.invoke(QUESTION).content
    assert message.usage_metadata is not None
    assert message.usage_metadata["output_tokens"] == words + 1
    assert len(message.response_metadata["rerank"]) == 1


def test_a_stop_string_is_found_across_a_rejected_call_and_never_streamed(
    lm: LanguageModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolkens = firing_after(lm, 12)
    plain = ToolkenChat.from_engine(TransformersEngine(lm), max_tokens=15, style="completion")
    before, after = (plain.reason(QUESTION, max_tokens=count).text for count in (12, 13))
    # It begins with the last character before the rejected call, and ends with the first word behind it.
    stop = before[-1] + after.removeprefix(before)
    assert stop == "! in"
    expected = after[: after.index(stop)].removeprefix(" ")
    engine = TransformersEngine(lm)
    monkeypatch.setattr(engine, "score", lambda prompt, answers: [-2.0] * (len(answers) - 1) + [-1.0])
    chat = ToolkenChat.from_engine(engine, toolkens, max_tokens=15, rerank="docs", rerank_margin=1.0, stop=[stop])
    bound = chat.bind_tools([lamp, door])
    message = bound.invoke(QUESTION)
    assert message.content == expected
    assert message.response_metadata["rerank"]
    assert "".join(str(chunk.content) for chunk in bound.stream(QUESTION)) == expected


def test_log_probabilities_go_through_a_rejected_call(lm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = TransformersEngine(lm)
    monkeypatch.setattr(engine, "score", lambda prompt, answers: [-2.0] * (len(answers) - 1) + [-1.0])
    chat = ToolkenChat.from_engine(engine, firing_after(lm, 3), max_tokens=5, rerank="docs", rerank_margin=1.0)
    message = chat.bind_tools([lamp, door]).invoke(QUESTION, logprobs=True)
    words = message.response_metadata["logprobs"]["content"]
    assert len(words) == message.usage_metadata["output_tokens"] == 5


def test_the_judgement_is_the_frozen_lms_own(lm: LanguageModel) -> None:
    engine = TransformersEngine(lm)
    chat = ToolkenChat.from_engine(engine, firing_after(lm, 3), max_tokens=32, rerank="frozen", rerank_margin=1.0)
    message = chat.bind_tools([lamp, door]).invoke(QUESTION)
    (report,) = message.response_metadata["rerank"]
    candidates = {candidate["name"]: candidate["score"] for candidate in report["candidates"]}
    prompt = render(lm.tokenizer, QUESTION, PromptFormat("completion"))
    begun = ToolkenChat.from_engine(engine, max_tokens=3, style="completion").reason(QUESTION).token_ids
    for name, score in candidates.items():
        asked = lm.tokenizer("\nTool:", add_special_tokens=False)["input_ids"]
        ids = [*prompt, *begun, *asked]
        answer = lm.tokenizer(f" {name}(", add_special_tokens=False)["input_ids"]
        with torch.no_grad():
            logits = lm.model(torch.tensor([[*ids, *answer]])).logits[0, len(ids) - 1 : -1].log_softmax(dim=-1)
        assert score == pytest.approx(float(logits[range(len(answer)), answer].mean()), abs=1e-4)
    assert message.tool_calls[0]["name"] == max(candidates, key=candidates.__getitem__) == report["chosen"]


def test_probabilities_are_the_calibrated_ones_and_say_so(lm: LanguageModel) -> None:
    toolkens = firing_after(lm, 3)
    calibration = Calibration(
        temperature=500.0,
        fitted_bias=0.0,
        ece_before=0.2,
        ece_after=0.1,
        f1=1.0,
        recall=1.0,
        false_call_rate=0.0,
        max_false_call_rate=None,
    )
    calibrated = replace(toolkens, calibration=calibration)
    engine = TransformersEngine(lm)
    bound = ToolkenChat.from_engine(engine, calibrated, max_tokens=8).bind_tools([lamp, door])
    report = bound.invoke(QUESTION).response_metadata["toolken"]
    # By hand: log-sum-exp of the words as one class, all divided by the temperature.
    prompt = render(lm.tokenizer, QUESTION, PromptFormat("completion"))
    begun = ToolkenChat.from_engine(engine, max_tokens=3, style="completion").reason(QUESTION).token_ids
    hidden = lm.hidden_states(torch.tensor([[*prompt, *begun]]))[0, -1]
    classes = torch.cat([lm.head.word_logits(hidden).logsumexp(0, keepdim=True), toolkens.matrix @ hidden]) / 500.0
    expected = classes.softmax(0)[1:].tolist()
    assert report["calibrated"] is True
    assert [report["probability"], report["runners_up"][0]["probability"]] == pytest.approx(expected, abs=1e-5)
    bare = ToolkenChat.from_engine(engine, toolkens, max_tokens=8).bind_tools([lamp, door]).invoke(QUESTION)
    assert bare.response_metadata["toolken"]["calibrated"] is False
    forced = ToolkenChat.from_engine(engine, calibrated).bind_tools([lamp, door], tool_choice="any").invoke(QUESTION)
    assert forced.response_metadata["toolken"]["calibrated"] is False


def test_a_judgement_knows_reject_by_none() -> None:
    judgement = Judgement("docs", ((None, -1.0), ("lamp", -2.0)), None, 9)
    assert judgement.scores[0][0] is None
