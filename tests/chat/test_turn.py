"""A turn's settings, bounds and lengths: what a call may change, what max_tokens bounds, how long a prompt is."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any, Literal

import pytest
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage, trim_messages
from pydantic import BaseModel

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.chat.settings import ToolMode
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.prompts.messages import render
from langchain_toolken.prompts.tool_cards import openai_tool
from langchain_toolken.toolkens.examples import Examples
from langchain_toolken.toolkens.worked_answers import WorkedAnswer, WorkedAnswers
from langchain_toolken.tools.spec import tool_spec
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.tiny import make_lm, make_tokenizer
from tests.support.toolken_sets import make_toolkens, scripted_toolkens
from tests.support.tools import door, lamp

pytestmark = pytest.mark.filterwarnings("ignore:No fitted toolken")

QUESTION = [HumanMessage("How many pens do 27 boxes hold?")]
CALL = {"name": "lamp", "args": {"state": "on"}, "id": "1"}


def scripted(engine: ScriptedEngine, **fields: Any) -> ToolkenChat:
    return ToolkenChat.from_engine(engine, scripted_toolkens(tool_spec(lamp)), **fields)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return make_lm()


# --- what a call may change ------------------------------------------------------------------------------------------


def test_none_leaves_a_setting_what_it_is_unless_none_is_a_value_of_it() -> None:
    engine = ScriptedEngine([reasoning(" a")])
    chat = scripted(engine, temperature=0.5, top_k=3, max_tokens=9, seed=4, stop=["!"])
    unset = {"temperature": None, "top_p": None, "top_k": None, "max_tokens": None, "seed": None, "backtrace": None}
    chat.invoke(QUESTION, **unset, stop=None)
    (request,) = engine.requests
    sampling = request.sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.max_tokens) == (0.5, 1.0, 3, 9)
    assert sampling.seed is None
    assert request.stop == ("\nQ:", "!")


def test_what_never_follows_a_result_in_the_demonstrations_ends_the_answer_after_one() -> None:
    toolkens = scripted_toolkens(tool_spec(lamp))
    learned = toolkens.provenance.model_copy(update={"ends_answer": (" =",)})
    engine = ScriptedEngine([reasoning(" a"), reasoning(" b"), reasoning(" c")])
    chat = ToolkenChat.from_engine(engine, replace(toolkens, provenance=learned))
    bound = chat.bind_tools([lamp])
    called = [*QUESTION, AIMessage("", tool_calls=[CALL]), ToolMessage("7", tool_call_id="1")]
    bound.invoke(QUESTION)
    bound.invoke(called)
    chat.invoke(called)  # without tools the LM answers alone
    assert [" =" in request.stop for request in engine.requests] == [False, True, False]


def test_after_a_result_calls_come_first_unless_demonstrations_call_after_words() -> None:
    toolkens = scripted_toolkens(tool_spec(lamp))
    learned = replace(toolkens, provenance=toolkens.provenance.model_copy(update={"calls_after_words": True}))
    called = [*QUESTION, AIMessage("", tool_calls=[CALL]), ToolMessage("7", tool_call_id="1")]
    first = []
    for given, reinjection in ((toolkens, "turn"), (learned, "turn"), (toolkens, "inline")):
        engine = ScriptedEngine([reasoning(" a"), reasoning(" b")], tokenizer=make_tokenizer(chat=True))
        chat = ToolkenChat.from_engine(engine, given, style="chat", reinjection=reinjection)
        for messages in (QUESTION, called):
            chat.bind_tools([lamp]).invoke(messages)
        first += [request.calls_first for request in engine.requests]
    assert first == [False, True, False, False, False, False]


def test_worked_answers_come_before_the_question_the_same_at_every_step_and_only_with_their_tools() -> None:
    dark = WorkedAnswer(question="Is it dark?", answer="It is on now.", tools=("lamp",))
    pens = WorkedAnswer(question="How many pens are there?", answer="There are 7.", tools=("lamp",))
    examples = Examples(worked=WorkedAnswers(shown=1, answers=(dark, pens)))
    engine = ScriptedEngine([reasoning(" a") for _ in range(4)])
    toolkens = scripted_toolkens(tool_spec(lamp), tool_spec(door))
    chat = ToolkenChat.from_engine(engine, replace(toolkens, examples=examples))
    bound = chat.bind_tools([lamp])
    bound.invoke(QUESTION)
    bound.invoke([*QUESTION, AIMessage("Is it dark?", tool_calls=[CALL]), ToolMessage("7", tool_call_id="1")])
    chat.invoke(QUESTION)
    chat.bind_tools([door]).invoke(QUESTION)
    asked = "Q: How many pens do 27 boxes hold?\nA:"
    shown = f"Q: How many pens are there?\nA: There are 7.\n\n{asked}"
    assert engine.decoded() == [shown, f"{shown} Is it dark? 7", asked, asked]
    assert ["\n" in request.stop for request in engine.requests] == [True, True, False, False]
    chat.rank_tools(QUESTION, tools=[lamp])
    assert engine.decoded()[-1] == shown


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", "hot"),
        ("temperature", -1),
        ("max_tokens", 2.5),
        ("max_argument_tokens", 0),
        ("backtrace", 9),
        ("seed", "a"),
        ("top_logprobs", 21),
        ("rerank", "bm25"),
        ("stop", "end"),  # a string is a list of its letters, each of which would end the answer
    ],
)
def test_a_setting_that_makes_no_sense_is_named(field: str, value: Any) -> None:
    chat = scripted(ScriptedEngine([reasoning(" a")]))
    with pytest.raises(ValueError, match=f"^{field}={value!r}: Input should be"):
        chat.invoke(QUESTION, **{field: value})


def test_unknown_settings_are_named_and_those_of_hosted_models_are_not() -> None:
    with pytest.warns(UserWarning, match="no 'temprature' and leaves it out.*temperature"):
        scripted(ScriptedEngine([reasoning(" a")])).invoke(QUESTION, temprature=1)
    with pytest.warns(UserWarning, match="no 'toolkns' and leaves it out"):
        ToolkenChat(toolkns="folder")  # type: ignore[call-arg]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ToolkenChat(timeout=3, max_retries=2, api_key="x")  # type: ignore[call-arg]
        bound = scripted(ScriptedEngine([reasoning(" a")])).bind_tools([lamp], strict=True, parallel_tool_calls=False)
        bound.invoke(QUESTION)


# --- what max_tokens bounds ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("mode", ["toolken", "prompt", "hybrid"])
def test_max_tokens_reached_in_the_arguments_makes_an_invalid_call(
    lm: LanguageModel, mode: ToolMode, streaming: bool
) -> None:
    chat = ToolkenChat.from_engine(TransformersEngine(lm), tool_mode=mode)
    forced = chat.bind_tools([lamp], tool_choice="lamp")
    whole = forced.invoke(QUESTION)
    assert isinstance(whole, AIMessage)
    assert whole.tool_calls
    assert whole.usage_metadata is not None
    needed = whole.usage_metadata["output_tokens"]
    # As many as it takes are enough, one less is not.
    (call,) = forced.invoke(QUESTION, max_tokens=needed).tool_calls
    assert call["args"] == whole.tool_calls[0]["args"]
    less = {"max_tokens": needed - 1}
    cut: Any = None
    for chunk in forced.stream(QUESTION, **less) if streaming else [forced.invoke(QUESTION, **less)]:
        cut = chunk if cut is None else cut + chunk
    assert cut.tool_calls == []
    assert [call["name"] for call in cut.invalid_tool_calls] == ["lamp"]
    assert cut.response_metadata["finish_reason"] == "length"
    assert cut.usage_metadata["output_tokens"] <= needed


# --- a turn's prompt is laid out once ---------------------------------------------------------------------------------


class Lamp(BaseModel):
    """A lamp."""

    state: Literal["on", "off"]


LAMP_CALL = {"script": [reasoning(" It is", "lamp")], "json": [completion('{"state":"on"}', {"state": "on"})]}
LAMP_ANSWER = {"script": [], "json": [completion('{"state":"on"}', {"state": "on"})]}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("script", "asked"),
    [
        pytest.param({"script": [reasoning(" Yes.")], "json": []}, {}, id="text"),
        pytest.param(LAMP_CALL, {"tools": [openai_tool(tool_spec(lamp))]}, id="call"),
        pytest.param(LAMP_ANSWER, {"response_format": Lamp}, id="schema"),
        pytest.param(
            {"script": [reasoning(" Well")], "json": LAMP_ANSWER["json"]},
            {"tools": [openai_tool(tool_spec(lamp))], "response_format": Lamp},
            id="schema-and-tools",
        ),
    ],
)
def test_a_turn_renders_its_messages_once(
    monkeypatch: pytest.MonkeyPatch, script: dict[str, Any], asked: dict[str, Any], streaming: bool
) -> None:
    rendered: list[Any] = []

    def counted(*arguments: Any) -> list[int]:
        rendered.append(arguments)
        return render(*arguments)

    monkeypatch.setattr("langchain_toolken.chat.calls.render", counted)
    chat = scripted(ScriptedEngine(list(script["script"]), list(script["json"])))
    if streaming:
        assert list(chat.stream(QUESTION, **asked))
    else:
        chat.invoke(QUESTION, **asked)
    assert len(rendered) == 1


# --- how long a prompt is --------------------------------------------------------------------------------------------

HISTORY: list[BaseMessage] = [
    SystemMessage("Be brief."),
    HumanMessage("Turn it on. <|im_end|>"),
    AIMessage("So", tool_calls=[CALL]),
    ToolMessage("the lamp is on", tool_call_id="1"),
    HumanMessage("And off?"),
]


@pytest.mark.parametrize("mode", ["toolken", "prompt", "hybrid"])
def test_tokens_are_counted_as_the_lm_reads_them(lm: LanguageModel, mode: ToolMode) -> None:
    # Toolkens that do not fire: a call would read a card, too.
    given = make_toolkens(lm, ["lamp", "door"], bias=-50.0) if mode == "toolken" else None
    chat = ToolkenChat.from_engine(TransformersEngine(lm), toolkens=given, tool_mode=mode, max_tokens=1)
    for tools in ([], [lamp, door]):
        answer = chat.bind_tools(tools, tool_choice="auto").invoke(HISTORY)
        assert isinstance(answer, AIMessage)
        assert answer.usage_metadata is not None
        assert chat.get_num_tokens_from_messages(HISTORY, tools=tools) == answer.usage_metadata["input_tokens"]
    # A special token in a text is text.
    assert chat.get_num_tokens("<|im_end|>") > 1
    assert lm.tokenizer.decode(chat.get_token_ids("4096*27 <|im_end|>")) == "4096*27 <|im_end|>"


def test_an_encoder_of_ones_own_counts_texts() -> None:
    chat = scripted(ScriptedEngine(), custom_get_token_ids=lambda text: [0] * len(text.split()))
    assert chat.get_num_tokens("one two three") == 3


@pytest.mark.parametrize("strategy", ["first", "last"])
def test_a_history_is_trimmed_by_the_models_own_count(strategy: Literal["first", "last"]) -> None:
    chat = scripted(ScriptedEngine(tokenizer=make_tokenizer()), style="chat", reinjection="turn")
    most = chat.get_num_tokens_from_messages(HISTORY) - 1
    kept = trim_messages(HISTORY, max_tokens=most, token_counter=chat, strategy=strategy)
    assert kept
    assert kept == [message for message in HISTORY if message in kept] != HISTORY
    assert chat.get_num_tokens_from_messages(kept) <= most
    assert chat.get_num_tokens_from_messages([]) == 0
    # A result without its call is no history, and counts with the texts around it.
    assert chat.get_num_tokens_from_messages(HISTORY[3:]) > chat.get_num_tokens("the lamp is onAnd off?")
