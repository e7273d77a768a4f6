"""What the page asks for: the set, what fires, why not; errors in OpenAI's form; a request looked at once."""

from __future__ import annotations

import json
import threading
from typing import Any

import httpx
import pytest
import torch
from langchain_core.messages import HumanMessage

from langchain_toolken.chat import why
from langchain_toolken.chat.model import ToolkenChat
from langchain_toolken.decoding.local.engine import TransformersEngine
from langchain_toolken.serve import inspection
from langchain_toolken.serve.app import make_app
from langchain_toolken.serve.completions import Served
from langchain_toolken.toolkens.set import ToolkenSet
from langchain_toolken.tools.spec import tool_spec
from langchain_toolken.training.report.records import Confusion
from tests.support.passes import Passes, wait_until
from tests.support.scripted_engine import ScriptedEngine
from tests.support.serving import app_of, client, running
from tests.support.tiny import make_lm
from tests.support.toolken_sets import provenance_of
from tests.support.tools import door, lamp, multiply

REQUEST = {"request": "Turn the lamp on"}


@pytest.fixture(scope="module")
def served() -> Served:
    return served_with(lamp, door)


def served_with(*tools: Any) -> Served:
    lm = make_lm()
    rows = torch.randn(len(tools), lm.hidden_size, generator=torch.Generator().manual_seed(1)) * 0.3
    toolkens = ToolkenSet(tuple(map(tool_spec, tools)), rows, rows, 0.0, provenance_of(lm, "chat"))
    chat = ToolkenChat.from_engine(TransformersEngine(lm), toolkens)
    return Served(chat, toolkens, "tiny", confusions=[Confusion(due="lamp", called="door", count=2.0)])


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the LM was run on."""
    found: list[Any] = []

    def look(setup: Any, messages: Any) -> why.Looked:
        found.append(messages[0].text)
        return why.look(setup, messages, max_tokens=4)

    monkeypatch.setattr(inspection, "look", look)
    return found


async def test_the_set_is_told(served: Served) -> None:
    async with client(make_app(served)) as http:
        told = (await http.get("/toolken/set")).json()
    assert told["model_id"] == "tiny"
    assert [tool["name"] for tool in told["tools"]] == ["lamp", "door"]
    assert told["tools"][0]["summary"] == "Turn the lamp on or off."
    assert told["tools"][0]["signature"].startswith("lamp(state")
    assert told["confusions"] == [{"due": "lamp", "called": "door", "count": 2.0}]
    assert told["false_call_rate"] is None


async def test_why_not_needs_no_further_look(served: Served, looks: list[Any]) -> None:
    async with client(make_app(served)) as http:
        said = (await http.post("/toolken/explain", json=REQUEST)).json()
        told = (await http.post("/toolken/why", json={**REQUEST, "tool": "door"})).json()
    assert looks == ["Turn the lamp on"]
    place = said["places"][told["place"]]
    assert told["place"] == said["looked_at"]
    assert told["score"] in place["tools"]
    assert told["first"] == place["tools"][0]


async def test_only_the_last_requests_are_kept(served: Served, looks: list[Any]) -> None:
    async with client(make_app(served)) as http:
        for number in (1, 2, 3, 4, 5, 5, 1):
            await http.post("/toolken/explain", json={"request": f"Turn {number}"})
    assert looks == ["Turn 1", "Turn 2", "Turn 3", "Turn 4", "Turn 5", "Turn 1"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("explain", {"request": ""}, 400),
        ("explain", {"request": "lamp " * 2000}, 400),
        ("why", {**REQUEST, "tool": "lmap"}, 404),
        ("why", {**REQUEST, "tool": "lamp", "place": 99}, 400),
    ],
)
async def test_errors_have_openais_form(served: Served, path: str, body: dict[str, Any], status: int) -> None:
    async with client(make_app(served)) as http:
        answer = await http.post(f"/toolken/{path}", json=body)
    assert answer.status_code == status
    assert answer.json()["error"]["type"] == "invalid_request_error"


async def test_the_page_and_its_parts_are_there(served: Served) -> None:
    async with client(make_app(served)) as http:
        for path, kind in (("/", "text/html"), ("/page/page.css", "text/css"), ("/page/page.js", "text/javascript")):
            answer = await http.get(path)
            assert answer.status_code == 200
            assert answer.headers["content-type"].startswith(kind)
            assert "http://" not in answer.text
            assert "https://" not in answer.text
        assert (await http.get("/page/../app.py")).status_code == 404


async def test_an_lm_that_runs_elsewhere_is_told_in_openais_form() -> None:
    async with client(app_of(ScriptedEngine([]))) as http:
        answer = await http.post("/toolken/explain", json=REQUEST)
    assert answer.status_code == 501
    assert answer.json()["error"]["code"] == "not_explainable"
    assert "without --engine vllm" in answer.json()["error"]["message"]


# --- a forced call ----------------------------------------------------------------------------------------------------


def events_in(answer: str) -> list[dict[str, Any]]:
    *events, done, end = answer.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    return [json.loads(event.removeprefix("data: ")) for event in events]


async def test_a_forced_calls_pieces_come_in_order_and_join_to_the_whole_arguments(served: Served) -> None:
    async with client(make_app(served)) as http:
        answer = await http.post("/toolken/force", json={**REQUEST, "tool": "lamp"})
    assert answer.headers["content-type"].startswith("text/event-stream")
    *pieces, end = events_in(answer.text)
    assert end == {"finish_reason": "stop", "fault": None}
    whole = served.chat.bind_tools([lamp], tool_choice="lamp").invoke([HumanMessage(REQUEST["request"])])
    assert json.loads("".join(piece["text"] for piece in pieces)) == whole.tool_calls[0]["args"]
    assert pieces[0]["allowed"] == 1
    assert pieces[0]["text"].startswith('{"state":')
    assert any(piece["allowed"] > 1 for piece in pieces)


async def test_a_forced_call_that_is_cut_off_says_so(served: Served) -> None:
    cut = Served(served.chat.model_copy(update={"max_argument_tokens": 3}), served.toolkens, "tiny")
    async with client(make_app(cut)) as http:
        *pieces, end = events_in((await http.post("/toolken/force", json={**REQUEST, "tool": "lamp"})).text)
    assert pieces
    assert end["finish_reason"] == "length"
    assert "cut off after" in end["fault"]


async def test_what_cant_be_forced_is_told_in_openais_form(served: Served) -> None:
    async with client(make_app(served)) as http:
        unknown = await http.post("/toolken/force", json={**REQUEST, "tool": "lmap"})
    async with client(app_of(ScriptedEngine([]))) as http:
        elsewhere = await http.post("/toolken/force", json={**REQUEST, "tool": "add"})
    assert [unknown.status_code, elsewhere.status_code] == [404, 501]
    assert [answer.json()["error"]["code"] for answer in (unknown, elsewhere)] == ["unknown_tool", "not_explainable"]


def test_a_reader_who_leaves_frees_the_row(passes: Passes) -> None:
    served = served_with(multiply)
    engine = served.chat.decoding_setup().engine
    assert isinstance(engine, TransformersEngine)
    passes.shapes.clear()
    permits = threading.Semaphore(1)
    passes.before = lambda _: permits.acquire() and None
    with running(make_app(served)) as address:
        with httpx.stream("POST", f"{address}/toolken/force", json={**REQUEST, "tool": "multiply"}) as answer:
            lines = answer.iter_lines()  # kept: the answer is closed with it
            assert '{\\"a\\":' in next(lines)
            wait_until(lambda: len(passes) == 2)  # the second pass waits for its permit
            assert engine.running == 1
        wait_until(lambda: all(thread.name != "toolken-stream" for thread in threading.enumerate()))
        permits.release(1000)
        wait_until(lambda: engine.running == 0)
        assert len(passes) == 2
