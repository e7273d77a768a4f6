"""What LangChain lets one do with any chat model: kinds of tools, caches, rate limiters, events, tracing, errors."""

from __future__ import annotations

import warnings
from typing import Any, Literal

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import RunnableLambda
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.chat.settings import ToolMode
from langchain_toolken.prompts.format import Reinjection
from langchain_toolken.tools.spec import tool_spec
from tests.support.scripted_engine import ScriptedEngine, completion, reasoning
from tests.support.tiny import make_tokenizer
from tests.support.toolken_sets import scripted_toolkens
from tests.support.tools import door, lamp

QUESTION = [HumanMessage("Turn it on.")]


def scripted(engine: ScriptedEngine, **fields: Any) -> ToolkenChat:
    return ToolkenChat.from_engine(engine, scripted_toolkens(tool_spec(lamp), tool_spec(door)), **fields)


# --- kinds of tools --------------------------------------------------------------------------------------------------

PARAMETERS = {"type": "object", "properties": {"state": {"type": "string"}}, "required": ["state"]}
FUNCTION = {"name": "lamp", "description": "Turn it.", "parameters": PARAMETERS}


class Lamp(BaseModel):
    """Turn it."""

    state: str = Field(description="on or off")


class LampDict(TypedDict):
    """Turn it."""

    state: str


def turn(state: str) -> str:
    """Turn it."""
    return state


class Arguments(TypedDict):
    state: str


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # as_tool is in beta
    RUNNABLE = RunnableLambda(lambda given: given["state"]).as_tool(Arguments, name="lamp", description="Turn it.")

KINDS: dict[str, Any] = {
    "langchain": lamp,
    "function": turn,
    "pydantic": Lamp,
    "TypedDict": LampDict,
    "OpenAI": {"type": "function", "function": FUNCTION},
    "OpenAI, strict": {"type": "function", "function": {**FUNCTION, "strict": True}},
    "OpenAI's function": FUNCTION,
    "Anthropic": {"name": "lamp", "description": "Turn it.", "input_schema": PARAMETERS},
    "JSON schema": {"title": "lamp", "description": "Turn it.", **PARAMETERS},
    "Runnable": RUNNABLE,
}


@pytest.mark.parametrize("strict", [None, True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_tools_of_every_kind_are_bound_and_called(kind: str, strict: bool | None) -> None:
    engine = ScriptedEngine([], [completion('{"state":"on"}', {"state": "on"})])
    chat = scripted(engine).bind_tools([KINDS[kind]], tool_choice="any", strict=strict)
    (call,) = chat.invoke(QUESTION).tool_calls
    assert call["name"].lower().startswith(("lamp", "turn"))
    assert call["args"] == {"state": "on"}


# --- caches and rate limiters ----------------------------------------------------------------------------------------


def test_a_cached_answer_is_not_decoded_again() -> None:
    engine = ScriptedEngine([reasoning(" a"), reasoning(" b")])
    chat = scripted(engine, cache=InMemoryCache())
    assert [chat.invoke(QUESTION).content for _ in range(3)] == ["a", "a", "a"]
    assert len(engine.requests) == 1
    assert chat.invoke([HumanMessage("And off?")]).content == "b"


def test_whatever_changes_the_answer_is_another_entry_of_the_cache() -> None:
    cache = InMemoryCache()
    two, one = scripted_toolkens(tool_spec(lamp), tool_spec(door)), scripted_toolkens(tool_spec(lamp))
    engine = ScriptedEngine([reasoning(f" {i}") for i in range(20)])

    def chat(toolkens: Any = two, **fields: Any) -> ToolkenChat:
        return ToolkenChat.from_engine(engine, toolkens, cache=cache, **fields)

    asked = [
        chat(),
        chat(one),
        chat(None),
        chat(rerank="docs"),
        chat(rerank_margin=0.1),
        chat(backtrace=1),
        chat(temperature=0.5),
        chat(stop=["!"]),
        chat().bind_tools([lamp]),
        chat().bind_tools([door]),
        chat().bind_tools([lamp, door]),
        chat().bind_tools([lamp], rerank="docs"),
        chat().bind(max_tokens=3),
    ]
    first = [llm.invoke(QUESTION).content for llm in asked]
    assert len(set(first)) == len(asked)
    assert [llm.invoke(QUESTION).content for llm in asked] == first


class Counting(BaseRateLimiter):
    def __init__(self) -> None:
        self.acquired: list[str] = []

    def acquire(self, *, blocking: bool = True) -> bool:
        self.acquired.append("sync")
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        self.acquired.append("async")
        return True


async def test_a_rate_limiter_is_asked_before_each_call() -> None:
    limiter = Counting()
    chat = scripted(ScriptedEngine([reasoning(" a") for _ in range(4)]), rate_limiter=limiter)
    chat.invoke(QUESTION)
    list(chat.stream(QUESTION))
    await chat.ainvoke(QUESTION)
    async for _ in chat.astream(QUESTION):
        pass
    assert limiter.acquired == ["sync", "sync", "async", "async"]


# --- events and tracing ----------------------------------------------------------------------------------------------


async def test_events_come_in_order_with_words_and_the_call() -> None:
    engine = ScriptedEngine([reasoning(" Well", "lamp")], [completion('{"state":"on"}', {"state": "on"})])
    events = [event async for event in scripted(engine).bind_tools([lamp]).astream_events(QUESTION)]
    kinds = [event["event"] for event in events]
    assert (kinds[0], kinds[-1]) == ("on_chat_model_start", "on_chat_model_end")
    pieces: list[Any] = [event["data"]["chunk"] for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(piece.content for piece in pieces) == "Well"
    assert events[-1]["data"]["output"].tool_calls[0]["name"] == "lamp"


def test_tracers_are_told_of_the_provider_the_model_and_its_settings() -> None:
    seen: dict[str, Any] = {}

    class Watching(BaseCallbackHandler):
        def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
            seen.update(kwargs["metadata"])

    chat = scripted(ScriptedEngine([reasoning(" a")]), temperature=0.5, max_tokens=9)
    chat.invoke(QUESTION, {"callbacks": [Watching()]}, stop=["!"], max_tokens=7)
    told = {key: seen[key] for key in seen if key.startswith("ls_")}
    assert told.pop("ls_integration", "langchain_chat_model") == "langchain_chat_model"
    assert told == {
        "ls_provider": "toolken",
        "ls_model_name": "scripted",
        "ls_model_type": "chat",
        "ls_temperature": 0.5,
        "ls_max_tokens": 7,
        "ls_stop": ["!"],
    }


# --- errors ----------------------------------------------------------------------------------------------------------

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CALL = {"name": "lamp", "args": {"state": "on"}, "id": "1"}


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "no messages to answer"),
        ([HumanMessage([{"type": "text", "text": "What is it?"}, IMAGE])], "image.*reads text only"),
        ([HumanMessage([{"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"}])], "audio.*reads text only"),
        ([*QUESTION, ToolMessage("on", tool_call_id="7")], "answers the call '7', but no assistant message"),
        ([*QUESTION, AIMessage("", tool_calls=[CALL])], "'lamp' .*no result follows"),
    ],
)
def test_messages_that_can_not_be_answered_are_an_error_that_says_what_to_do(
    messages: list[BaseMessage], said: str, streaming: bool
) -> None:
    chat = scripted(ScriptedEngine())
    with pytest.raises(ValueError, match=said):
        _ = list(chat.stream(messages)) if streaming else chat.invoke(messages)


@pytest.mark.parametrize("reinjection", ["inline", "turn"])
def test_a_system_message_alone_is_refused_in_completion_style_and_left_to_the_template_in_chat_style(
    reinjection: Reinjection,
) -> None:
    with pytest.raises(ValueError, match="nothing to answer"):
        scripted(ScriptedEngine()).invoke([SystemMessage("Be brief.")])
    engine = ScriptedEngine([reasoning("Yes.")], tokenizer=make_tokenizer())
    chat = scripted(engine, style="chat", reinjection=reinjection)
    assert chat.invoke([SystemMessage("Be brief.")]).content == "Yes."


def test_an_unknown_tool_is_named_with_those_that_are_bound() -> None:
    with pytest.raises(ValueError, match=r"'window' names a tool that is not bound \(bound: 'lamp', 'door'\)"):
        scripted(ScriptedEngine()).bind_tools([lamp, door], tool_choice="window")
    with pytest.raises(ValueError, match=r"'window' names a tool that is not bound"):
        scripted(ScriptedEngine()).bind_tools([lamp]).invoke(QUESTION, tool_choice="window")


# --- agents ----------------------------------------------------------------------------------------------------------


class Found(BaseModel):
    """What was found."""

    state: Literal["on", "off"]


@pytest.mark.parametrize("mode", ["toolken", "prompt", "hybrid"])
def test_an_agents_response_format_is_decoded_under_its_grammar_and_no_tool_to_call(mode: ToolMode) -> None:
    """`create_agent` asks the profile; without one it makes a tool of the format and forces a call at every turn."""
    engine = ScriptedEngine(
        [reasoning("", "lamp"), reasoning("Done.")],
        [completion('{"state":"on"}', {"state": "on"}), completion('{"state":"off"}', {"state": "off"})],
        tokenizer=make_tokenizer(),
    )
    llm = scripted(engine, tool_mode=mode, style="chat")
    end = create_agent(llm, tools=[lamp], response_format=Found).invoke({"messages": QUESTION})
    assert end["structured_response"] == Found(state="off")
    assert [type(message).__name__ for message in end["messages"]] == (
        ["HumanMessage", "AIMessage", "ToolMessage", "AIMessage"]
    )
    assert [request.must_call for request in engine.requests] == [False, False]


def test_the_profile_says_what_an_lm_of_text_can_do_and_its_context_once_it_is_loaded() -> None:
    chat = ToolkenChat(model="nano")
    assert chat.profile is not None
    assert (chat.profile["structured_output"], chat.profile["image_inputs"]) == (True, False)
    assert "max_input_tokens" not in chat.profile
    key = chat._get_llm_string()
    assert chat.engine.context_length == chat.profile["max_input_tokens"]
    assert chat._get_llm_string() == key
    own = ToolkenChat.from_engine(ScriptedEngine(), profile={"max_input_tokens": 7})
    assert own.profile == {"max_input_tokens": 7}
