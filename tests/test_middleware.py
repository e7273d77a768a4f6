"""The selector: of many tools, any chat model in create_agent gets the few that a small LM ranks first."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_toolken import ToolkenChat, ToolkenSelectorMiddleware
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.lm.model import LanguageModel
from langchain_toolken.toolkens.evidence import Evidence, Gate
from langchain_toolken.toolkens.lexical import LexicalMatch, description_document
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import tool_spec
from tests.support.host import Host
from tests.support.tiny import CONTEXT_LENGTH, make_lm
from tests.support.toolken_sets import provenance_of

KINDS = ("lamp", "door", "kettle", "radio", "window", "garden", "invoice", "holiday", "parcel", "ticket")
THREAD: Any = {"configurable": {"thread_id": "1"}}


def about(kind: str, ran: list[str] | None = None, **extras: Any) -> BaseTool:
    def run(x: int) -> str:
        if ran is not None:
            ran.append(kind)
        return f"{kind} done"

    tool = StructuredTool.from_function(run, name=f"use_{kind}", description=f"Everything about the {kind}.")
    return tool.model_copy(update={"extras": extras or None})


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return make_lm()


@pytest.fixture(scope="module")
def toolkens(lm: LanguageModel) -> ToolkenSet:
    """Toolkens that go by the words of descriptions, so that a test can say what is ranked first."""
    specs = tuple(tool_spec(about(kind)) for kind in KINDS)
    rows = torch.zeros(len(specs), lm.hidden_size)
    words = LexicalMatch("description", 5.0, tuple(map(description_document, specs)))
    gate = Gate(torch.zeros(lm.hidden_size), torch.zeros(lm.hidden_size), constant=1.0, points=((0.1, 2.0), (0.3, 0.5)))
    evidence = Evidence(gate=gate, scale=0.0, lexical=(words,))
    return ToolkenSet(specs, rows, rows, 0.0, provenance_of(lm, "chat"), evidence=evidence)


class Ranked(TransformersEngine):
    """Keeps the prompts that were ranked."""

    def __init__(self, lm: LanguageModel) -> None:
        super().__init__(lm)
        self.ranked: list[str] = []

    def rank(self, prompts: Sequence[Sequence[int]], **settings: Any) -> Any:
        self.ranked += [self.tokenizer.decode(prompt) for prompt in prompts]
        return super().rank(prompts, **settings)


@pytest.fixture
def engine(lm: LanguageModel) -> Ranked:
    return Ranked(lm)


@pytest.fixture
def llm(engine: Ranked, toolkens: ToolkenSet) -> ToolkenChat:
    return ToolkenChat.from_engine(engine, toolkens)


def agent_of(
    llm: ToolkenChat, script: Sequence[Any], tools: Sequence[Any] | None = None, *, saver: bool = True, **settings: Any
) -> tuple[Any, Host]:
    host = Host(script=list(script))
    selector: Any = ToolkenSelectorMiddleware(model=llm, **{"top_k": 2, "search_tool": None, **settings})
    tools = [about(kind) for kind in KINDS] if tools is None else tools
    checkpointer = InMemorySaver() if saver else None
    return create_agent(host, tools, middleware=[selector], checkpointer=checkpointer), host


def asked(text: str) -> dict[str, list[HumanMessage]]:
    return {"messages": [HumanMessage(text)]}


def test_the_host_gets_the_likeliest_tools_ranked_once_for_a_message(llm: ToolkenChat, engine: Ranked) -> None:
    agent, host = agent_of(llm, [["use_kettle"], ["use_kettle"], "Done."])
    messages = agent.invoke(asked("Fill the kettle and open the window."), THREAD)["messages"]
    assert [set(names) for names in host.bound] == [{"use_kettle", "use_window"}] * 3
    assert len(engine.ranked) == 1
    assert [message.content for message in messages if isinstance(message, ToolMessage)] == ["kettle done"] * 2


def test_a_threads_tools_are_only_added_to_at_the_end(llm: ToolkenChat, engine: Ranked) -> None:
    agent, host = agent_of(llm, ["One.", "Two.", "Three."])
    for text in ("The lamp and the door!", "The parcel and the lamp.", "My holiday and the door."):
        agent.invoke(asked(text), THREAD)
    first, second, third = host.bound
    assert set(first) == {"use_lamp", "use_door"}
    assert second == [*first, "use_parcel"]
    assert third == [*second, "use_holiday"]
    assert len(engine.ranked) == 3
    assert [sum(word in text for word in ("lamp", "parcel", "holiday")) for text in engine.ranked] == [1, 2, 1]


@pytest.mark.asyncio
async def test_asynchronous_agents_get_the_same(llm: ToolkenChat, engine: Ranked) -> None:
    agent, host = agent_of(llm, [["use_radio", "use_lamp"], "Done."])
    result = await agent.ainvoke(asked("Is the radio on in the garden?"), THREAD)
    assert [set(names) for names in host.bound] == [{"use_radio", "use_garden"}] * 2
    assert [message.status for message in result["messages"][2:4]] == ["success", "error"]
    assert len(engine.ranked) == 1


def test_what_was_not_selected_does_not_run(llm: ToolkenChat) -> None:
    ran: list[str] = []
    tools = [about(kind, ran) for kind in KINDS]
    agent, host = agent_of(llm, [["use_invoice"], ["use_invoice", "no_such_tool"], ["use_lamp"], "Done."], tools)
    messages = agent.invoke(asked("Turn on the lamp at the door."), THREAD)["messages"]
    results = [message for message in messages if isinstance(message, ToolMessage)]
    assert [(message.name, message.status) for message in results] == [
        *[("use_invoice", "error")] * 2,
        ("no_such_tool", "error"),
        ("use_lamp", "success"),
    ]
    assert "use_invoice is not among the tools that you were given" in results[0].text
    assert len(results[2].text) < 200  # not a list of all tools
    assert ran == ["lamp"]
    assert all("use_invoice" not in names for names in host.bound)


def test_the_host_searches_what_was_left_out_and_calls_it(llm: ToolkenChat) -> None:
    found: tuple[str, dict[str, str]] = ("search_tools", {"query": "a parcel and my holiday"})
    more = ("search_tools", {"query": "the ticket"})
    script = [[found, more], ["use_parcel"], "Sent.", "Again."]
    agent, host = agent_of(llm, script, search_tool="search_tools")
    messages = agent.invoke(asked("The lamp at the door, please."), THREAD)["messages"]
    assert host.bound[0][0] == "search_tools"
    assert set(host.bound[0][1:]) == {"use_lamp", "use_door"}
    assert host.bound[1][:3] == host.bound[0]
    assert {"use_parcel", "use_holiday", "use_ticket"} <= set(host.bound[1])
    results = [message for message in messages if isinstance(message, ToolMessage)]
    assert results[0].text.splitlines()[0] == "You can call these tools now:"
    assert "- use_parcel: Everything about the parcel." in results[0].text
    assert (results[2].name, results[2].text) == ("use_parcel", "parcel done")
    agent.invoke(asked("The lamp at the door, please."), THREAD)
    assert host.bound[3] == host.bound[1]


@pytest.mark.asyncio
async def test_an_asynchronous_host_searches_too(llm: ToolkenChat) -> None:
    agent, host = agent_of(llm, [[("find", {"query": "the ticket"})], "Found."], search_tool="find")
    await agent.ainvoke(asked("The lamp at the door, please."), THREAD)
    assert "use_ticket" in host.bound[1]


def test_a_search_without_words_finds_nothing(llm: ToolkenChat) -> None:
    agent, host = agent_of(llm, [[("search_tools", {"query": " "})], "So."], search_tool="search_tools")
    messages = agent.invoke(asked("The lamp at the door, please."), THREAD)["messages"]
    assert messages[2].text == "No other tools were found."
    assert host.bound[1] == host.bound[0]


def test_only_the_hosts_messages_are_streamed_and_the_result_has_no_selection(llm: ToolkenChat) -> None:
    agent, _ = agent_of(llm, [["use_lamp"], "Done."])
    parts = list(agent.stream(asked("Turn on the lamp at the door."), THREAD, stream_mode="messages"))
    assert [(message.type, metadata["langgraph_node"]) for message, metadata in parts] == [
        *[("ai", "model"), ("tool", "tools"), ("ai", "model")]
    ]
    assert agent.get_state(THREAD).values["bound_tools"]
    agent, _ = agent_of(llm, ["Done."])
    assert set(agent.invoke(asked("Turn on the lamp at the door."), THREAD)) == {"messages"}


@pytest.mark.asyncio
async def test_no_run_of_the_small_lm_is_traced_as_a_chat_model(llm: ToolkenChat) -> None:
    agent, _ = agent_of(llm, [["use_lamp"], "Done."])
    events = [event async for event in agent.astream_events(asked("The lamp at the door."), THREAD, version="v2")]
    assert {event["name"] for event in events if event["event"].startswith("on_chat_model")} == {"Host"}


def test_none_is_selected_where_the_gate_says_so(llm: ToolkenChat) -> None:
    # The gate's log odds are 1 everywhere: above the threshold for 30% false calls, below that for 10%.
    for rate, count in ((0.3, 2), (0.29, 0), (0.1, 0), (0.0, 0), (0.9, 2)):
        agent, host = agent_of(llm, ["Hi."], max_false_call_rate=rate)
        agent.invoke(asked("The lamp at the door."), THREAD)
        assert len(host.bound[0]) == count, rate


def test_a_rate_needs_a_gate_that_knows_it(llm: ToolkenChat, toolkens: ToolkenSet) -> None:
    with pytest.raises(ValueError, match="max_false_call_rate is 1.5"):
        ToolkenSelectorMiddleware(model=llm, max_false_call_rate=1.5)
    with pytest.raises(ValueError, match="fit them"):
        ToolkenSelectorMiddleware(replace(toolkens, evidence=None), model=llm, max_false_call_rate=0.1)
    with pytest.raises(ValueError, match="top_k must be 1 or more"):
        ToolkenSelectorMiddleware(model=llm, top_k=0)


def test_tools_that_are_always_included_come_first_and_are_not_ranked(llm: ToolkenChat) -> None:
    provider = {"type": "web_search"}
    tools = [*(about(kind) for kind in KINDS), provider]
    agent, host = agent_of(llm, ["Hi."], tools, always_include=["use_ticket"])
    agent.invoke(asked("The ticket, the lamp and the door."), THREAD)
    assert host.bound[0][:2] == ["use_ticket", "web_search"]
    assert set(host.bound[0][2:]) == {"use_lamp", "use_door"}


def test_the_defer_loading_flag_says_which_tools_take_part(llm: ToolkenChat) -> None:
    tools = [about("lamp"), *(about(kind, defer_loading=True, other=1) for kind in KINDS[1:])]
    agent, host = agent_of(llm, ["Hi."], tools)
    agent.invoke(asked("The parcel at the door."), THREAD)
    assert host.bound[0][0] == "use_lamp"
    assert set(host.bound[0][1:]) == {"use_parcel", "use_door"}
    assert [tool.extras for tool in host.given[0]] == [None, {"other": 1}, {"other": 1}]

    tools = [about("lamp", defer_loading=False), *(about(kind) for kind in KINDS[1:])]
    agent, host = agent_of(llm, ["Hi."], tools)
    agent.invoke(asked("The parcel at the door."), THREAD)
    assert host.bound[0][0] == "use_lamp"
    assert len(host.bound[0]) == 3


def test_without_a_checkpointer_tools_that_gave_a_result_are_bound_again(llm: ToolkenChat) -> None:
    agent, host = agent_of(llm, ["Hi."], saver=False)

    def called(name: str, status: Any) -> list[BaseMessage]:
        call = {"name": name, "args": {"x": 1}, "id": name, "type": "tool_call"}
        return [AIMessage("", tool_calls=[call]), ToolMessage("so", tool_call_id=name, status=status)]

    history = [*called("use_ticket", "success"), *called("use_invoice", "error")]
    agent.invoke({"messages": [HumanMessage("My ticket."), *history, HumanMessage("The lamp at the door.")]})
    assert host.bound[0][0] == "use_ticket"
    assert set(host.bound[0][1:]) == {"use_lamp", "use_door"}


def test_a_summary_of_earlier_messages_is_no_request(llm: ToolkenChat, engine: Ranked) -> None:
    agent, host = agent_of(llm, ["Hi."], saver=False)
    summary = HumanMessage("So far: a parcel.", additional_kwargs={"lc_source": "summarization"})
    agent.invoke({"messages": [HumanMessage("The lamp at the door."), AIMessage("Yes?"), summary]})
    assert set(host.bound[0]) == {"use_lamp", "use_door"}
    agent, host = agent_of(llm, ["Hi."], saver=False)
    agent.invoke({"messages": [summary]})
    assert host.bound == [[]]
    assert len(engine.ranked) == 1


def test_a_message_longer_than_the_context_is_read_at_both_ends(llm: ToolkenChat, engine: Ranked) -> None:
    agent, host = agent_of(llm, ["Hi."])
    agent.invoke(asked(f"Turn on the lamp. {'12.5 4096 ' * CONTEXT_LENGTH} And open the door."), THREAD)
    assert set(host.bound[0]) == {"use_lamp", "use_door"}
    assert "Turn on the lamp" in engine.ranked[-1]
    assert "open the door" in engine.ranked[-1]


def test_few_tools_are_bound_without_a_look(llm: ToolkenChat, engine: Ranked) -> None:
    agent, host = agent_of(llm, ["Hi."], [about("lamp"), about("door")])
    agent.invoke(asked("Anything."), THREAD)
    assert host.bound == [["use_lamp", "use_door"]]
    assert not engine.ranked


def test_names_that_clash_or_are_missing_are_errors(llm: ToolkenChat) -> None:
    agent, _ = agent_of(llm, ["Hi."], always_include=["use_lamps"])
    with pytest.raises(ValueError, match="always_include names 'use_lamps'"):
        agent.invoke(asked("The lamp."), THREAD)
    own = about("lamp").model_copy(update={"name": "search_tools"})
    agent, _ = agent_of(llm, ["Hi."], [own, *(about(kind) for kind in KINDS)], search_tool="search_tools")
    with pytest.raises(ValueError, match="a tool 'search_tools' of its own"):
        agent.invoke(asked("The lamp."), THREAD)


def test_a_tool_without_a_toolken_takes_part_by_its_description(llm: ToolkenChat) -> None:
    tools = [about(kind) for kind in (*KINDS, "submarine")]
    agent, host = agent_of(llm, ["Hi.", "Yes."], tools)
    with pytest.warns(UserWarning, match="No fitted toolken for 'use_submarine'"):
        agent.invoke(asked("The submarine at the door."), THREAD)
    assert set(host.bound[0]) == {"use_submarine", "use_door"}
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "No fitted toolken")  # it was said once
        agent.invoke(asked("The submarine again."), THREAD)


def test_a_folder_of_toolkens_names_its_lm(
    lm: LanguageModel, toolkens: ToolkenSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolkens.save(tmp_path / "set")
    selector: Any = ToolkenSelectorMiddleware(tmp_path / "set", max_false_call_rate=0.3)
    assert selector.llm.model == lm.model_id
    engine = ToolkenChat.from_engine(TransformersEngine(lm))
    selector = ToolkenSelectorMiddleware(tmp_path / "set", model=engine)
    assert selector.llm.engine is engine.engine
    assert [each.tool for each in selector.llm.rank_tools("The door.", 1)] == ["use_door"]


@pytest.fixture(autouse=True)
def _no_warnings(recwarn: pytest.WarningsRecorder) -> Iterator[None]:
    yield
    assert not [each for each in recwarn if "fitted toolken" in str(each.message) and "submarine" not in str(each)]
